"""The composition root: from a description to a finished search. Nothing below knows the config."""

from layersearch.build.api import plan, profile, search
from layersearch.build.dry_run import run_plan
from layersearch.build.exporting import export
from layersearch.build.given import Given
from layersearch.build.latency_listing import LatencyListing, list_latency
from layersearch.build.planning import Case, Plan
from layersearch.build.profiling import run_profile
from layersearch.build.result import Profile, Result
from layersearch.build.search import run_search
from layersearch.build.units import UnitListing, describe_units
from layersearch.build.worker import WorkerRun, run_worker

__all__ = [
    "Case",
    "Given",
    "LatencyListing",
    "Plan",
    "Profile",
    "Result",
    "UnitListing",
    "WorkerRun",
    "describe_units",
    "export",
    "list_latency",
    "plan",
    "profile",
    "run_plan",
    "run_profile",
    "run_search",
    "run_worker",
    "search",
]
