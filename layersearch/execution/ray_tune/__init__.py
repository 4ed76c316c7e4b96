"""Runs a search's trials by Ray Tune, on this machine or a cluster.

As in the package above, names are imported when they are first used: workers need few of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layersearch.execution.ray_tune.options import ClusterOptions, SchedulerOptions
    from layersearch.execution.ray_tune.run import run_ray_search

_MODULES = {
    "ClusterOptions": "options",
    "SchedulerOptions": "options",
    "run_ray_search": "run",
}

__all__ = ["ClusterOptions", "SchedulerOptions", "run_ray_search"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
