"""Opens the storage of a study: SQLite, PostgreSQL and whatever else Optuna takes, or a journal.

Passwords never reach a message: storages are named by `masked`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage, get_storage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from layersearch.errors import StudyError
from layersearch.study.databases import (
    driver_that_is_installed,
    is_guarded,
    make_folder,
    open_database,
)
from layersearch.study.journal_file import JournalFile
from layersearch.study.patience import STORAGE_TIMEOUT, Patience, Say, log
from layersearch.study.quick_database import QuickCache, QuickDatabase
from layersearch.study.resilient import ResilientStorage
from layersearch.study.stalls import ANSWER_WITHIN, StallGuard
from layersearch.study.troubles import Kind, trouble_of, watch

MEMORY = ":memory:"  # kept by this process only
_SECRET = re.compile(r"([?&][^=&]*(?:pass|secret|token)[^=&]*)=[^&]*", re.IGNORECASE)
_ADVICE = (
    "where several drivers or machines share a study, PostgreSQL is the better storage: "
    "study.storage=postgresql://user@host/database"
)


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


def open_storage(url: str, *, timeout: float = STORAGE_TIMEOUT, say: Say = log) -> ResilientStorage:
    """The storage at `url`, made if it is a file that does not exist yet.

    It is tried again while it is locked, restarted or out of reach.

    Args:
        url: as `resolve_storage` gives it.
        timeout: seconds to wait for it.
        say: is told when waiting begins and ends, and what was mended.

    Raises:
        StudyError: it cannot be opened; the text is one line without the password.
    """
    if url == MEMORY:
        return resilient(InMemoryStorage(), Patience(MEMORY, timeout=timeout, say=say))
    if url.startswith("journal://"):
        path = Path(unquote(url.removeprefix("journal://")))
        return _open_journal(path, Patience(masked(url), timeout=timeout, say=say, path=path))
    if url.startswith(("redis://", "rediss://", "journal+redis://")):
        raise StudyError(
            f"study.storage: {masked(url)} is refused, because Optuna's journal on Redis runs code "
            "that it finds there; use postgresql://… or a journal file"
        )
    try:
        parsed = driver_that_is_installed(make_url(url))
    except (ArgumentError, ValueError):  # a port that is no number
        raise StudyError(
            f"study.storage: {masked(url)!r} is not a database URL; write for example "
            "sqlite:///runs/study.db or postgresql://user:password@host/db"
        ) from None
    sqlite = parsed.get_backend_name() == "sqlite"
    patience = Patience(
        masked(url),
        timeout=timeout,
        say=say,
        path=Path(parsed.database) if sqlite and parsed.database else None,
        advice=_ADVICE if sqlite else "",
    )
    database = open_database(parsed, patience)
    return resilient(database, patience, dispose=database.engine.dispose)


def resilient(
    storage: BaseStorage, patience: Patience, *, dispose: Callable[[], None] = lambda: None
) -> ResilientStorage:
    """Any Optuna storage, tried again when it fails of something that passes.

    Args:
        storage: not wrapped by Optuna's cache yet.
        patience: how long to try.
        dispose: closes connections that are not used any more.
    """
    guard = None
    if isinstance(storage, RDBStorage):
        watch(storage.engine)
        if is_guarded(storage):
            guard = StallGuard(storage.engine, within=min(ANSWER_WITHIN, patience.timeout))
    cached = QuickCache(storage) if isinstance(storage, QuickDatabase) else get_storage(storage)
    return ResilientStorage(cached, patience, guard=guard, dispose=dispose)


def _open_journal(path: Path, patience: Patience) -> ResilientStorage:
    make_folder(path)
    try:
        journal = patience.run(
            lambda _again: JournalStorage(JournalFile(path, say=patience.say)),
            waits=lambda trouble: trouble.kind is Kind.LOCKED,
        )
    except StudyError as error:
        trouble = trouble_of(error.__cause__) if error.__cause__ else None
        if trouble is None or trouble.kind in (Kind.LOCKED, Kind.FULL):
            raise
        raise StudyError(
            f"study.storage: the journal {path} cannot be read ({trouble.text})"
        ) from error
    return resilient(journal, patience)
