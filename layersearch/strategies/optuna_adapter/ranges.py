"""The parameters of a trial: one boolean a unit, and recipe numbers with their ranges."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, Trial

from layersearch.space import SearchSpace
from layersearch.strategies.options import called

RECIPE = "recipe."  # what names of parameters that are recipe numbers begin with


def recipe_numbers(trial: Trial | FrozenTrial) -> dict[str, Any]:
    """The recipe numbers that were sampled for a trial, by their names in the recipe."""
    return {
        name.removeprefix(RECIPE): value
        for name, value in trial.params.items()
        if name.startswith(RECIPE)
    }


def distribution(name: str, range_: Mapping[str, Any] | BaseDistribution) -> BaseDistribution:
    """The range of a recipe number: {low, high, log, step} or {choices: […]}.

    Whole numbers where both ends are; the ends are included.

    Raises:
        ConfigError: keys that are no range, or ends in the wrong order.
    """
    if isinstance(range_, BaseDistribution):
        return range_
    if "choices" in range_:
        make: Any = CategoricalDistribution
    elif all(isinstance(range_.get(end), int) for end in ("low", "high")):
        make = IntDistribution
    else:
        make = FloatDistribution
    made: BaseDistribution = called(make, range_, where=f"recipe.{name}")
    return made


def distributions(
    space: SearchSpace, recipe: Mapping[str, Mapping[str, Any] | BaseDistribution]
) -> dict[str, BaseDistribution]:
    """The parameters of every trial of a search, in the order to ask for them."""
    units: dict[str, BaseDistribution] = {
        name: CategoricalDistribution((False, True)) for name in space.free
    }
    return {**units, **{RECIPE + name: distribution(name, recipe[name]) for name in recipe}}
