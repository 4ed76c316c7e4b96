"""Runs a search's trials: in this process, in worker processes of this machine, or by Ray.

The names are imported when they are first used: a worker process imports this package too, and
needs neither Optuna nor a database nor a display; and most searches need no Ray.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layersearch.execution.budgets import Budgets
    from layersearch.execution.in_process import InProcessPool
    from layersearch.execution.local import local_pool
    from layersearch.execution.observer import Observer, Status
    from layersearch.execution.pool import Pool, make_places
    from layersearch.execution.process_pool import ProcessPool
    from layersearch.execution.progress import SearchProgress
    from layersearch.execution.ray_tune.options import ClusterOptions, SchedulerOptions
    from layersearch.execution.ray_tune.run import run_ray_search
    from layersearch.execution.run import run_search
    from layersearch.execution.session import Ending, SearchRun

_MODULES = {
    "Budgets": "budgets",
    "ClusterOptions": "ray_tune",
    "Ending": "session",
    "InProcessPool": "in_process",
    "Observer": "observer",
    "Pool": "pool",
    "ProcessPool": "process_pool",
    "SchedulerOptions": "ray_tune",
    "SearchProgress": "progress",
    "SearchRun": "session",
    "Status": "observer",
    "local_pool": "local",
    "make_places": "pool",
    "run_ray_search": "ray_tune",
    "run_search": "run",
}

__all__ = [
    "Budgets",
    "ClusterOptions",
    "Ending",
    "InProcessPool",
    "Observer",
    "Pool",
    "ProcessPool",
    "SchedulerOptions",
    "SearchProgress",
    "SearchRun",
    "Status",
    "local_pool",
    "make_places",
    "run_ray_search",
    "run_search",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
