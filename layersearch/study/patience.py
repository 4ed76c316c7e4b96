"""Waits for a storage that does not answer, says so once, and gives up after a stated time."""

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from layersearch.errors import StudyError
from layersearch.study.troubles import Kind, Trouble, named_troubles, trouble_of

STORAGE_TIMEOUT = 300.0  # seconds to wait for a storage that answered before
_QUIET = 1.0  # seconds of waiting that nobody needs to hear of
_FIRST, _LONGEST = 0.1, 5.0  # seconds between two attempts, doubled each time
_FULL_BELOW = 64 * 1024  # bytes free: SQLite then says 'I/O error'

Say = Callable[[str], None]
Found = TypeVar("Found")


def log(text: str) -> None:
    """Says it where nobody listens."""
    logging.getLogger("layersearch.study").warning(text)


class Patience:
    """How long to try an operation on one storage; shared by the threads that use it.

    Args:
        address: of the storage, without password.
        timeout: seconds to try one operation.
        say: hears once when waiting begins, and once when it ends.
        path: of the storage's file, if it is one.
        advice: what to add where the storage is locked.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = STORAGE_TIMEOUT,
        say: Say = log,
        path: Path | None = None,
        advice: str = "",
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.say = say
        self._path = path
        self._advice = advice
        self._lock = threading.Lock()
        self._waiting: set[int] = set()  # threads that wait
        self._announced = 0.0  # when it was said that one waits; 0: it was not
        self._given_up = False
        self._hasty = threading.local()

    @contextmanager
    def without_waiting(self) -> Iterator[None]:
        """While it is entered, this thread tries everything once."""
        self._hasty.active = True
        try:
            yield
        finally:
            self._hasty.active = False

    def run(
        self, attempt: Callable[[bool], Found], *, waits: Callable[[Trouble], bool] | None = None
    ) -> Found:
        """What `attempt` gives; it is told whether it was tried before.

        An attempt that was tried before may have succeeded without our hearing of it.

        Args:
            attempt: an operation on the storage.
            waits: whether a trouble is worth waiting for; None: all that may pass by itself.

        Raises:
            StudyError: it does not heal, or did not within the time.
        """
        began, tries = time.monotonic(), 0
        while True:
            try:
                with named_troubles():
                    found = attempt(tries > 0)
            except Exception as error:
                trouble = self._seen(trouble_of(error))
                if trouble is None:
                    raise
                self._check_worth_waiting(trouble, error, began=began, waits=waits)
                self._pause(trouble, began=began, tries=tries)
                tries += 1
            except BaseException:
                self._given_up = True  # whoever interrupts does not want to wait again
                raise
            else:
                self._answered()
                return found

    def _seen(self, trouble: Trouble | None) -> Trouble | None:
        if trouble is None or trouble.kind is not Kind.AWAY or self._path is None:
            return trouble
        try:
            status = os.statvfs(self._path.parent)
        except OSError:
            return trouble
        if status.f_bavail * status.f_frsize < _FULL_BELOW:
            return Trouble(kind=Kind.FULL, text=trouble.text)
        return trouble

    def _check_worth_waiting(
        self,
        trouble: Trouble,
        error: Exception,
        *,
        began: float,
        waits: Callable[[Trouble], bool] | None,
    ) -> None:
        if trouble.kind is Kind.FULL:
            raise StudyError(self._full(trouble)) from error
        if not trouble.heals or (waits is not None and not waits(trouble)):
            raise StudyError(
                f"study.storage: {self.address} cannot be used ({trouble.text})"
            ) from error
        spent = time.monotonic() - began
        hasty = getattr(self._hasty, "active", False) or self._given_up
        if hasty or spent >= self.timeout:
            with self._lock:
                self._given_up = self._given_up or not hasty
                self._waiting.discard(threading.get_ident())
            waited = "" if hasty else f", for {spent:.0f} s (study.storage_timeout)"
            raise StudyError(
                f"study.storage: {self.address} {_state(trouble)} ({trouble.text}){waited}; what "
                "ended is recorded: run the same command again when it is back"
            ) from error

    def _pause(self, trouble: Trouble, *, began: float, tries: int) -> None:
        now = time.monotonic()
        with self._lock:
            self._waiting.add(threading.get_ident())
            announce = not self._announced and now - began >= _QUIET
            if announce:
                self._announced = began
        if announce:
            advice = f"; {self._advice}" if trouble.kind is Kind.LOCKED and self._advice else ""
            self.say(
                f"study.storage: {self.address} {_state(trouble)} ({trouble.text}); waiting for "
                f"it, up to {self.timeout:g} s{advice}"
            )
        pause = min(_LONGEST, _FIRST * 2**tries) * random.uniform(0.5, 1.0)
        try:
            time.sleep(max(0.01, min(pause, began + self.timeout - now)))
        except BaseException:
            self._given_up = True
            raise

    def _answered(self) -> None:
        if not self._waiting and not self._given_up:
            return
        with self._lock:
            self._given_up = False
            self._waiting.discard(threading.get_ident())
            since, over = self._announced, not self._waiting
            if over:
                self._announced = 0.0
        if since and over:
            away = time.monotonic() - since
            self.say(f"study.storage: {self.address} answers again after {away:.0f} s; going on")

    def _full(self, trouble: Trouble) -> str:
        where = "its server" if self._path is None else str(self._path.parent)
        return (
            f"study.storage: no space is left for {self.address} ({trouble.text}); what ended is "
            f"recorded and whole: free some space on {where}, then run the same command again"
        )


def _state(trouble: Trouble) -> str:
    if trouble.kind is Kind.LOCKED:
        return "is locked by another process"
    return "is not ready" if trouble.kind is Kind.STARTING else "does not answer"
