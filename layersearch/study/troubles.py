"""What can be the matter with a storage, and what helps: waiting, or a person.

Optuna repeats some operations by itself and hides why others fail. So errors of the database are
named where they arise, in the engine, and pass through Optuna as `Troubled`.
"""

import errno
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import Engine
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError


class Kind(Enum):
    """What helps."""

    LOCKED = "locked"  # somebody else has it: waiting helps
    STARTING = "starting"  # it is there and not ready: waiting helps
    AWAY = "away"  # it does not answer: waiting helps if it ever answered
    FULL = "full"  # no space is left: a person must help
    BROKEN = "broken"  # it refuses: a person must help


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why an operation on a storage failed."""

    kind: Kind
    text: str  # one line, in the words of the database or the system

    @property
    def heals(self) -> bool:
        """Whether it may pass by itself."""
        return self.kind in (Kind.LOCKED, Kind.STARTING, Kind.AWAY)


class Troubled(Exception):
    """An operation on a storage failed of something other than its arguments."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.text)
        self.trouble = trouble


class JournalBusy(OSError):
    """Somebody else writes to the journal, for longer than one waits within an operation."""


_LOCKED = {"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"}
_BROKEN = {"SQLITE_READONLY", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_PERM", "SQLITE_AUTH"}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SYSTEM_AWAY = {
    *(errno.EIO, errno.ESTALE, errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOLCK),
    *(errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN, errno.ECONNRESET),
    *(errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EBUSY),
}
# https://www.postgresql.org/docs/current/errcodes-appendix.html; class 08: connections.
_POSTGRES_LOCKED = {"40001", "40P01", "55P03", "57014"}
_POSTGRES_STARTING = {"57P03", "53300"}
_POSTGRES_AWAY = {"57P01", "57P02", "57P05", "25006", "25P03", "53200"}
_POSTGRES_FULL = {"53100"}
# While connecting, libpq gives words and no code.
_STARTING_WORDS = ("starting up", "shutting down", "recovery mode", "too many clients", "slots are")
_MYSQL_LOCKED = {1205, 1213}
_MYSQL_STARTING = {1040, 1053}
_MYSQL_AWAY = {2002, 2003, 2006, 2013, 2055}
_MYSQL_FULL = {1021, 1114}

# The address is in every message already.
_LIBPQ_SAYS = re.compile(r"^(?:connection failed: )?(?:connection to server .* failed: )?")

_inside = threading.local()


@contextmanager
def named_troubles() -> Iterator[None]:
    """While it is entered, watched engines raise `Troubled` in this thread."""
    _inside.active = True
    try:
        yield
    finally:
        _inside.active = False


def watch(engine: Engine) -> None:
    """Has the engine raise `Troubled` inside `named_troubles`."""

    @sqlalchemy.event.listens_for(engine, "handle_error")
    def translate(context: ExceptionContext) -> None:
        # A ping that fails is met by the pool, which connects anew.
        if context.is_pre_ping or not getattr(_inside, "active", False):
            return
        found = _database_trouble(context.original_exception, lost=context.is_disconnect)
        if found is not None:
            raise Troubled(found) from context.original_exception


def trouble_of(error: BaseException) -> Trouble | None:
    """What is the matter; None: nothing with the storage, the error is about what was asked."""
    if isinstance(error, Troubled):
        return error.trouble
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        return trouble_of(error.__cause__)
    if isinstance(error, DBAPIError) and error.orig is not None:
        return _database_trouble(error.orig, lost=error.connection_invalidated)
    if isinstance(error, OSError):
        return _system_trouble(error)
    return None


def one_line(error: BaseException) -> str:
    """The first line of what the database says, without the SQL around it."""
    cause = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return _LIBPQ_SAYS.sub("", lines[0]) if lines else type(cause).__name__


def _system_trouble(error: OSError) -> Trouble | None:
    text = error.strerror or str(error)
    if isinstance(error, JournalBusy):
        return Trouble(kind=Kind.LOCKED, text=str(error))
    if error.errno in _FULL:
        return Trouble(kind=Kind.FULL, text=text)
    if error.errno in _SYSTEM_AWAY:
        return Trouble(kind=Kind.AWAY, text=text)
    return Trouble(kind=Kind.BROKEN, text=text)


def _database_trouble(error: BaseException, *, lost: bool) -> Trouble | None:
    library = type(error).__module__.partition(".")[0]
    if library == "sqlite3":
        kind = _sqlite_kind(error)
    elif library in ("psycopg", "psycopg2"):
        kind = _postgres_kind(error)
    else:
        kind = _mysql_kind(error)
    if kind is None and lost:
        kind = Kind.AWAY
    return None if kind is None else Trouble(kind=kind, text=one_line(error))


def _sqlite_kind(error: BaseException) -> Kind | None:
    # 'SQLITE_IOERR_SHMSIZE' and the like: the first two words are the kind.
    name = "_".join(str(getattr(error, "sqlite_errorname", "")).split("_")[:2])
    if name in _LOCKED:
        return Kind.LOCKED
    if name in _BROKEN:
        return Kind.BROKEN
    if name == "SQLITE_FULL":
        return Kind.FULL
    return Kind.AWAY if name in ("SQLITE_IOERR", "SQLITE_CANTOPEN") else None


def _postgres_kind(error: BaseException) -> Kind | None:
    code = str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or "")
    if code in _POSTGRES_LOCKED:
        return Kind.LOCKED
    if code in _POSTGRES_STARTING:
        return Kind.STARTING
    if code in _POSTGRES_FULL:
        return Kind.FULL
    if code in _POSTGRES_AWAY or code.startswith("08"):
        return Kind.AWAY
    if code or type(error).__name__ not in _CONNECTING or "number of" in str(error):
        return None
    starting = any(words in str(error) for words in _STARTING_WORDS)
    return Kind.STARTING if starting else Kind.AWAY


_CONNECTING = {"OperationalError", "InterfaceError", "ConnectionTimeout"}


def _mysql_kind(error: BaseException) -> Kind | None:
    code = error.args[0] if error.args else None
    for codes, kind in (
        (_MYSQL_LOCKED, Kind.LOCKED),
        (_MYSQL_STARTING, Kind.STARTING),
        (_MYSQL_AWAY, Kind.AWAY),
        (_MYSQL_FULL, Kind.FULL),
    ):
        if code in codes:
            return kind
    return None
