"""A network between a driver and its PostgreSQL server: to cut, to silence, to lose answers in."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Proxy:
    """Forwards a loopback port to a server's, until it is told otherwise."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._silent = threading.Event()
        self._cut = threading.Event()
        self._lose = b""  # the statement whose commit is not answered
        self.lost = 0  # commits that were done and not answered
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> None:
        """Nothing passes any more, and nobody is told: the host has vanished."""
        self._silent.set()

    def cut(self) -> None:
        """Connections break, new ones too."""
        self._cut.set()
        self._drop()

    def mend(self) -> None:
        """A new network: what was under way is lost."""
        self._drop()
        self._silent.clear()
        self._cut.clear()

    def lose_commit_of(self, statement: bytes) -> None:
        """The next transaction with this statement is committed, and the connection breaks."""
        self._lose = statement

    def close(self) -> None:
        self._listener.close()
        self._drop()

    def _drop(self) -> None:
        dropped, self._open = self._open, []
        for end in dropped:
            _close(end)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._cut.is_set():
                    near.close()
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", self._server))
                except OSError:
                    near.close()
                    continue
                self._open += [near, far]
                _Link(self, near, far)

    def held(self) -> None:
        while self._silent.is_set():
            time.sleep(0.02)

    def armed(self, data: bytes) -> bool:
        """Whether the statement to lose is in it; strikes once."""
        if not self._lose or self._lose not in data:
            return False
        self._lose = b""
        return True


class _Link:
    """One connection."""

    def __init__(self, proxy: Proxy, near: socket.socket, far: socket.socket) -> None:
        self._proxy = proxy
        self._doomed = self._losing = False
        for pump in (self._out, self._back):
            threading.Thread(target=pump, args=(near, far), daemon=True).start()

    def _out(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                self._proxy.held()
                self._doomed = self._doomed or self._proxy.armed(data)
                if self._doomed and b"COMMIT" in data:
                    self._losing = True
                far.sendall(data)
        _close(near, far)

    def _back(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                self._proxy.held()
                if self._losing:
                    self._proxy.lost += 1
                    break
                near.sendall(data)
        _close(near, far)


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextmanager
def proxied(server: int) -> Iterator[Proxy]:
    proxy = Proxy(server)
    try:
        yield proxy
    finally:
        proxy.close()
