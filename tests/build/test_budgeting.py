"""What a budget decides before the first trial."""

from pathlib import Path
from typing import Any

import pytest

from layersearch.build.budgeting import Choice, apply, check_least, choose, chooses, cut_short
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
    ("epochs", "look", "finalists", "folds"),
    [
        (23 * 2 * 2 + 3 * 8, 2, 3, None),
        (23 * 2 * 2 + 3 * 8 - 1, 1, 3, None),
        (23 * 2 + 2 * 8, 1, 2, None),
        (23 * 2 + 8, 1, 1, None),
        (23 * 2 + 7, 1, 1, 1),
        (20, 1, 1, 1),  # too little for all looks; what there is goes into them
    ],
)
def test_a_budget_buys_the_longest_looks_and_as_many_finalists_as_it_can(
    tmp_path: Path, epochs: int, look: int, finalists: int, folds: int | None
) -> None:
    by_rounds = {"name": "greedy", "leap": False}
    search = prepared(tmp_path, strategy=by_rounds, execution={"budget": f"{epochs}epochs"})
    choice = choose(search, NOTHING_GIVEN, None)
    assert choice.options == {"protocol": "fast", "look_epochs": look, "finalists": finalists}
    assert choice.folds == folds
    assert "\n" not in choice.why
    assert ("all on 1 of the 2 folds" in choice.why) == (folds == 1)
    assert ("the budget will end the looks" in choice.why) == (epochs == 20)
    applied = apply(search, choice, NOTHING_GIVEN)
    race = race_of(applied.proposing.sampler.strategy)
    assert race is not None
    assert (race.epochs, race.most_finalists) == (look, finalists)
    every = search.parts.materials.data.folds
    assert applied.parts.materials.data.folds == every[: folds or 2]


@pytest.mark.parametrize(
    ("batch_size", "epochs", "look", "folds"),
    [
        # 8 subsets, 2 folds, looks of 2 of 10 epochs, and the leap by the whole schedule
        (20, 150, 2, None),
        (20, 8 * 2 * 2 + 20, 2, None),
        (20, 8 * 2 * 2 + 19, 1, None),
        (20, 8 * 2 + 19, 1, 1),
        (20, 17, 1, 1),
        # An epoch has ten steps: looks of two are the shortest that tell anything.
        (60, 8 * 2 * 2 + 20, 2, None),
        (60, 8 * 2 * 2 + 19, 2, 1),
        (60, 8 * 2 + 10, 2, 1),
        (60, 8 * 2 + 9, 1, 1),
    ],
)
def test_before_a_leap_looks_are_as_usual_then_shorter_then_on_fewer_folds(
    tmp_path: Path, batch_size: int, epochs: int, look: int, folds: int | None
) -> None:
    recipe = {"epochs": 10, "batch_size": batch_size}
    search = prepared(tmp_path, recipe=recipe, execution={"budget": f"{epochs}epochs"})
    choice = choose(search, NOTHING_GIVEN, None)
    assert choice.options == {"protocol": "fast", "look_epochs": look, "finalists": 1}
    assert choice.folds == folds
    assert Choice(**choice.to_attribute()) == choice


@pytest.mark.parametrize(
    ("trainings", "protocol", "folds"),
    [(23 * 2, "whole", None), (9 * 2, "fast", None), (9 * 2 - 1, "fast", 1)],
)
def test_a_budget_of_trainings_buys_folds_too(
    tmp_path: Path, trainings: int, protocol: str, folds: int | None
) -> None:
    search = prepared(tmp_path, execution={"budget": f"{trainings}trainings"})
    choice = choose(search, NOTHING_GIVEN, None)
    assert chooses(search, NOTHING_GIVEN)
    assert (choice.options["protocol"], choice.folds) == (protocol, folds)


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
        ({"name": "greedy", "protocol": "fast"}, "1epochs", "at least 2 epochs"),
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


def test_on_fewer_folds_hardly_a_budget_is_too_small(tmp_path: Path) -> None:
    check_least(prepared(tmp_path, execution={"budget": "1epochs"}), NOTHING_GIVEN)


@pytest.mark.parametrize(
    ("strategy", "budget", "warning"),
    [
        (
            {"name": "greedy", "protocol": "whole"},
            "63epochs",
            (
                "the budget takes 7 of the 8 trials of greedy's first round (16 trainings, 64 "
                "epochs); leave out strategy.protocol, and the budget chooses how to search, or "
                "give it more"
            ),
        ),
        ({"name": "greedy", "protocol": "whole"}, "64epochs", ""),
        ({"name": "greedy", "look_epochs": 2}, "31epochs", "leave out strategy.look_epochs"),
        ({"name": "greedy"}, "10epochs", ""),  # there is a choice, and it says so itself
        ({"name": "exhaustive"}, "10epochs", ""),  # has no rounds
    ],
)
def test_a_protocol_that_does_not_fit_into_its_budget_is_told_of(
    tmp_path: Path, strategy: dict[str, Any], budget: str, warning: str
) -> None:
    search = prepared(tmp_path, strategy=strategy, execution={"budget": budget})
    told = cut_short(search, NOTHING_GIVEN)
    assert warning in told
    assert bool(warning) == bool(told)
