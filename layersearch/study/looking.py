"""Looks at what a study has recorded, without making or holding it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from layersearch.errors import StudyError
from layersearch.space.records import History
from layersearch.study.databases import driver_that_is_installed
from layersearch.study.drivers import driver_records
from layersearch.study.history import history
from layersearch.study.opening import read_study
from layersearch.study.storages import MEMORY, resolve_storage


@dataclass(frozen=True, kw_only=True)
class Past:
    """What a study has recorded."""

    trials: History
    seconds: float  # in which a driver worked on it
    attributes: dict[str, Any]  # of the study


def look_at(name: str, *, storage: str | None = None, directory: str = "runs") -> Past | None:
    """What a study has recorded; None if there is none of that name. Nothing is made.

    Args:
        name: of the study.
        storage: as of `open_study`.
        directory: where studies keep their folders.

    Raises:
        StudyError: the storage does not answer.
    """
    url = resolve_storage(storage, name=name, directory=Path(directory))
    if not _holds_studies(url):
        return None
    try:
        study = read_study(name, storage=url, directory=directory)
    except StudyError as error:
        if "there is no study" in str(error):
            return None
        raise
    attributes = study.user_attrs
    return Past(trials=history(study), seconds=_driven(attributes), attributes=attributes)


def _driven(attributes: dict[str, Any]) -> float:
    total, covered = 0.0, float("-inf")
    for record in driver_records(attributes):
        total += max(0.0, record.heartbeat - max(record.started, covered))
        covered = max(covered, record.heartbeat)
    return total


def _holds_studies(url: str) -> bool:
    """Whether the storage has been used: to open another one would make it."""
    if url == MEMORY:
        return False
    if url.startswith("journal://"):
        return Path(unquote(url.removeprefix("journal://"))).is_file()
    try:
        parsed = driver_that_is_installed(make_url(url))
        if parsed.get_backend_name() == "sqlite":
            return bool(parsed.database) and Path(str(parsed.database)).is_file()
        engine = create_engine(parsed)
        try:
            return inspect(engine).has_table("studies")
        finally:
            engine.dispose()
    except (SQLAlchemyError, ValueError):
        return False  # whoever opens it says what is wrong
