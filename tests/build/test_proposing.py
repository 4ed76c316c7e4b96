"""What proposes subsets, made from a description."""

from types import SimpleNamespace
from typing import Any

import pytest

from layersearch.build.given import NOTHING_GIVEN
from layersearch.build.proposing import build_proposing, least_look_of
from layersearch.config import SearchConfig, config_from
from layersearch.errors import ConfigError
from layersearch.space import SearchSpace
from layersearch.strategies import Greedy, Nested, Race
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


@pytest.mark.parametrize(
    ("options", "leaps", "finalists"),
    [
        ({}, True, 1),
        ({"finalists": 3}, True, 3),
        ({"max_rounds": 2}, False, 3),  # says how rounds go on
        ({"leap": False}, False, 3),
        ({"leap": True, "z": 2.0}, True, 1),
    ],
)
def test_greedy_leaps_unless_something_says_how_its_rounds_go_on(
    options: dict[str, Any], leaps: bool, finalists: int
) -> None:
    config = described(strategy={"name": "greedy", **options}, recipe={"epochs": 10})
    race = build_proposing(config, NOTHING_GIVEN, SPACE).sampler.strategy  # type: ignore[union-attr]
    assert isinstance(race, Race)
    assert isinstance(race.strategy, Greedy)
    assert race.strategy.leap is leaps
    assert race.most_finalists == finalists
    assert race.epochs == 2


@pytest.mark.parametrize(("protocol", "chance"), [("whole", 0.1), ("paper", None)])
def test_only_whole_rounds_stop_candidates_early_and_none_leaps(
    protocol: str, chance: float | None
) -> None:
    config = described(strategy={"name": "greedy", "protocol": protocol}, recipe={"epochs": 10})
    greedy = build_proposing(config, NOTHING_GIVEN, SPACE).sampler.strategy  # type: ignore[union-attr]
    assert isinstance(greedy, Greedy)
    assert greedy.eliminate == chance
    assert greedy.leap is False


def test_a_leap_only_adds() -> None:
    with pytest.raises(ConfigError, match="leap: true adds units, and direction is backward"):
        described(strategy={"name": "greedy", "leap": True, "direction": "backward"})


def test_what_was_made_of_a_description_makes_the_same_search_again() -> None:
    config = described(strategy={"name": "greedy"}, recipe={"epochs": 10})
    again = config_from(config.model_dump(mode="json"))
    assert again.strategy == config.strategy


@pytest.mark.parametrize(
    ("epochs", "least", "look"), [(10, 1, 2), (10, 4, 4), (10, 10, None), (1, 1, None)]
)
@pytest.mark.parametrize("name", ["greedy", "nested"])
def test_a_look_is_long_enough_to_settle_or_there_is_none(
    name: str, epochs: int, least: int, look: int | None
) -> None:
    config = described(strategy={"name": name}, recipe={"epochs": epochs})
    strategy: Any = build_proposing(config, NOTHING_GIVEN, SPACE, least_look=least).sampler
    strategy = strategy.strategy
    if look is None:
        assert not isinstance(strategy, Race)
        assert getattr(strategy, "look_epochs", None) is None
    else:
        assert (strategy.epochs if name == "greedy" else strategy.look_epochs) == look


@pytest.mark.parametrize(
    ("samples", "batch_size", "epochs"),
    [
        (1000, 50, 1),
        (1000, 100, 2),  # steps
        (160, 25, 4),  # samples
        (10_000, 64, 1),
    ],
)
def test_how_long_a_look_must_be_follows_from_steps_and_samples(
    samples: int, batch_size: int, epochs: int
) -> None:
    fold = SimpleNamespace(train=range(samples))
    materials: Any = SimpleNamespace(
        recipe=SimpleNamespace(batch_size=batch_size), data=SimpleNamespace(folds=[fold])
    )
    assert least_look_of(materials) == epochs
