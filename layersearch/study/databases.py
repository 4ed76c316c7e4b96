"""Opens databases: SQLite and PostgreSQL as a search needs them, others as Optuna has them."""

import importlib.util
import random
import time
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from layersearch.errors import StudyError
from layersearch.study.patience import Patience
from layersearch.study.quick_database import QuickDatabase
from layersearch.study.troubles import Kind, Trouble, one_line, trouble_of

SQLITE_TIMEOUT = 5.0  # seconds that SQLite itself waits for a lock; then we wait, and say so
_ATTEMPTS = 5  # several drivers may create the tables of one storage at the same time
# What libpq does about a server whose host or network vanishes: 20 to 30 s until it is an error.
_POSTGRES_CONNECTION = {
    "keepalives": 1,
    "keepalives_idle": 10,  # s
    "keepalives_interval": 5,  # s
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # ms that what was sent may stay unacknowledged
    "application_name": "layersearch",
    # Databases that were made without a locale have none (SQL_ASCII), and texts would be bytes.
    "client_encoding": "utf8",
}
# And what the server does about a driver that vanishes: it must not hold locks for hours.
_POSTGRES_SESSION = {
    "tcp_keepalives_idle": "10",  # s
    "tcp_keepalives_interval": "5",  # s
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "60s",
    "lock_timeout": "30s",
}


def driver_that_is_installed(url: URL) -> URL:
    """The URL with the PostgreSQL driver that there is.

    Raises:
        StudyError: there is none.
    """
    if url.drivername not in ("postgres", "postgresql"):
        return url
    for module in ("psycopg", "psycopg2"):
        if importlib.util.find_spec(module):
            return url.set(drivername=f"postgresql+{module}")
    raise StudyError(
        "study.storage: PostgreSQL needs a driver; install it with: "
        "pip install 'layersearch[postgres]'"
    )


def open_database(url: URL, patience: Patience) -> RDBStorage:
    """The database at `url`, with its tables.

    Raises:
        StudyError: it cannot be opened; what may pass by itself is waited for: a lock, a server
            that is starting.
    """
    sqlite = url.get_backend_name() == "sqlite"
    # A restarted server is met with a new connection.
    options: dict[str, Any] = {"pool_pre_ping": True}
    if sqlite:
        options = {"connect_args": {"timeout": SQLITE_TIMEOUT}}
        if url.database:
            make_folder(Path(url.database))
    elif _is_libpq(url):
        settings = _POSTGRES_CONNECTION | {"connect_timeout": _connect_timeout(patience)}
        options["connect_args"] = {
            name: value for name, value in settings.items() if name not in url.query
        }
    storage = _connect(url, options, patience)
    if sqlite:
        _prepare(storage, _make_sqlite_fast)
    elif _is_libpq(url):
        _prepare(storage, _limit_postgres_session)
    return storage


def is_guarded(storage: BaseStorage) -> bool:
    """Whether the storage's connections are those of libpq, which can be cut from outside."""
    return isinstance(storage, RDBStorage) and storage.engine.driver in ("psycopg", "psycopg2")


def make_folder(path: Path) -> None:
    """Makes the folder that a storage's file is in.

    Raises:
        StudyError: it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(
            f"study.storage: the folder {path.parent} cannot be made ({error.strerror})"
        ) from error


def _connect_timeout(patience: Patience) -> int:
    """Whole seconds; libpq takes no less than 2."""
    return max(2, min(10, int(patience.timeout / 4)))


def _is_libpq(url: URL) -> bool:
    return url.drivername in ("postgresql+psycopg", "postgresql+psycopg2")


def _connect(url: URL, options: dict[str, Any], patience: Patience) -> RDBStorage:
    text = url.render_as_string(hide_password=False)
    for attempt in range(_ATTEMPTS):
        try:
            return patience.run(
                lambda _again: QuickDatabase(text, engine_kwargs=dict(options)),
                waits=_heals_while_opening,
            )
        except StudyError as error:
            cause = error.__cause__ or error
            if not _is_refusal(cause):
                raise
            raise StudyError(_cannot_open(url, patience, cause)) from cause
        except (SQLAlchemyError, ImportError, RuntimeError) as error:
            if attempt + 1 == _ATTEMPTS or not _made_by_another(error):
                raise StudyError(_cannot_open(url, patience, error)) from error
            time.sleep(random.uniform(0.05, 0.3))
    raise AssertionError("the last attempt returns or raises")


def _heals_while_opening(trouble: Trouble) -> bool:
    """A name or an address that is wrong does not become right by waiting."""
    return trouble.kind in (Kind.LOCKED, Kind.STARTING)


def _is_refusal(cause: BaseException) -> bool:
    trouble = trouble_of(cause)
    return trouble is not None and trouble.kind in (Kind.AWAY, Kind.BROKEN)


def _prepare(storage: RDBStorage, prepare: Any) -> None:
    sqlalchemy.event.listen(storage.engine, "connect", prepare)
    storage.engine.dispose()  # the connection that made the tables was not prepared


def _make_sqlite_fast(connection: Any, _record: Any) -> None:
    """Write-ahead log, flushed at checkpoints: 4 times faster, and still whole after a crash.

    Only a power cut can lose the last transactions; the file stays consistent even then.
    """
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
    finally:
        cursor.close()


def _limit_postgres_session(connection: Any, _record: Any) -> None:
    settings = ", ".join(
        f"set_config('{name}', '{value}', false)" for name, value in _POSTGRES_SESSION.items()
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {settings}")
    connection.commit()


def _made_by_another(error: Exception) -> bool:
    text = str(error).lower()
    return "already exists" in text or "unique constraint" in text


_REMEDIES = (
    (("malformed", "not a database"), "the file is damaged: restore it, or use another study.name"),
    (("authentication failed", "no password supplied"), "check the user and the password"),
    (("does not exist",), "create it, or correct the name"),
    (
        ("resolve host", "name resolution", "translate host name", "Name or service not known"),
        "check the host's name",
    ),
    (("refused",), "is the server running there?"),
    (("timeout expired", "timed out", "unreachable"), "is the host reachable from here?"),
)


def _cannot_open(url: URL, patience: Patience, error: BaseException) -> str:
    cause = error.__cause__ if type(error).__name__ == "StorageInternalError" else error
    text = one_line(cause or error)
    if url.password:
        text = text.replace(str(url.password), "***")
    remedy = next(
        (f"; {words}" for signs, words in _REMEDIES if any(sign in text for sign in signs)), ""
    )
    return f"study.storage: {patience.address} cannot be opened ({text}){remedy}"
