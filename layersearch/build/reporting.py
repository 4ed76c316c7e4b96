"""The report page at the end of a search, and what the study must hold for it."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import optuna

from layersearch.build.components import Components
from layersearch.errors import SearchError
from layersearch.execution import Observer
from layersearch.execution.observer import Observers
from layersearch.report.dashboard import publish
from layersearch.report.page import PAGE, write_page
from layersearch.study.attributes import SEARCH, plain

_PACKAGES = ("layersearch", "torch", "torchvision", "timm", "optuna", "ray", "numpy")


def describe_search(study: optuna.Study, parts: Components) -> None:
    """Keeps with the study what made it: description, versions, and what its costs follow from.

    The latest run of a search says it: what scores depend on cannot have changed in between.
    """
    described = plain(
        {
            "config": parts.config.resolved(),
            "versions": versions(),
            "stages": list(parts.chain.multiply_adds),  # multiply-adds of each, one sample
            "folds": [
                [len(fold.train), len(fold.validation)] for fold in parts.materials.data.folds
            ],
        }
    )
    if study.user_attrs.get(SEARCH) != described:
        study.set_user_attr(SEARCH, described)


def versions() -> dict[str, str]:
    """Of Python and of the packages that matter, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def is_reported(folder: Path) -> bool:
    """Whether the page of a study is there, and no older than its result."""
    page, result = folder / PAGE, folder / "result.json"
    return (
        page.is_file() and result.is_file() and page.stat().st_mtime_ns >= result.stat().st_mtime_ns
    )


@contextmanager
def report_if_it_fails(
    study: optuna.Study | None, folder: Path, observers: Sequence[Observer] = ()
) -> Iterator[None]:
    """Writes the page of a search that fails, too: why its trials failed is what one looks for."""
    try:
        yield
    except SearchError:
        write_report(study, folder, None, observers)
        raise


def write_report(
    study: optuna.Study | None,
    folder: Path,
    result: Mapping[str, Any] | None,
    observers: Sequence[Observer] = (),
) -> Path | None:
    """Writes the page of a study and the notes that Optuna Dashboard shows of it.

    That they cannot be written is said, and costs nothing else.

    Args:
        study: None: there is none to read.
        folder: of the study.
        result: if there is one.
        observers: are told.

    Returns: the path of the page; None where it could not be written.
    """
    if study is None:
        return None
    audience = Observers(observers)
    try:
        page = write_page(study, folder, result=result)
    except Exception as error:  # noqa: BLE001 - a page is not worth a search
        audience.message(f"the report page cannot be written: {error}")
        return None
    try:
        publish(study, folder, result=result)
    except Exception as error:  # noqa: BLE001 - nor are notes
        audience.message(f"Optuna Dashboard gets no notes of this search: {error}")
    return page
