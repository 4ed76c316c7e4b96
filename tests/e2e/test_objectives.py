"""Whole searches with several values, constraints and objectives of the user's own."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest

import layersearch
from layersearch import Outcome, Subset
from layersearch.errors import ConfigError, ObjectiveError, SearchError, SpaceError
from layersearch.report import plain_summary
from tests.e2e.small import Heard, Net, search, trained, trials

BOTH = ["accuracy", "trainable_parameters"]
QUICK = {"seeds": 1, "baselines": ["linear_probe"]}
SIZES = {
    name: sum(parameter.numel() for parameter in getattr(Net(), name).parameters())
    for name in ("first", "second", "third")
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def study_of(result: layersearch.Result) -> optuna.Study:
    url = f"sqlite:///{result.folder.resolve()}/study.db"
    return optuna.load_study(study_name=result.folder.name, storage=url)


def depth_first(outcome: Outcome) -> tuple[float, float]:
    """Made so that the front has several members: more units score higher and cost more."""
    score = len(outcome.subset) + float("third" in outcome.subset) / 2
    return score, outcome.costs["trainable_parameters"]


OWN: dict[str, Any] = {
    "metric": depth_first,
    "objective": {"direction": ["maximize", "minimize"], "names": ["units", "parameters"]},
    "strategy": "exhaustive",
    "final": QUICK,
}


# --- Several values ---


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "exhaustive"},
        {"name": "random", "trials": 5},
        {"name": "profile"},
        {"name": "nsga2", "trials": 6, "options": {"population_size": 3}},
        {"name": "nsga3", "trials": 6, "options": {"population_size": 3}},
        {"name": "tpe", "trials": 6, "options": {"n_startup_trials": 3}},
    ],
    ids=lambda strategy: strategy["name"],
)
def test_what_comes_out_is_the_front_of_what_was_trained(strategy: dict[str, Any]) -> None:
    result = search("several", metric=BOTH, strategy=strategy, final=QUICK)
    study = study_of(result)
    assert study.metric_names == BOTH
    assert len(trained(result)) == len(set(trained(result)))
    by_optuna = {trial.number for trial in study.best_trials if "memo_of" not in trial.user_attrs}
    assert {member["trial"] for member in result.front} == by_optuna
    for member in result.front:
        trial = study.trials[member["trial"]]
        assert member["values"] == dict(zip(BOTH, trial.values, strict=True))
        assert member["costs"]["task_bytes"] == trial.user_attrs["task_bytes"]
        assert member["stderrs"]["accuracy"] == trial.user_attrs["stderr"]
    (chosen,) = [member for member in result.front if member["chosen"]]
    assert result.subset == Subset(chosen["subset"])
    assert chosen["values"]["accuracy"] == max(m["values"]["accuracy"] for m in result.front)
    assert result.score["mean"] == chosen["values"]["accuracy"]
    kept = result.test["chosen"]["values"]["accuracy"]["mean"]
    assert kept == pytest.approx(result.test["chosen"]["mean"])


def test_the_terminal_and_the_file_show_the_front() -> None:
    result = search("shown", **OWN)
    text = plain_summary(result.values)
    assert f"{len(result.front)} of 8 subsets are on the Pareto front" in text
    written = json.loads((result.folder / "result.json").read_bytes())
    assert written["front"] == [dict(member) for member in result.front]
    assert [m["name"] for m in written["metrics"]] == ["units", "parameters"]
    assert "{first, second, third}" in text
    assert study_of(result).metric_names == ["units", "parameters"]


def test_another_member_of_the_front_is_taken_without_training_it_again() -> None:
    first = search("front", **OWN)
    assert first.subset == Subset(["first", "second", "third"])
    cases = {"knee": None, "one_stderr": None, ("first",): Subset(["first"])}
    for choose, expected in cases.items():
        heard = Heard()
        rule = choose if isinstance(choose, str) else list(choose)
        objective = {**OWN["objective"], "choose": rule}
        again = search("front", **{**OWN, "objective": objective}, observers=[heard])
        assert heard.started_trials == 0
        assert again.front[0]["values"] == first.front[0]["values"]
        assert again.load_task().description.subset == again.subset
        assert expected is None or again.subset == expected
    assert search("front", **OWN).subset == first.subset


def test_a_choice_that_was_not_trained_is_refused_with_the_front() -> None:
    one = {"name": "random", "trials": 1}
    left = {**OWN, "strategy": one}
    only = search("left", **left).subset
    other = "first" if tuple(only) != ("first",) else "second"
    objective = {**OWN["objective"], "choose": [other]}
    with pytest.raises(SearchError, match=r"was not trained.* on the front are"):
        search("left", **{**left, "objective": objective})
    with pytest.raises(SpaceError, match=r"choose: 'frist' is no unit"):
        search("left", **{**left, "objective": {**OWN["objective"], "choose": ["frist"]}})


def test_what_needs_one_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="'greedy' needs one order of subsets, got 2 values"):
        search("no", metric=BOTH)
    with pytest.raises(ConfigError, match="cannot be pruned, and there are 2"):
        search("no", metric=BOTH, strategy="exhaustive", pruner="median")
    with pytest.raises(ConfigError, match="cannot be pruned, and there are 2"):
        search("no", metric=BOTH, strategy="exhaustive", pruner=optuna.pruners.MedianPruner())
    with pytest.raises(ObjectiveError, match="is a cost, known before any training"):
        search("no", metric=BOTH[::-1], strategy="exhaustive")
    assert not Path("runs").exists()


def test_names_and_callables_go_together() -> None:
    def wrong(outcome: Outcome) -> float:
        return float((outcome.predictions != outcome.targets).sum())

    result = search(
        "mixed",
        metric=["macro_f1", wrong, "task_bytes"],
        objective={
            "direction": ["maximize", "minimize", "minimize"],
            "names": ["f1", "wrong", "bytes"],
        },
        strategy="exhaustive",
        final=QUICK,
    )
    values = result.values["values"]
    assert set(values) == {"f1", "wrong", "bytes"}
    assert 0 <= values["wrong"] == int(values["wrong"]) <= 30


@pytest.mark.slow  # two processes that import torch
def test_two_workers_find_the_front_of_one() -> None:
    one = search("one", **OWN)
    two = search("two", **{**OWN, "metric": BOTH, "objective": {}}, execution={"workers": 2})
    alone = search("alone", **{**OWN, "metric": BOTH, "objective": {}})
    assert [m["values"] for m in two.front] == [m["values"] for m in alone.front]
    assert len(one.front) > len(alone.front) > 0


@pytest.mark.parametrize("strategy", [{"name": "nsga2", "options": {"population_size": 3}}])
def test_a_search_with_several_values_goes_on_where_it_stopped(strategy: dict[str, Any]) -> None:
    part = search("on", metric=BOTH, strategy={**strategy, "trials": 3}, final=QUICK)
    before = {trial.number: trial.values for trial in trials(part)}
    heard = Heard()
    whole = search(
        "on", metric=BOTH, strategy={**strategy, "trials": 6}, final=QUICK, observers=[heard]
    )
    assert heard.started_trials == 3
    after = {trial.number: trial.values for trial in trials(whole)}
    assert {number: after[number] for number in before} == before
    assert len(set(trained(whole))) == 6


# --- Constraints ---


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "greedy", "enqueue": ["linear_probe", "full_finetune"]},
        {"name": "exhaustive"},
        {"name": "profile"},
        *(
            {"name": name, "trials": 6, "enqueue": ["full_finetune"]}
            for name in ("random", "tpe", "nsga2")
        ),
    ],
    ids=lambda strategy: strategy["name"],
)
@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_what_a_cost_rules_out_is_never_trained(strategy: dict[str, Any], several: bool) -> None:
    if several and strategy["name"] == "greedy":
        pytest.skip("greedy takes one value")
    low, high = SIZES["first"] + 1, SIZES["first"] + SIZES["second"]
    bounds = {"trainable_parameters": {"min": low, "max": high}}
    result = search(
        "bounded",
        metric=BOTH if several else None,
        strategy=strategy,
        objective={"constraints": bounds},
        final=QUICK,
    )
    found = {False: 0, True: 0}
    for trial in trials(result):
        size = trial.user_attrs["trainable_parameters"]
        began = bool(trial.user_attrs.get("trainings"))
        assert began == (low <= size <= high)
        found[began] += 1
        if not began:
            assert trial.state.name == "PRUNED"
            assert trial.user_attrs["infeasible"].startswith("trainable_parameters ")
    assert found[True] >= 2
    assert low <= sum(SIZES[name] for name in result.subset) <= high
    if strategy.get("enqueue"):
        assert found[False] >= 1


def test_a_budget_below_the_cheapest_subset_is_refused_and_names_it() -> None:
    cheapest = f"the cheapest subset, {{first}}, has trainable_parameters {SIZES['first']} > 10"
    with pytest.raises(SpaceError, match=cheapest):
        search("poor", objective={"constraints": {"trainable_parameters": {"max": 10}}})
    with pytest.raises(SpaceError, match=r"the cheapest subset, \{third\}, has step_multiply_adds"):
        search("poor", objective={"constraints": {"step_multiply_adds": {"max": 300}}})
    with pytest.raises(SpaceError, match=r"the nearest subset, .* < 1000000; lower the minimum"):
        search("poor", objective={"constraints": {"trainable_parameters": {"min": 1_000_000}}})
    assert not Path("runs").exists()


@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_what_a_metric_rules_out_is_trained_and_never_chosen(several: bool) -> None:
    free = search("free", strategy="exhaustive", final=QUICK)
    losses = search("losses", strategy="exhaustive", metric="log_loss", final=QUICK)
    values = sorted(trial.value for trial in trials(losses))
    bound = (values[2] + values[3]) / 2  # three of the eight are within it
    result = search(
        "soft",
        strategy="exhaustive",
        metric=BOTH if several else None,
        objective={"constraints": {"log_loss": {"max": bound}}},
        final=QUICK,
    )
    ended = trials(result)
    assert len(ended) == len(trials(free)) == 8
    feasible = [trial for trial in ended if trial.constraints["log_loss.max"] <= 0]
    assert {trial.user_attrs["feasible"] for trial in feasible} == {True}
    assert len(feasible) == 3
    assert result.subset in {Subset(trial.user_attrs["subset"]) for trial in feasible}
    if several:
        assert {m["trial"] for m in result.front} <= {trial.number for trial in feasible}
        assert {m["trial"] for m in result.front} == {
            t.number for t in study_of(result).best_trials
        }


def test_a_recall_is_bounded_by_the_name_of_its_class() -> None:
    classes = {"objective": {"constraints": {"recall[1]": {"min": 0.5}}}}
    result = search("recall", strategy="exhaustive", final=QUICK, **classes)
    for trial in trials(result):
        assert (trial.constraints["recall[1].min"] <= 0) == trial.user_attrs["feasible"]
    with pytest.raises(ObjectiveError, match=r"'recall\[7\]': there is no class '7'"):
        search("no", objective={"constraints": {"recall[7]": {"min": 0.5}}})


# --- The user's own ---


def test_a_users_constraints_are_kept_and_seen() -> None:
    def careful(outcome: Outcome) -> dict[str, Any]:
        right = float((outcome.predictions == outcome.targets).float().mean())
        return {"values": right, "constraints": {"no stem": "first" in outcome.subset or -1}}

    def whole(outcome: Outcome) -> dict[str, Any]:
        return {**careful(outcome), "constraints": {"no stem": len(outcome.subset) - 1.5}}

    result = search("careful", metric=whole, strategy="exhaustive", final=QUICK)
    assert len(result.subset) <= 1
    for trial in trials(result):
        assert trial.constraints == {"no stem": len(trial.user_attrs["subset"]) - 1.5}


def test_an_objective_that_raises_fails_its_trial_and_the_search_goes_on() -> None:
    def picky(outcome: Outcome) -> float:
        if len(outcome.subset) == 2:
            raise RuntimeError("pairs are not for me")
        return float(len(outcome.subset))

    result = search(
        "picky",
        metric=picky,
        strategy="exhaustive",
        final=QUICK,
        execution={"max_failures": 10},
    )
    states = {"FAIL": 0, "COMPLETE": 0}
    for trial in trials(result):
        states[trial.state.name] += 1
        if trial.state.name == "FAIL":
            assert len(trial.user_attrs["subset"]) == 2
            assert "pairs are not for me" in trial.user_attrs["reason"]
            assert "Traceback" in trial.user_attrs["failure"]
            assert "in picky" in trial.user_attrs["failure"]
    assert states["COMPLETE"] == 5
    assert states["FAIL"] >= 3
    assert len(result.subset) == 3


def test_an_objective_sees_the_outcome_and_the_costs_at_every_epoch_and_on_the_test_split() -> None:
    seen: list[Outcome] = []

    def watch(outcome: Outcome) -> float:
        seen.append(outcome)
        return outcome.costs["trainable_parameters"]

    result = search("watch", metric=watch, strategy={"name": "random", "trials": 1}, final=QUICK)
    (trial,) = trials(result)
    assert trial.value == trial.user_attrs["trainable_parameters"]
    pooled = [outcome for outcome in seen if outcome.fold_scores]
    assert [len(outcome.targets) for outcome in pooled] == [30]
    assert {len(outcome.targets) for outcome in seen} == {15, 30}
    assert all("task_bytes" in outcome.costs for outcome in seen)
    assert "epochs" in pooled[0].costs
