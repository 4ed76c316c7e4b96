"""What proposes subsets, made from a description."""

from typing import Any

import pytest

from layersearch.build.given import NOTHING_GIVEN
from layersearch.build.proposing import build_proposing
from layersearch.config import SearchConfig, config_from
from layersearch.space import SearchSpace
from layersearch.strategies import Nested
from layersearch.strategies.optuna_adapter import StrategySampler
from tests.strategies.simulation import units

SPACE = SearchSpace(units(1, 2, 3))


def described(**sections: Any) -> SearchConfig:
    values: dict[str, Any] = {
        "backbone": {"name": "layersearch/cifar_resnet14"},
        "data": {"source": "digits"},
    }
    return config_from({**values, **sections})


@pytest.mark.parametrize(
    ("epochs", "given", "look"),
    [(10, None, 2), (3, None, 1), (10, 4, 4), (10, 10, None), (1, None, None)],
)
def test_nested_ranks_by_looks_where_they_are_shorter_than_the_recipe(
    epochs: int, given: int | None, look: int | None
) -> None:
    config = described(strategy={"name": "nested", "look_epochs": given}, recipe={"epochs": epochs})
    sampler = build_proposing(config, NOTHING_GIVEN, SPACE).sampler
    assert isinstance(sampler, StrategySampler)
    assert isinstance(sampler.strategy, Nested)
    assert sampler.strategy.look_epochs == look


def test_samplers_take_several_values() -> None:
    config = described(
        strategy={"name": "nsga2", "trials": 5},
        objective={"metric": ["accuracy", "trainable_parameters"]},
    )
    assert build_proposing(config, NOTHING_GIVEN, SPACE).name == "nsga2"
