"""Runs a search's trials: in this process, or in worker processes of this machine."""

from layersearch.execution.budgets import Budgets
from layersearch.execution.in_process import InProcessPool
from layersearch.execution.local import local_pool
from layersearch.execution.observer import Observer, Status
from layersearch.execution.pool import Pool, make_places
from layersearch.execution.process_pool import ProcessPool
from layersearch.execution.progress import SearchProgress
from layersearch.execution.run import Ending, SearchRun, run_search

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
