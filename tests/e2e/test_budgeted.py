"""Budgets and plans of real searches, by Python and by the command."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import layersearch
from layersearch.errors import ConfigError
from tests.e2e.conftest import environment
from tests.e2e.small import Heard, Net, images, search, trials, trials_of


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plan(name: str, **arguments: Any) -> layersearch.Plan:
    return layersearch.plan(
        backbone=Net(),
        data=images(),
        data_options={"train_samples": 30, "folds": 2},
        recipe={"epochs": 4, "batch_size": 15, "validate_every": 1},
        study={"name": name},
        final={"seeds": 1},
        **{"execution": {"threads": 1}, **arguments},
    )


def files() -> dict[str, bytes]:
    """All but SQLite's lock page, which changes with every reader."""
    found = (p for p in Path().rglob("*") if p.is_file() and not p.name.endswith("-shm"))
    return {str(path): path.read_bytes() for path in found}


def test_a_plan_leaves_nothing_behind_and_counts_what_is_there() -> None:
    strategy: dict[str, Any] = {"name": "exhaustive"}
    before = plan("mine", strategy=strategy)
    assert list(Path().iterdir()) == []
    assert (before.cases[0].trials, before.done) == (8, None)

    search("mine", strategy={**strategy, "trials": 3}, recipe={"epochs": 4})
    kept = files()
    left = plan("mine", strategy=strategy)
    assert files() == kept
    assert left.done is not None
    assert (left.done.trials, left.done.epochs) == (3, 3 * 2 * 4)
    assert (left.cases[0].trials, left.cases[0].epochs) == (5, 5 * 2 * 4)


def test_a_race_under_a_budget_trains_a_finalist_and_goes_on_with_more() -> None:
    heard = Heard()
    # Goes on whatever a round gains.
    going = {"name": "greedy", "stop": "paper", "min_gain": -1.0}
    greedy: dict[str, Any] = {"recipe": {"epochs": 4}, "strategy": going}
    # Six looks and one whole training take 20 epochs on both folds, 10 on one of them.
    first = search("race", **greedy, execution={"budget": "9epochs"}, observers=[heard])
    assert any("it races: looks of 1 epoch" in text for text in heard.messages)
    assert any("the budget will end the looks" in text for text in heard.messages)
    done = trials(first)
    assert sum(t.user_attrs.get("epochs", 0) for t in done) <= 9
    assert [t.user_attrs.get("look") for t in done if t.state.name == "COMPLETE"] == [None]
    assert len([t for t in done if t.user_attrs.get("look") == 1]) == 5

    more = search("race", **greedy, execution={"budget": "18epochs"}, observers=[])
    again = trials(more)
    assert again[: len(done)] == done
    assert len(again) > len(done)
    assert {t.user_attrs.get("look") for t in again} == {1, None}
    assert sum(t.user_attrs.get("epochs", 0) for t in again) <= 18


def test_a_small_budget_takes_fewer_folds_and_whoever_goes_on_keeps_to_them() -> None:
    heard = Heard()
    recipe = {"epochs": 4}
    # A look at no unit and at each of three, and the leap; on both folds it were twice as many.
    first = search("few", recipe=recipe, strategy="greedy", execution={"budget": "8epochs"},
                   observers=[heard])  # fmt: skip
    assert any("all on 1 of the 2 folds (5 trainings, 8 epochs)" in text for text in heard.messages)
    done = trials(first)
    assert [t.user_attrs["epochs"] for t in done] == [1, 1, 1, 1, 4]
    assert "1 of 2 folds" in (first.folder / "report.html").read_text()
    assert "1 of the 2 folds" not in plan("few", strategy="exhaustive").choice

    left = plan("few", strategy="exhaustive").cases[0]
    assert left.trainings == left.trials > 0
    again = trials(search("few", recipe=recipe, strategy="exhaustive"))[len(done) :]
    assert len(again) == left.trials
    assert {len(t.user_attrs["fold_scores"]) for t in again} == {1}


def test_a_protocol_that_its_budget_cuts_short_is_told_of_before_it_begins() -> None:
    heard = Heard()
    whole: dict[str, Any] = {"strategy": {"name": "greedy", "protocol": "whole"}}
    budget: dict[str, Any] = {"execution": {"budget": "24epochs"}}
    assert plan("cut", **whole, execution={"threads": 1, **budget["execution"]}).choice
    search("cut", recipe={"epochs": 4}, **whole, **budget, observers=[heard])
    assert any("takes 3 of the 4 trials of greedy's first round" in t for t in heard.messages)


@pytest.mark.slow
def test_two_drivers_share_one_budget_of_a_race() -> None:
    budget = 34  # epochs: a look takes 2, a finalist 8
    Path("drivers").mkdir()
    command = [sys.executable, "-m", "tests.e2e.shared_race", f"{budget}epochs", "2"]
    drivers = [
        subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [driver.communicate(timeout=250)[1] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], said
    # A driver may ask when the other has just taken what was left: its trial claims nothing.
    done = [t for t in trials_of(Path("runs/race")) if "subset" in t.user_attrs]
    assert {trial.state.name for trial in done} == {"PRUNED", "COMPLETE"}
    assert len({trial.user_attrs["driver"] for trial in done}) == 2
    begun = [(*t.user_attrs["subset"], t.user_attrs.get("look")) for t in done]
    assert len(set(begun)) == len(begun)
    spent = sum(trial.user_attrs["epochs"] for trial in done)
    assert budget - 8 < spent <= budget
    assert 1 <= sum(trial.state.name == "COMPLETE" for trial in done) <= 3


def test_too_small_a_budget_is_refused_before_there_is_a_study() -> None:
    with pytest.raises(ConfigError, match="at least 8 epochs"):
        search("tiny", recipe={"epochs": 4}, strategy="exhaustive", execution={"budget": "7epochs"})
    assert not Path("runs").exists()
