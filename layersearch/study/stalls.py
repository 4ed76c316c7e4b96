"""Ends the connections of a database that neither answers nor breaks off.

A server that is stopped, or a proxy before one that is gone, keeps its connections open: the
kernel's timeouts never strike, and a query would wait for ever.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy.engine import Engine

ANSWER_WITHIN = 60.0  # seconds; more than the server itself waits for a lock
_IDLE = 30.0  # seconds without an operation after which nobody looks any more
Found = TypeVar("Found")


class StallGuard:
    """Looks after the operations on one engine.

    Args:
        engine: its connections have `fileno()`, as those of psycopg do.
        within: seconds that one attempt at an operation may take.
    """

    def __init__(self, engine: Engine, *, within: float = ANSWER_WITHIN) -> None:
        self._within = within
        self._began: dict[int, float] = {}  # thread -> when its attempt began
        self._connections: list[Any] = []
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None
        sqlalchemy.event.listen(engine, "connect", self._connected)

    @contextmanager
    def operation(self) -> Iterator[None]:
        """An operation; its attempts are limited while it is entered."""
        thread = threading.get_ident()
        with self._lock:
            self._began[thread] = time.monotonic()
            if self._watcher is None:
                self._watcher = threading.Thread(
                    target=self._watch, name="layersearch-stalls", daemon=True
                )
                self._watcher.start()
        try:
            yield
        finally:
            with self._lock:
                self._began.pop(thread, None)

    def restarted(self, attempt: Callable[[bool], Found]) -> Callable[[bool], Found]:
        """The attempt, with a clock of its own: pauses between attempts do not count."""

        def timed(again: bool) -> Found:
            self._began[threading.get_ident()] = time.monotonic()
            try:
                return attempt(again)
            finally:
                self._began[threading.get_ident()] = float("inf")

        return timed

    def _connected(self, connection: Any, _record: Any) -> None:
        with self._lock:
            self._connections = [kept for kept in self._connections if not kept.closed]
            self._connections.append(connection)

    def _watch(self) -> None:
        idle = time.monotonic()
        while True:
            time.sleep(min(2.0, self._within / 4))
            now = time.monotonic()
            with self._lock:
                idle = now if self._began else idle
                if now - idle > _IDLE:
                    self._watcher = None
                    return
                oldest = min(self._began.values(), default=now)
                stalled = list(self._connections) if now - oldest > self._within else []
            for connection in stalled:
                _cut(connection)


def _cut(connection: Any) -> None:
    """Whoever reads from the connection is told that it has ended."""
    with contextlib.suppress(Exception):  # it was closed meanwhile
        end = socket.socket(fileno=os.dup(connection.fileno()))
        with end:
            end.shutdown(socket.SHUT_RDWR)
