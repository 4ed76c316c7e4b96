"""The one adapter to Optuna: strategies as its samplers, its samplers as strategies."""

from layersearch.strategies.optuna_adapter.claims import CLAIM, PATIENCE, Claims, claimed
from layersearch.strategies.optuna_adapter.making import (
    PRUNERS,
    SAMPLERS,
    make_pruner,
    make_sampler,
    make_search_sampler,
)
from layersearch.strategies.optuna_adapter.ranges import RECIPE, distribution, recipe_numbers
from layersearch.strategies.optuna_adapter.strategy_sampler import ReadHistory, StrategySampler
from layersearch.strategies.optuna_adapter.subset_sampler import MakeSampler, SubsetSampler

__all__ = [
    "CLAIM",
    "PATIENCE",
    "PRUNERS",
    "RECIPE",
    "SAMPLERS",
    "Claims",
    "MakeSampler",
    "ReadHistory",
    "StrategySampler",
    "SubsetSampler",
    "claimed",
    "distribution",
    "make_pruner",
    "make_sampler",
    "make_search_sampler",
    "recipe_numbers",
]
