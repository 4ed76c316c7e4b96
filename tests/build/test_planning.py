"""What a search will cost, before it begins."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from layersearch.build.given import NOTHING_GIVEN
from layersearch.build.planning import Plan, plan
from layersearch.build.playing import play
from layersearch.build.preparing import prepare
from layersearch.config import config_from
from layersearch.space import History, SearchSpace, Subset, TrialRecord, TrialState
from layersearch.strategies import Look, make_strategy
from layersearch.strategies.protocol import Progress, Wait
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
    found = planned(tmp_path, strategy={"protocol": "whole"})
    first = found.cases[0]
    assert first.name == "if 0 rounds gain"
    assert (first.trials, first.trainings, first.epochs) == (8, 16, 64)  # linear probe, 7 units
    assert [case.trials for case in found.cases] == sorted(case.trials for case in found.cases)
    assert all(case.seconds > 0 for case in found.cases)
    assert found.retraining.trainings == 4  # the winner and three baselines, one seed
    assert list(tmp_path.iterdir()) == []


def test_a_budget_ends_the_plan_as_it_ends_the_search(tmp_path: Path) -> None:
    found = planned(tmp_path, strategy={"protocol": "whole"}, execution={"budget": "24epochs"})
    (case,) = found.cases
    assert (case.name, case.trials, case.epochs) == ("the search", 3, 24)


def test_a_sampler_is_planned_by_its_trials(tmp_path: Path) -> None:
    found = planned(tmp_path, strategy={"name": "tpe", "trials": 12})
    (case,) = found.cases
    assert (case.trials, case.trainings, case.epochs) == (12, 24, 96)
    assert any("mean cost" in note for note in found.notes)


def test_looks_cost_their_own_epochs(tmp_path: Path) -> None:
    whole = planned(tmp_path, strategy={"protocol": "whole"}).cases[0]
    fast = planned(tmp_path, strategy={"protocol": "fast", "look_epochs": 1}).cases[0]
    assert fast.looks == 8
    assert fast.epochs == 8 * 2 * 1 + (fast.trials - 8) * 2 * 4
    assert fast.epochs < whole.epochs


def test_a_runner_up_is_retrained_too(tmp_path: Path) -> None:
    three = planned(tmp_path, final={"baselines": ["linear_probe"]})
    four = planned(tmp_path, final={"baselines": ["linear_probe", "runner_up"]})
    assert three.retraining.trainings == 2
    assert four.retraining.trainings == 3


def test_ray_is_assumed_to_be_as_fast_and_needs_not_to_run(tmp_path: Path) -> None:
    found = planned(
        tmp_path,
        strategy={"name": "exhaustive"},
        space={"max_units": 1},
        execution={"runner": "ray", "workers": 4},
    )
    (case,) = found.cases
    assert (case.trials, case.trainings, found.workers) == (8, 16, 4)
    assert "Ray: 4 workers at once, as fast as this machine, are assumed" in found.notes


def test_several_objectives_are_planned_by_the_trials(tmp_path: Path) -> None:
    found = planned(
        tmp_path,
        strategy={"name": "nsga2", "trials": 10},
        objective={"metric": ["accuracy", "trainable_parameters"]},
    )
    (case,) = found.cases
    assert (case.trials, case.epochs, case.looks) == (10, 10 * 2 * 4, 0)


def test_searched_epochs_are_planned_by_their_mean(tmp_path: Path) -> None:
    found = planned(
        tmp_path,
        strategy={"name": "tpe", "trials": 10},
        recipe={"epochs": {"low": 2, "high": 4}},
    )
    (case,) = found.cases
    assert case.epochs == 10 * 2 * 3
    assert any("epochs are searched; 3 are assumed" in note for note in found.notes)


def test_a_plan_prints_as_a_table_and_as_one_line_of_json(tmp_path: Path) -> None:
    found = planned(tmp_path, strategy={"name": "exhaustive", "trials": 5})
    assert "retraining at the end" in str(found)
    read = json.loads(found.to_json())
    assert "\n" not in found.to_json()
    assert read["event"] == "plan"
    assert read["cases"][0]["trials"] == 5


def test_what_is_recorded_is_not_planned_again() -> None:
    strategy = make_strategy("greedy", {}, space=SPACE, seed=0)
    whole = list(play(strategy, SPACE, gains=1))
    done = History(
        TrialRecord(number=n, subset=s, state=TrialState.COMPLETE, score=0.9, stderr=0.1)
        for n, s in enumerate(whole[:3])
        if isinstance(s, Subset)
    )
    # The rest of the first round, and the second.
    assert len(list(play(strategy, SPACE, gains=1, past=done))) == 3 + 4
    assert len(list(play(strategy, SPACE, gains=0, past=done))) == 3


def test_a_strategy_that_waits_for_something_ends_its_play() -> None:
    class Waits:
        def propose(self, history: History) -> Wait:
            return Wait("for the moon")

        def answer(self, history: History) -> None:
            return None

        def explain(self, history: History) -> Progress:
            return Progress(phase="waits")

    assert list(play(Waits(), SPACE, gains=0)) == []
