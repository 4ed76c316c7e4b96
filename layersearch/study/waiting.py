"""Waits for a study that somebody else is about to make."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from layersearch.errors import StudyError
from layersearch.study.attributes import FINGERPRINT, PLAN
from layersearch.study.names import check_study_name
from layersearch.study.resilient import ResilientStorage
from layersearch.study.storages import MEMORY, masked, open_storage, resolve_storage

_LOOK = 1.0  # seconds between two looks
_LOCAL = (
    "an SQLite file is for processes of one machine; for several, set study.storage to "
    "postgresql://user@host/database for them all"
)


def wait_for_study(
    name: str,
    *,
    storage: str | Path | None,
    directory: str | Path,
    seconds: float,
    tell: Callable[[str], None] = lambda text: None,  # noqa: ARG005
) -> None:
    """Returns when the study is there, and says what made it and how it is searched.

    Args:
        name: of the study.
        storage: see `resolve_storage`.
        directory: where studies keep their folders.
        seconds: how long to wait; 0: look once.
        tell: is told once, if there is something to wait for.

    Raises:
        StudyError: it did not appear; the storage cannot be opened, or is of one process only.
    """
    check_study_name(name)
    url = resolve_storage(storage, name=name, directory=Path(directory))
    if url == MEMORY:
        raise StudyError(
            "study.storage: ':memory:' is kept by one process only; a worker needs a storage that "
            "the search writes too, such as postgresql://user@host/database"
        )
    remedy = f"; {_LOCAL}" if url.startswith("sqlite") else ""
    end = time.monotonic() + seconds
    told = False
    with _Look(url, name, tell) as is_there:
        while not is_there():
            if time.monotonic() >= end:
                raise StudyError(
                    f"study.name: there is no study '{name}' in {masked(url)} after {seconds:g} s; "
                    f"start the search itself with the same file: layersearch search{remedy}"
                )
            if not told:
                tell(f"waiting up to {seconds:g} s for study '{name}' in {masked(url)}{remedy}")
                told = True
            time.sleep(min(_LOOK, max(0.01, end - time.monotonic())))


class _Look:
    """Whether a study is there; keeps the storage open from one look to the next."""

    def __init__(self, url: str, name: str, tell: Callable[[str], None]) -> None:
        self._url = url
        self._name = name
        self._tell = tell
        self._storage: ResilientStorage | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._storage is not None:
            self._storage.close()

    def __call__(self) -> bool:
        path = _file(self._url)
        if self._storage is None and path is not None and not path.is_file():
            return False  # opening it would make it
        if self._storage is None:
            self._storage = open_storage(self._url, say=self._tell)
        try:
            study_id = self._storage.get_study_id_from_name(self._name)
        except KeyError:
            return False
        return {FINGERPRINT, PLAN} <= self._storage.get_study_user_attrs(study_id).keys()


def _file(url: str) -> Path | None:
    """The file of a storage that is one."""
    if url.startswith("journal://"):
        return Path(unquote(url.removeprefix("journal://")))
    if not url.startswith("sqlite"):
        return None
    try:
        database = make_url(url).database
    except ArgumentError:  # open_storage will say so
        return None
    return Path(database) if database else None
