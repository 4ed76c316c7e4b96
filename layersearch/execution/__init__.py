"""Runs a search's trials: in this process, or in worker processes of this machine.

The names are imported when they are first used: a worker process imports this package too, and
needs neither Optuna nor a database nor a display.
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
    from layersearch.execution.run import Ending, SearchRun, run_search

_MODULES = {
    "Budgets": "budgets",
    "Ending": "run",
    "InProcessPool": "in_process",
    "Observer": "observer",
    "Pool": "pool",
    "ProcessPool": "process_pool",
    "SearchProgress": "progress",
    "SearchRun": "run",
    "Status": "observer",
    "local_pool": "local",
    "make_places": "pool",
    "run_search": "run",
}

__all__ = [
    "Budgets",
    "Ending",
    "InProcessPool",
    "Observer",
    "Pool",
    "ProcessPool",
    "SearchProgress",
    "SearchRun",
    "Status",
    "local_pool",
    "make_places",
    "run_search",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
