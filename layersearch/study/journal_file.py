"""A journal in a file, in Optuna's format, that a crash or a full disk does not spoil."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from layersearch.errors import StudyError
from layersearch.study.journal_lock import JournalLock
from layersearch.study.journal_repair import looks_whole, mend
from layersearch.study.patience import Say, log


class JournalFile(BaseJournalBackend):
    """A journal file for `optuna.storages.JournalStorage`; made if it does not exist.

    Args:
        path: of the file.
        say: is told if it was torn, and has been mended.

    Raises:
        StudyError: it is damaged beyond mending.
        OSError: it cannot be read, or made.
    """

    def __init__(self, path: Path, *, say: Say = log) -> None:
        self._path = path
        self._say = say
        self._lock = JournalLock(path)
        self._next = 0  # number of the first record that was not read
        self._offset = 0  # where it begins
        if not path.exists():
            path.touch()
        # What looks torn may be a line that is being written: the lock tells.
        elif not looks_whole(path.read_bytes()):
            self._mend()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The records from a number on."""
        if log_number_from < self._next:
            self._next = self._offset = 0
        while True:
            yield from self._read(log_number_from)
            if self._at_end():
                return
            # A whole line that is no record: Optuna appended to a torn one.
            if not self._mend():
                raise StudyError(f"study.storage: the journal {self._path} cannot be read")

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes records, all or none; they are on the disk when it returns."""
        lines = [json.dumps(record, separators=(",", ":")) for record in logs]
        data = ("\n".join(lines) + "\n").encode()
        with self._lock.held():
            descriptor = self._open_whole()
            try:
                _append(descriptor, data)
            finally:
                os.close(descriptor)

    def _read(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        with self._path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self._offset:
                raise StudyError(
                    f"study.storage: the journal {self._path} was cut or replaced while it was in "
                    "use; restore it, then run the same command again"
                )
            file.seek(self._offset)
            for line in file:
                try:
                    record = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    record = None
                if record is None:
                    return
                # Before it is handed over: the reader may not come back for more.
                number, self._next = self._next, self._next + 1
                self._offset += len(line)
                if number >= log_number_from:
                    yield record

    def _at_end(self) -> bool:
        """Whether all was read but a line that is being written."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            line = file.readline()
        if not line.endswith(b"\n"):
            return True
        try:
            json.loads(line)
        except ValueError:
            return False
        return True  # it came just now: for the next time

    def _mend(self) -> str:
        with self._lock.held():
            done = mend(self._path)
        if done:
            self._say(done)
        return done

    def _open_whole(self) -> int:
        """The file, to append to: what a dead process left at its end is gone."""
        # It is not made anew: a journal that vanished has not become an empty one.
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        size = os.fstat(descriptor).st_size
        if not size or os.pread(descriptor, 1, size - 1) == b"\n":
            return descriptor
        os.close(descriptor)
        done = mend(self._path)
        if done:
            self._say(done)
        return os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)


def _append(descriptor: int, data: bytes) -> None:
    size, written = os.fstat(descriptor).st_size, 0
    try:
        while written < len(data):
            written += os.write(descriptor, data[written:])
        os.fsync(descriptor)
    except BaseException as error:
        # A whole line may have been read by others already; a part of one has not.
        if written < len(data) or isinstance(error, OSError):
            os.ftruncate(descriptor, size)
        raise
