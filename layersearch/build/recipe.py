"""The recipe of a search: from its section of the description, and what follows from the data."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from optuna.pruners import NopPruner

from layersearch.build.given import Given
from layersearch.config import SearchConfig
from layersearch.data import Augmentation, Fold
from layersearch.subtuning import HeadRecipe, Recipe

# Of the arithmetic of training, what validating may take where no decision hangs on it. A sample
# that is scored takes a third of what one takes that is trained on: it has no backward pass.
_VALIDATING = 0.1


def build_recipe(config: SearchConfig, given: Given, folds: Sequence[Fold]) -> Recipe:
    """The recipe; a number that is searched has the first or lowest of its values until then."""
    section = config.recipe
    plain = section.model_dump(
        exclude={"augmentation", "head", "validate_every", *section.searched}
    )
    for name, searched in section.searched.items():
        values = searched.model_dump()
        plain[name] = values["choices"][0] if "choices" in values else values["low"]
    head = HeadRecipe(depth=section.head.depth, start=section.head.start)
    recipe = Recipe(**plain, head=head)
    if section.validate_every != "auto":
        return replace(recipe, validate_every=section.validate_every)
    if _prunes(config, given) or "epochs" in section.searched:
        return recipe
    return replace(recipe, validate_every=seldom(folds, epochs=recipe.epochs))


def seldom(folds: Sequence[Fold], *, epochs: int) -> int:
    """Epochs between validations, so that these take little beside the training.

    Args:
        folds: whose samples are trained on and scored.
        epochs: of the recipe.
    """
    trained = sum(len(fold.train) for fold in folds)
    scored = sum(len(fold.validation) for fold in folds)
    every = max(1, math.ceil(scored / 3 / trained / _VALIDATING))
    return every if 2 * every <= epochs else epochs  # a single one in between tells little


def describe_recipe(config: SearchConfig, recipe: Recipe) -> dict[str, Any]:
    """Plain values, for the fingerprint."""
    described: dict[str, Any] = config.recipe.model_dump(mode="json")
    described["validate_every"] = recipe.validate_every
    if not described["siamese"]:
        del described["siamese"]  # studies made before there was such a choice go on
    return described


def largest(number: Any) -> int:
    """A number of the recipe, or the largest that it may be where it is searched."""
    return int(max(getattr(number, "choices", [getattr(number, "high", number)])))


def build_augmentation(config: SearchConfig) -> Augmentation:
    """How training images vary."""
    section = config.recipe.augmentation
    return Augmentation(
        crop=section.crop, flip=section.flip, random_resized_crop=section.random_resized_crop
    )


def _prunes(config: SearchConfig, given: Given) -> bool:
    """Whether trials may end by what they score on the way."""
    pruner, scheduler = config.strategy.pruner, config.execution.scheduler
    own = given.pruner is not None and not isinstance(given.pruner, NopPruner)
    named = pruner is not None and pruner.name != "none"
    return own or named or (scheduler is not None and scheduler.name != "fifo")
