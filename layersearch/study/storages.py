"""Opens the storage of a study: SQLite, PostgreSQL and whatever else Optuna takes, or a journal.

Passwords never reach a message: storages are named by `masked`.
"""

import importlib.util
import random
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from layersearch.errors import StudyError

SQLITE_TIMEOUT = 60.0  # seconds to wait for a lock; the default of 5 fails under a slow disk
MEMORY = ":memory:"  # kept by this process only
_SECRET = re.compile(r"([?&][^=&]*(?:pass|secret|token)[^=&]*)=[^&]*", re.IGNORECASE)
_ATTEMPTS = 5  # several drivers may create the tables of one storage at the same time


def masked(storage: str | BaseStorage) -> str:
    """The storage in words a user may see: its address without the password.

    >>> masked("postgresql://me:secret@db/studies?sslpassword=x")
    'postgresql://me:***@db/studies?sslpassword=***'
    """
    if not isinstance(storage, str):
        return type(storage).__name__
    text = re.sub(r"(://[^:/?#@]*):[^/?#]*@", r"\1:***@", storage)
    # A password may itself hold '/', '?' or '#', unquoted.
    text = re.sub(r"(://[^:/?#@]*):(?!\*\*\*@)(?=[^@]*@).*@", r"\1:***@", text)
    return _SECRET.sub(r"\1=***", text)


def resolve_storage(storage: str | Path | None, *, name: str, directory: Path) -> str:
    """The storage's URL: the default, a bare path, or the URL itself.

    Args:
        storage: a URL (`sqlite:///…`, `postgresql://…`, `journal:///absolute/path`), a path
            (`*.db`, `*.sqlite3`: SQLite; `*.log`, `*.journal`: journal), ':memory:', or None for
            `<directory>/<name>/study.db`.
        name: of the study, already checked.
        directory: where studies keep their folders.
    """
    if storage is None:
        return f"sqlite:///{directory / name / 'study.db'}"
    text = str(storage)
    if text == MEMORY or "://" in text:
        return text
    suffix = Path(text).suffix
    if suffix in (".log", ".journal"):
        return f"journal://{text}"
    if suffix in (".db", ".sqlite", ".sqlite3"):
        return f"sqlite:///{text}"
    raise StudyError(
        f"study.storage: {masked(text)!r} is neither a URL nor a path that ends in .db, .sqlite3, "
        ".log or .journal; write for example sqlite:///runs/study.db or postgresql://user@host/db"
    )


def open_storage(url: str) -> BaseStorage:
    """The storage at `url`, made if it is a file that does not exist yet.

    Raises:
        StudyError: it cannot be opened; the text is one line without the password.
    """
    if url == MEMORY:
        return InMemoryStorage()
    if url.startswith("journal://"):
        return _open_journal(Path(unquote(url.removeprefix("journal://"))))
    if url.startswith(("redis://", "rediss://", "journal+redis://")):
        raise StudyError(
            f"study.storage: {masked(url)} is refused, because Optuna's journal on Redis runs code "
            "that it finds there; use postgresql://… or a journal file"
        )
    try:
        parsed = _driver_that_is_installed(make_url(url))
    except (ArgumentError, ValueError):  # a port that is no number
        raise StudyError(
            f"study.storage: {masked(url)!r} is not a database URL; write for example "
            "sqlite:///runs/study.db or postgresql://user:password@host/db"
        ) from None
    return _open_database(parsed)


def _open_journal(path: Path) -> BaseStorage:
    _make_folder(path)
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except (OSError, ValueError) as error:  # a torn line is a JSONDecodeError, a ValueError
        raise StudyError(
            f"study.storage: the journal {path} cannot be read ({_one_line(error)})"
        ) from error


def _driver_that_is_installed(url: URL) -> URL:
    if url.drivername not in ("postgres", "postgresql"):
        return url
    for module in ("psycopg", "psycopg2"):
        if importlib.util.find_spec(module):
            return url.set(drivername=f"postgresql+{module}")
    raise StudyError(
        "study.storage: PostgreSQL needs a driver; install it with: "
        "pip install 'layersearch[postgres]'"
    )


def _open_database(url: URL) -> BaseStorage:
    sqlite = url.get_backend_name() == "sqlite"
    options: dict[str, Any] = {
        "pool_pre_ping": True
    }  # a restarted server is met with a new connection
    if sqlite:
        options = {"connect_args": {"timeout": SQLITE_TIMEOUT}}
        if url.database:
            _make_folder(Path(url.database))
    storage = _connect(url, options)
    if sqlite:
        _make_sqlite_fast(storage)
    return optuna.storages.get_storage(storage)


def _connect(url: URL, options: dict[str, Any]) -> RDBStorage:
    text = url.render_as_string(hide_password=False)
    failure = ""
    for _ in range(_ATTEMPTS):
        try:
            return RDBStorage(text, engine_kwargs=dict(options))
        except (SQLAlchemyError, ImportError, RuntimeError) as error:
            failure = _cannot_open(url, error)
            if not _made_by_another(error):
                break
            time.sleep(random.uniform(0.05, 0.3))
    raise StudyError(failure)


def _make_sqlite_fast(storage: RDBStorage) -> None:
    """Write-ahead log, flushed at checkpoints: 4 times faster, and still whole after a crash.

    Only a power cut can lose the last transactions; the file stays consistent even then.
    """

    @sqlalchemy.event.listens_for(storage.engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=NORMAL")
        finally:
            cursor.close()

    storage.engine.dispose()  # the connection that made the tables has not seen the pragmas


def _made_by_another(error: Exception) -> bool:
    text = str(error).lower()
    return any(
        sign in text for sign in ("already exists", "unique constraint", "database is locked")
    )


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(
            f"study.storage: the folder {path.parent} cannot be made ({error.strerror})"
        ) from error


def _cannot_open(url: URL, error: Exception) -> str:
    shown = masked(url.render_as_string(hide_password=True))
    text = _one_line(error)
    if url.password:
        text = text.replace(str(url.password), "***")
    remedy = ""
    if "malformed" in text or "not a database" in text:
        remedy = "; the file is damaged: restore it, or give this search another study.name"
    return f"study.storage: {shown} cannot be opened ({text}){remedy}"


def _one_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error  # the driver's own words, without the SQL
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[0] if lines else type(cause).__name__
