"""One trial: what tuning a unit means, training from cached features, evaluation."""

from layersearch.subtuning.features import Budget, FeatureStore, remove_leftovers
from layersearch.subtuning.final import (
    BASELINES,
    Contender,
    Retraining,
    Verdict,
    contenders,
    judge,
)
from layersearch.subtuning.head import HeadFitter
from layersearch.subtuning.job import (
    JobFactory,
    Materials,
    SubtuningJob,
    feature_store,
    known_costs,
    open_test_split,
    open_workplace,
)
from layersearch.subtuning.network import TunedNetwork, first_tuned, require_cut
from layersearch.subtuning.precision import resolve_precision
from layersearch.subtuning.recipe import HeadRecipe, Recipe, recipe_from
from layersearch.subtuning.training import Workplace, evaluate, train
from layersearch.subtuning.trial import subtune

__all__ = [
    "BASELINES",
    "Budget",
    "Contender",
    "FeatureStore",
    "HeadFitter",
    "HeadRecipe",
    "JobFactory",
    "Materials",
    "Recipe",
    "Retraining",
    "SubtuningJob",
    "TunedNetwork",
    "Verdict",
    "Workplace",
    "contenders",
    "evaluate",
    "feature_store",
    "first_tuned",
    "judge",
    "known_costs",
    "open_test_split",
    "open_workplace",
    "recipe_from",
    "remove_leftovers",
    "require_cut",
    "resolve_precision",
    "subtune",
    "train",
]
