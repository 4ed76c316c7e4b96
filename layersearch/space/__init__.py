"""The vocabulary of a search: units, subsets, the space they form, records of trials, seeds."""

from layersearch.space.records import History, TrialRecord, TrialState
from layersearch.space.seeds import derive_seed
from layersearch.space.subset import Subset
from layersearch.space.unit import Unit

__all__ = ["History", "Subset", "TrialRecord", "TrialState", "Unit", "derive_seed"]
