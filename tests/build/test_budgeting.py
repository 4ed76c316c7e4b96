"""What a budget decides before the first trial."""

from pathlib import Path
from typing import Any

import pytest

from layersearch.build.budgeting import Choice, apply, check_least, choose, chooses
from layersearch.build.given import NOTHING_GIVEN
from layersearch.build.playing import race_of
from layersearch.build.preparing import Prepared, prepare
from layersearch.config import config_from
from layersearch.errors import ConfigError


def prepared(tmp_path: Path, **sections: Any) -> Prepared:
    values: dict[str, Any] = {
        "backbone": {"name": "layersearch/cifar_resnet14"},
        "data": {"source": "digits", "train_samples": 1200, "folds": 2, "test_samples": 100},
        "recipe": {"epochs": 4, "batch_size": 20},  # an epoch is enough for a look
        "strategy": {"name": "greedy"},
        "study": {"directory": str(tmp_path)},
        **sections,
    }
    return prepare(config_from(values), NOTHING_GIVEN)


# Seven units; three rounds that gain: 1 + 7 + 6 + 5 + 4 = 23 subsets, 2 folds, 4 epochs.
@pytest.mark.parametrize(
    ("epochs", "look", "finalists"),
    [
        (23 * 2 * 2 + 3 * 8, 2, 3),
        (23 * 2 * 2 + 3 * 8 - 1, 1, 3),
        (23 * 2 + 2 * 8, 1, 2),
        (23 * 2 + 8, 1, 1),
        (20, 1, 1),  # too little for all looks; what there is goes into them
    ],
)
def test_a_budget_buys_the_longest_looks_and_as_many_finalists_as_it_can(
    tmp_path: Path, epochs: int, look: int, finalists: int
) -> None:
    by_rounds = {"name": "greedy", "leap": False}
    search = prepared(tmp_path, strategy=by_rounds, execution={"budget": f"{epochs}epochs"})
    choice = choose(search, NOTHING_GIVEN, None)
    assert choice.options == {"protocol": "fast", "look_epochs": look, "finalists": finalists}
    assert "\n" not in choice.why
    race = race_of(apply(search, choice, NOTHING_GIVEN).proposing.sampler.strategy)
    assert race is not None
    assert (race.epochs, race.most_finalists) == (look, finalists)


@pytest.mark.parametrize(
    ("epochs", "look"),
    [
        (150, 2),  # 8 subsets, 2 folds, looks of 2 of 10 epochs, and the leap by the whole schedule
        (8 * 2 * 2 + 20, 2),
        (8 * 2 * 2 + 19, 1),
        (30, 1),
    ],
)
def test_before_a_leap_looks_are_as_usual_or_as_short_as_they_must_be(
    tmp_path: Path, epochs: int, look: int
) -> None:
    recipe = {"epochs": 10, "batch_size": 20}
    search = prepared(tmp_path, recipe=recipe, execution={"budget": f"{epochs}epochs"})
    choice = choose(search, NOTHING_GIVEN, None)
    assert choice.options == {"protocol": "fast", "look_epochs": look, "finalists": 1}


def test_a_budget_that_takes_whole_schedules_buys_them(tmp_path: Path) -> None:
    search = prepared(tmp_path, execution={"budget": f"{23 * 8}epochs"})
    choice = choose(search, NOTHING_GIVEN, None)
    assert choice.options == {"protocol": "whole"}
    assert race_of(apply(search, choice, NOTHING_GIVEN).proposing.sampler.strategy) is None


def test_where_nothing_was_chosen_nothing_changes(tmp_path: Path) -> None:
    search = prepared(tmp_path)
    assert apply(search, Choice(options={}), NOTHING_GIVEN) is search


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "greedy", "protocol": "whole"},
        {"name": "greedy", "protocol": "fast", "look_epochs": 2},
        {"name": "exhaustive"},
    ],
)
def test_what_is_said_has_the_last_word(tmp_path: Path, strategy: dict[str, Any]) -> None:
    search = prepared(tmp_path, strategy=strategy, execution={"budget": "20epochs"})
    assert not chooses(search, NOTHING_GIVEN)


@pytest.mark.parametrize(
    ("strategy", "budget", "least"),
    [
        ({"name": "greedy"}, "1epochs", "at least 2 epochs"),
        ({"name": "exhaustive"}, "7epochs", "at least 8 epochs"),
        ({"name": "exhaustive"}, "1trainings", "at least 2 trainings"),
    ],
)
def test_a_budget_of_less_than_a_trial_is_refused_with_the_least(
    tmp_path: Path, strategy: dict[str, Any], budget: str, least: str
) -> None:
    search = prepared(tmp_path, strategy=strategy, execution={"budget": budget})
    with pytest.raises(ConfigError, match=least):
        check_least(search, NOTHING_GIVEN)
