from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
import pytest

from layersearch.execution import SearchRun, local_pool, run_search
from layersearch.study import OpenStudy, open_study
from tests.execution.doubles import Every, sampler_of
from tests.execution.jobs import Scripted

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where scripted jobs note what they train."""
    return tmp_path / "trained.log"


@pytest.fixture
def open_it(tmp_path: Path) -> Iterator[Callable[..., OpenStudy]]:
    with ExitStack() as stack:

        def open_it(strategy: Every | None = None, **options: Any) -> OpenStudy:
            options.setdefault("sampler", sampler_of(strategy or Every()))
            options.setdefault("storage", f"sqlite:///{tmp_path}/study.db")
            return stack.enter_context(open_study("search", **options))

        yield open_it


@pytest.fixture
def search(open_it: Callable[..., OpenStudy], log: Path) -> Callable[..., SearchRun]:
    """Runs the tiny search to its end, with the faults that are given."""

    def search(
        faults: Any = None,
        *,
        strategy: Every | None = None,
        workers: int = 1,
        once: bool = False,
        seconds: float = 0.0,
        epochs: int = 3,
        timeout: float | None = None,
        in_process: bool | None = None,
        opened: OpenStudy | None = None,
        study: Any = None,
        **options: Any,
    ) -> SearchRun:
        strategy = strategy or Every()
        if opened is None:
            opened = open_it(strategy, **(study or {}))
        factory = Scripted(log, faults=faults, once=once, seconds=seconds, epochs=epochs)
        options.setdefault(
            "pool",
            local_pool(workers, trial_timeout=timeout, threads=1, in_process=in_process),
        )
        try:
            return run_search(opened, options.pop("factory", factory), **options)
        finally:
            opened.close()

    return search
