"""Every strategy, sampler, pruner and bound, on a task of a second."""

from pathlib import Path
from typing import Any

import pytest

from layersearch.space import Subset
from tests.e2e.small import UNITS, Heard, search, trained, trials


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "greedy"},
        {"name": "greedy", "stop": "paper", "min_gain": 0.02},
        {"name": "greedy", "stop": "official"},
        {"name": "greedy", "direction": "backward"},
        {"name": "greedy", "direction": "both"},
        {"name": "greedy", "pruner": {"name": "median", "options": {"n_startup_trials": 1}}},
        {"name": "greedy", "pruner": "hyperband"},
        {"name": "exhaustive"},
        {"name": "random", "trials": 4},
        {"name": "profile"},
        *({"name": n, "trials": 4} for n in ("tpe", "gp", "nsga2", "nsga3", "qmc")),
        {"name": "random_sampler", "trials": 4},
        {"name": "tpe", "trials": 5, "pruner": "hyperband"},
        {
            "name": "tpe",
            "trials": 5,
            "pruner": {"name": "median", "options": {"n_startup_trials": 1}},
        },
    ],
    ids=lambda strategy: "-".join(str(value) for value in strategy.values())[:40],
)
def test_ends_with_a_choice_among_subsets_that_were_each_trained_once(
    strategy: dict[str, Any],
) -> None:
    result = search(
        "one", strategy=strategy, recipe={"epochs": 2}, final=_QUICK
    )  # 2: something to prune
    subsets = trained(result)
    assert result.subset in subsets
    assert len(subsets) == len(set(subsets))
    if "pruner" not in strategy and "trials" in strategy:
        assert len(subsets) == strategy["trials"]
    if strategy["name"] == "exhaustive":
        assert len(subsets) == 2 ** len(UNITS)
    assert result.test["chosen"]["seeds"] == 1


def test_greedy_finds_on_the_way_what_exhaustive_search_scored_alike() -> None:
    greedy, exhaustive = search("greedy"), search("all", strategy="exhaustive")
    scores = {tuple(t.user_attrs["subset"]): t.value for t in trials(exhaustive)}
    for trial in trials(greedy):
        assert scores[tuple(trial.user_attrs["subset"])] == trial.value
    assert exhaustive.score["mean"] == max(scores.values())


@pytest.mark.slow  # two processes that import torch
def test_a_search_of_two_workers_scores_as_one_of_one() -> None:
    one = search("one", strategy="exhaustive", final=_QUICK)
    two = search("two", strategy="exhaustive", final=_QUICK, execution={"workers": 2})
    assert _scores(one) == _scores(two)
    assert one.subset == two.subset


@pytest.mark.parametrize("strategy", [{"name": "exhaustive"}, {"name": "tpe", "trials": 4}])
@pytest.mark.parametrize(
    ("space", "fits"),
    [
        ({"min_units": 2, "max_units": 2}, lambda s: len(s) == 2),
        ({"contiguous": 2}, lambda s: tuple(s) in (UNITS[:2], UNITS[1:])),
        ({"always": ["second"]}, lambda s: "second" in s),
        ({"never": ["first"]}, lambda s: "first" not in s),
        ({"exclude": ["first"]}, lambda s: "first" not in s),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_nothing_outside_the_bounds_is_trained(
    strategy: dict[str, Any], space: dict[str, Any], fits: Any
) -> None:
    subsets = trained(search("bounds", strategy=strategy, space=space, final=_QUICK))
    assert subsets
    assert all(fits(subset) for subset in subsets)


@pytest.mark.parametrize(
    "strategy", [{"name": "exhaustive"}, {"name": "nsga2", "trials": 6}, {"name": "greedy"}]
)
def test_nothing_over_the_parameter_budget_is_trained(strategy: dict[str, Any]) -> None:
    budget = 1000  # 'third' alone has more
    result = search(
        "budget",
        strategy={**strategy, "enqueue": ["full_finetune"]},
        objective={"constraints": {"trainable_parameters": {"max": budget}}},
        final=_QUICK,
    )
    everything = trials(result)
    for trial in everything:
        if trial.state.name == "COMPLETE":
            assert trial.user_attrs["trainable_parameters"] <= budget
    over = [t for t in everything if t.user_attrs["trainable_parameters"] > budget]
    assert [t.state.name for t in over] == ["PRUNED"]  # the one that was asked for
    assert not over[0].intermediate_values  # never begun
    assert "third" not in result.subset


@pytest.mark.parametrize(
    ("space", "units"),
    [
        ({"granularity": "layer"}, {"first.0", "second.0"}),
        ({"kinds": ["norm", "bias"]}, {"first:norm", "third:bias"}),
        ({"units": {"early": ["first.*", "second.*"]}}, {"early"}),
    ],
)
def test_units_of_other_kinds_are_searched(space: dict[str, Any], units: set[str]) -> None:
    result = search(
        "units", space=space, strategy={"name": "greedy", "max_rounds": 1}, final=_QUICK
    )
    tried = {name for subset in trained(result) for name in subset}
    assert units <= tried


def test_enqueued_subsets_come_first() -> None:
    strategy = {"name": "random", "trials": 3, "enqueue": [["second", "third"], "linear_probe"]}
    subsets = trained(search("queue", strategy=strategy, final=_QUICK))
    assert subsets[:2] == [Subset(["second", "third"]), Subset()]


def test_the_winner_is_retrained_with_the_numbers_that_were_sampled_for_it() -> None:
    result = search(
        "joint",
        strategy={"name": "tpe", "trials": 5},
        recipe={
            "lr": {"low": 1e-4, "high": 1e-1, "log": True},
            "epochs": {"low": 1, "high": 3},
            "batch_size": {"choices": [10, 15]},
        },
        final=_QUICK,
    )
    best = max((t for t in trials(result) if t.value is not None), key=lambda t: t.value or 0)
    recipe = result.load_task().description.recipe
    for name in ("lr", "epochs", "batch_size"):
        assert recipe[name] == best.params[f"recipe.{name}"]


def test_a_search_that_has_ended_trains_nothing_again() -> None:
    first = search("ended")
    heard = Heard()
    again = search("ended", observers=[heard])
    assert heard.started_trials == 0
    assert heard.messages == []
    assert again.values == first.values


_QUICK = {"seeds": 1, "baselines": ["linear_probe"]}


def _scores(result: Any) -> dict[tuple[str, ...], float | None]:
    return {tuple(t.user_attrs["subset"]): t.value for t in trials(result)}


def test_epochs_are_counted_whether_or_not_each_is_validated() -> None:
    recipe = {"epochs": 4, "validate_every": 4}
    rare = search("rare", strategy="exhaustive", recipe=recipe, final=_QUICK)
    assert rare.cost["epochs"] == 4 * rare.cost["trainings"] > 0
