"""Runs a search's trials by Ray Tune, on this machine or a cluster. Importing it imports Ray."""

from layersearch.execution.ray_tune.options import ClusterOptions, SchedulerOptions
from layersearch.execution.ray_tune.run import run_ray_search

__all__ = ["ClusterOptions", "SchedulerOptions", "run_ray_search"]
