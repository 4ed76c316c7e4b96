"""One Ray for the tests of a session, and searches on it."""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from layersearch.execution import SearchRun
from layersearch.study import OpenStudy, open_study
from tests.execution.doubles import Every, sampler_of
from tests.execution.jobs import Scripted

RAYS_OWN = (
    "ignore::FutureWarning:ray",
    "ignore::ResourceWarning",
    "ignore::DeprecationWarning:ray",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("cluster")
            for text in RAYS_OWN:
                item.add_marker(pytest.mark.filterwarnings(text))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Ray warns of its own future when it starts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """A Ray of this machine with room for four trials, and a GPU that is none."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with quiet():
        ray.init(
            address="local",
            num_cpus=4,
            num_gpus=1,  # in name only
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
        )
        yield
        ray.shutdown()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where scripted jobs note what they train."""
    return tmp_path / "trained.log"


@pytest.fixture
def open_it(tmp_path: Path) -> Iterator[Callable[..., OpenStudy]]:
    with ExitStack() as stack:

        def open_it(strategy: Any = None, **options: Any) -> OpenStudy:
            options.setdefault("sampler", sampler_of(strategy or Every()))
            options.setdefault("storage", f"sqlite:///{tmp_path}/study.db")
            return stack.enter_context(open_study("search", **options))

        yield open_it


@pytest.fixture
def search(
    ray_here: None, open_it: Callable[..., OpenStudy], log: Path
) -> Callable[..., SearchRun]:
    """Runs the tiny search on Ray to its end, with the faults that are given."""
    from layersearch.execution import ClusterOptions, SchedulerOptions, run_ray_search

    def search(
        faults: Any = None,
        *,
        strategy: Any = None,
        workers: int | None = 2,
        once: bool = False,
        seconds: float = 0.0,
        epochs: int = 3,
        timeout: float | None = None,
        scheduler: str = "fifo",
        scheduler_options: Any = None,
        opened: OpenStudy | None = None,
        study: Any = None,
        cluster: Any = None,
        **options: Any,
    ) -> SearchRun:
        strategy = strategy or Every()
        if opened is None:
            opened = open_it(strategy, **(study or {}))
        factory = Scripted(log, faults=faults, once=once, seconds=seconds, epochs=epochs)
        try:
            return run_ray_search(
                opened,
                options.pop("factory", factory),
                cluster=ClusterOptions(
                    workers=workers, trial_timeout=timeout, **{"gpus": 0.0, **(cluster or {})}
                ),
                scheduler=SchedulerOptions(name=scheduler, options=scheduler_options or {}),
                **options,
            )
        finally:
            opened.close()

    return search
