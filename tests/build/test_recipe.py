"""The recipe of a search, and how often it validates."""

from typing import Any

import optuna
import pytest
import torch

from layersearch.build.given import NOTHING_GIVEN, Given
from layersearch.build.recipe import build_recipe, seldom
from layersearch.config import config_from
from layersearch.data import Fold


def folds(count: int, train: int, validation: int) -> list[Fold]:
    numbers = torch.arange(train + validation)
    return [
        Fold(number=number, train=numbers[:train], validation=numbers[train:])
        for number in range(count)
    ]


HOLD_OUT = folds(1, 1000, 1000)


@pytest.mark.parametrize(
    ("given", "epochs", "every"),
    [
        (folds(5, 800, 200), 10, 1),  # a twelfth of the training
        (HOLD_OUT, 10, 4),
        (HOLD_OUT, 5, 5),  # epochs 4 and 5 would say the same
        (folds(1, 100, 10_000), 10, 10),
    ],
)
def test_validating_takes_little_beside_training(
    given: list[Fold], epochs: int, every: int
) -> None:
    assert seldom(given, epochs=epochs) == every


def recipe_of(given: Given = NOTHING_GIVEN, **sections: Any) -> Any:
    values = {
        "backbone": {"name": "layersearch/cifar_resnet14"},
        "data": {"source": "digits"},
        **sections,
    }
    return build_recipe(config_from(values), given, HOLD_OUT)


def test_where_nothing_ends_trials_on_the_way_it_validates_rarely() -> None:
    assert recipe_of().validate_every == 4
    assert recipe_of(strategy={"name": "greedy", "pruner": "none"}).validate_every == 4


@pytest.mark.parametrize(
    "sections",
    [
        {"strategy": {"name": "greedy", "pruner": "median"}},
        {"execution": {"runner": "ray", "scheduler": "asha"}},
        {"strategy": {"name": "tpe", "trials": 3}, "recipe": {"epochs": {"low": 2, "high": 9}}},
        {"recipe": {"validate_every": 1}},
    ],
)
def test_where_something_does_or_it_is_said_it_validates_every_epoch(
    sections: dict[str, Any],
) -> None:
    assert recipe_of(**sections).validate_every == 1


def test_a_pruner_of_the_users_own_counts() -> None:
    given = Given(pruner=optuna.pruners.MedianPruner())
    assert recipe_of(given).validate_every == 1
