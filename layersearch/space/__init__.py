"""The vocabulary of a search: units, subsets, the space they form, records of trials, seeds."""

from layersearch.space.bounds import Bounds
from layersearch.space.names import contender_name, did_you_mean
from layersearch.space.records import Chronicle, Follower, History, TrialRecord, TrialState
from layersearch.space.search_space import SearchSpace
from layersearch.space.seeds import derive_seed
from layersearch.space.subset import Subset
from layersearch.space.unit import Unit

__all__ = [
    "Bounds",
    "Chronicle",
    "Follower",
    "History",
    "SearchSpace",
    "Subset",
    "TrialRecord",
    "TrialState",
    "Unit",
    "contender_name",
    "derive_seed",
    "did_you_mean",
]
