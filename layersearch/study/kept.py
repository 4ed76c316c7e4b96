"""What a study keeps of what was measured once: all who search it go by the same numbers."""

from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from layersearch.errors import StudyError
from layersearch.study.attributes import canonical, plain
from layersearch.study.opening import read_study
from layersearch.study.storages import MEMORY

LATENCY = "latency_table"  # attribute of the study: objectives/latency.py as JSON


def read_kept(
    name: str, key: str, *, storage: str | Path | BaseStorage | None, directory: str | Path
) -> Any:
    """What the study of that name keeps under `key`; None if there is no such study, or nothing."""
    if storage == MEMORY:
        return None
    try:
        study = read_study(name, storage=storage, directory=directory)
    except StudyError:  # whoever opens it to search says what is wrong
        return None
    try:
        return study.user_attrs.get(key)
    finally:
        if not isinstance(storage, BaseStorage):
            study._storage.close()  # type: ignore[attr-defined]  # noqa: SLF001 (opened above)


def keep(study: optuna.Study, key: str, value: Any, *, what: str) -> None:
    """Keeps a value with the study for good.

    Args:
        study: opened to search it.
        key: name of the attribute.
        value: as JSON has it.
        what: that it is, for the message.

    Raises:
        StudyError: the study keeps another value.
    """
    kept = study.user_attrs.get(key)
    if kept is None:
        study.set_user_attr(key, plain(value))
    elif canonical(kept) != canonical(value):
        raise StudyError(
            f"study.name: the study '{study.study_name}' goes by another {what} than this process; "
            "run the same command again, it takes the study's; or search under another study.name"
        )
