"""Who may write to a journal file: one process at a time, and never a dead one.

The symbolic link `<journal>.lock` is Optuna's own lock, so that others who write by Optuna (such as
its dashboard) are kept out too. It outlives a process that is killed while it writes; so the file
`<journal>.owner` says who holds it, under a lock that the kernel frees when its process ends.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from layersearch.study.drivers import machine, process_start
from layersearch.study.troubles import JournalBusy

PATIENCE = 5.0  # seconds to wait within one operation
GRACE = (
    30.0  # seconds after which a link whose owner is unknown counts as left behind; Optuna's own
)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # some network file systems have none


class JournalLock:
    """The lock of one journal.

    Args:
        path: of the journal.
        patience: seconds to wait for it.
    """

    def __init__(self, path: Path, *, patience: float = PATIENCE) -> None:
        self._path = path
        self._link = Path(f"{path}.lock")
        self._owner = Path(f"{path}.owner")
        self._patience = patience
        self._seen: tuple[float, float] | None = None  # the link's time, when it was first seen

    @contextmanager
    def held(self) -> Iterator[None]:
        """While it is entered, nobody else writes.

        Raises:
            JournalBusy: somebody else has written for longer than `patience`; says who.
        """
        deadline = time.monotonic() + self._patience
        descriptor = os.open(self._owner, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._await_file(descriptor, deadline)
            self._await_link(_read(descriptor), deadline)
            try:
                os.pwrite(descriptor, _myself(), 0)
                yield
            finally:
                os.ftruncate(descriptor, 0)
                with contextlib.suppress(FileNotFoundError):
                    self._link.unlink()
        finally:
            os.close(descriptor)

    def _await_file(self, descriptor: int, deadline: float) -> None:
        pause = 0.001
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    return
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            else:
                return
            if time.monotonic() > deadline:
                raise JournalBusy(f"{_named(_read(descriptor))} holds it")
            time.sleep(pause)
            pause = min(0.1, 2 * pause)

    def _await_link(self, former: bytes, deadline: float) -> None:
        pause = 0.001
        while True:
            try:
                self._link.symlink_to(self._path.absolute())
            except FileExistsError:
                if _is_dead(former) or self._is_old():
                    former = b""
                    self._link.unlink(missing_ok=True)
                    continue
            else:
                self._seen = None
                return
            if time.monotonic() > deadline:
                raise JournalBusy(f"{_named(former)} holds {self._link.name}")
            time.sleep(pause)
            pause = min(0.1, 2 * pause)

    def _is_old(self) -> bool:
        try:
            made = self._link.lstat().st_mtime
        except FileNotFoundError:
            return False
        if self._seen is None or self._seen[0] != made:
            self._seen = (made, time.monotonic())
        return time.monotonic() - self._seen[1] > GRACE


def _read(descriptor: int) -> bytes:
    return os.pread(descriptor, 500, 0)


def _myself() -> bytes:
    return f"{os.getpid()} {process_start(os.getpid())} {machine()}".encode()


def _is_dead(owner: bytes) -> bool:
    """Whether it is known that the process no longer runs."""
    pid, start, where = _parts(owner)
    return bool(pid) and where == machine() and process_start(int(pid)) != start


def _named(owner: bytes) -> str:
    pid, _, where = _parts(owner)
    return f"process {pid} on {where.partition('/')[0]}" if pid else "another process"


def _parts(owner: bytes) -> tuple[str, str, str]:
    pid, _, rest = owner.decode("utf-8", "replace").partition(" ")
    start, _, where = rest.partition(" ")
    return (pid, start, where) if pid.isdigit() and where else ("", "", "")
