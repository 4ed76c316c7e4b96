"""What a search will cost, before it begins."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from layersearch.build.given import NOTHING_GIVEN
from layersearch.build.planning import Plan, plan
from layersearch.build.playing import play
from layersearch.build.preparing import prepare
from layersearch.config import config_from
from layersearch.space import SearchSpace, Subset
from layersearch.strategies import Look, make_strategy
from tests.strategies.simulation import units

SPACE = SearchSpace(units(1, 2, 3, 4, 5))


@pytest.mark.parametrize(
    ("gains", "trials"),
    # n = 5: the start, then 5, 4, 3 ... candidates a round; the round after the last gain is tried.
    [(0, 1 + 5), (1, 1 + 5 + 4), (2, 1 + 5 + 4 + 3), (5, 1 + 5 + 4 + 3 + 2 + 1)],
)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_greedy_is_played_as_it_would_search(direction: str, gains: int, trials: int) -> None:
    strategy = make_strategy("greedy", {"direction": direction}, space=SPACE, seed=0)
    played = list(play(strategy, SPACE, gains=gains))
    assert len(played) == trials
    assert max(Counter(played).values()) == 1


def test_a_race_is_played_with_its_looks_and_finalists() -> None:
    strategy = make_strategy("greedy", {"look_epochs": 2, "finalists": 1}, space=SPACE, seed=0)
    played = list(play(strategy, SPACE, gains=1))
    assert [type(one) for one in played] == [Look] * 10 + [Subset]


def test_what_has_no_rounds_is_played_once() -> None:
    strategy = make_strategy("exhaustive", {}, space=SPACE, seed=0)
    assert len(list(play(strategy, SPACE, gains=0))) == 32


def planned(tmp_path: Path, **sections: Any) -> Plan:
    values: dict[str, Any] = {
        "backbone": {"name": "layersearch/cifar_resnet14"},
        "data": {"source": "digits", "train_samples": 60, "folds": 2, "test_samples": 100},
        "recipe": {"epochs": 4, "batch_size": 20},
        "execution": {"workers": 1},
        "study": {"directory": str(tmp_path)},
        "final": {"seeds": 1},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return plan(prepare(config_from(values), NOTHING_GIVEN))


def test_a_plan_counts_trainings_and_epochs_and_writes_nothing(tmp_path: Path) -> None:
    found = planned(tmp_path)
    first = found.cases[0]
    assert first.name == "if 0 rounds gain"
    assert (first.trials, first.trainings, first.epochs) == (8, 16, 64)  # linear probe, 7 units
    assert [case.trials for case in found.cases] == sorted(case.trials for case in found.cases)
    assert all(case.seconds > 0 for case in found.cases)
    assert found.retraining.trainings == 4  # the winner and three baselines, one seed
    assert list(tmp_path.iterdir()) == []


def test_a_budget_ends_the_plan_as_it_ends_the_search(tmp_path: Path) -> None:
    found = planned(tmp_path, execution={"budget": "24epochs"})
    (case,) = found.cases
    assert (case.name, case.trials, case.epochs) == ("the search", 3, 24)


def test_a_sampler_is_planned_by_its_trials(tmp_path: Path) -> None:
    found = planned(tmp_path, strategy={"name": "tpe", "trials": 12})
    (case,) = found.cases
    assert (case.trials, case.trainings, case.epochs) == (12, 24, 96)
    assert "mean cost" in found.note


def test_looks_cost_their_own_epochs(tmp_path: Path) -> None:
    whole = planned(tmp_path).cases[0]
    fast = planned(tmp_path, strategy={"protocol": "fast", "look_epochs": 1}).cases[0]
    assert fast.looks == 8
    assert fast.epochs == 8 * 2 * 1 + (fast.trials - 8) * 2 * 4
    assert fast.epochs < whole.epochs
