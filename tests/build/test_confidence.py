"""How sure a search is of its choice, from trials made by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from layersearch.build.choosing import Choice, choose_subset
from layersearch.build.confidence import LISTED, confidence
from layersearch.build.findings import profile_scores
from layersearch.objectives import make_objective
from layersearch.space import Bounds, History, SearchSpace, Subset, TrialRecord, TrialState, Unit

NUMEL = {"stem": 10, "layer1": 200, "layer2": 50, "layer3": 900}
SPACE = SearchSpace(
    [Unit(name=n, depth=i, parameters=(n,), numel=v) for i, (n, v) in enumerate(NUMEL.items())]
)


def record(number, names, wrong, *, look=None, of=400, sign=1.0, **more):
    """Wrong on samples `wrong` of `of`; by a look, where it says so."""
    correct = np.ones(of, dtype=bool)
    correct[list(wrong)] = False
    fields = {
        "score": sign * float(correct.mean()),
        "stderr": 0.02,
        "correct": correct,
        "recipe": {} if look is None else {"epochs": look},
        **more,
    }
    return TrialRecord(
        number=number,
        subset=Subset(names),
        state=TrialState.COMPLETE if look is None else TrialState.PRUNED,
        look=look,
        **fields,
    )


def parts(metric="accuracy", *, space=SPACE, **options):
    return SimpleNamespace(objective=make_objective(metric, **options), space=space)


def sure(records, chosen, **options):
    return confidence(
        parts(**options), History(records), Choice(subset=Subset(chosen.subset), record=chosen)
    )


FOUR = [
    record(0, [], range(100)),  # the probe is far behind
    record(1, ["layer1"], range(40)),
    record(2, ["layer2"], range(1, 43)),
    record(3, ["stem"], range(45)),
]


def test_the_runner_up_and_what_is_as_good_are_named_the_cheapest_first():
    (found,) = sure(FOUR, FOUR[1])["schedules"]
    assert found["runner_up"]["subset"] == ["layer2"]
    assert [entry["subset"] for entry in found["as_good"]] == [["stem"], ["layer2"]]
    assert [entry["costs"]["trainable_parameters"] for entry in found["as_good"]] == [10, 50]
    assert (found["as_good_count"], found["compared"], found["on"]) == (2, 4, "samples")
    assert found["chosen"]["may_be_best"]
    against = found["runner_up"]["against"]
    assert against["low"] < 0 < against["high"]
    assert against["difference"] == pytest.approx(2 / 400)
    probe = found["baselines"]["linear_probe"]
    assert probe["against"]["verdict"] == "better"
    assert probe["may_be_best"] is False
    assert "full_finetune" not in found["baselines"]  # it was not scored


def test_a_minimised_metric_is_shown_as_it_is_and_compared_by_its_errors():
    losses = [
        TrialRecord(number=i, subset=Subset(n), state=TrialState.COMPLETE, score=-loss, stderr=0.01)
        for i, (n, loss) in enumerate([((), 0.9), (("stem",), 0.4), (("layer1",), 0.41)])
    ]
    (found,) = sure(losses, losses[1], metric="log_loss")["schedules"]
    assert found["on"] == "independent"
    assert found["chosen"]["score"]["mean"] == pytest.approx(0.4)
    assert found["runner_up"]["score"]["mean"] == pytest.approx(0.41)
    assert found["runner_up"]["against"]["difference"] == pytest.approx(0.01)
    assert [entry["subset"] for entry in found["as_good"]] == [["layer1"]]


def test_one_trial_alone_has_no_runner_up():
    (found,) = sure([FOUR[1]], FOUR[1])["schedules"]
    assert (found["compared"], found["runner_up"], found["as_good_count"]) == (1, None, 0)


def test_without_any_error_nothing_is_called_as_good():
    bare = [
        TrialRecord(number=i, subset=Subset(n), state=TrialState.COMPLETE, score=score)
        for i, (n, score) in enumerate([((), 0.5), (("stem",), 0.9)])
    ]
    (found,) = sure(bare, bare[1])["schedules"]
    assert found["as_good_count"] is None
    assert found["runner_up"]["against"]["verdict"] == "unknown"
    assert found["runner_up"]["may_be_best"] is None


def test_with_several_values_the_front_tells_instead():
    assert sure(FOUR, FOUR[1], metric=["accuracy", "trainable_parameters"]) is None


def test_scores_of_looks_and_of_whole_schedules_are_never_compared():
    looks = [record(i, r.subset, range(90), look=1) for i, r in enumerate(FOUR)]
    whole = [record(10, ["layer1"], range(40)), record(11, ["stem"], range(42))]
    first, second = sure([*looks, *whole], whole[0])["schedules"]
    assert (first["look_epochs"], first["compared"]) == (None, 2)
    assert (second["look_epochs"], second["compared"]) == (1, 4)
    assert first["chosen"]["trial"] == 10
    assert second["chosen"]["trial"] == 1
    assert second["chosen"]["recipe"] == {}  # its epochs are the look's


def test_a_race_without_a_finalist_goes_by_its_looks():
    looks = [record(i, r.subset, range(20 + i), look=1) for i, r in enumerate(FOUR)]
    proposing = SimpleNamespace(answer=lambda _: Subset(["layer1"]))
    choice = choose_subset(parts(), proposing, History(looks))
    assert (choice.look, choice.record.number, choice.numbers) == (1, 1, {})
    (found,) = confidence(parts(), History(looks), choice)["schedules"]
    assert found["look_epochs"] == 1


def test_the_whole_schedule_decides_where_there_is_one():
    trials = [record(0, ["stem"], range(20), look=1), record(1, ["stem"], range(30))]
    proposing = SimpleNamespace(answer=lambda _: Subset(["stem"]))
    assert choose_subset(parts(), proposing, History(trials)).look is None


def test_a_subset_with_several_recipes_counts_as_each_and_is_listed_once():
    trials = [
        record(0, ["layer1"], range(40), recipe={"lr": 0.1}),
        record(1, ["stem"], range(41), recipe={"lr": 0.1}),
        record(2, ["stem"], range(1, 42), recipe={"lr": 0.2}),
    ]
    (found,) = sure(trials, trials[0])["schedules"]
    assert (found["compared"], found["trials"]) == (2, 3)
    assert [entry["subset"] for entry in found["as_good"]] == [["stem"]]
    assert found["runner_up"]["recipe"] == {"lr": 0.1}


def test_cheap_is_what_the_objective_says_is_cheap():
    space = SearchSpace(
        SPACE.units,
        limits={"latency_ms": 100.0},
        costs=lambda s: {
            "trainable_parameters": sum(NUMEL[n] for n in s),
            "latency_ms": float(4 - list(NUMEL).index(s.names[0])) if s else 0.0,
        },
    )
    found = confidence(
        parts(space=space, constraints={"latency_ms": {"max": 100.0}}),
        History(FOUR),
        Choice(subset=FOUR[1].subset, record=FOUR[1]),
    )
    assert found["cost"] == "latency_ms"
    (schedule,) = found["schedules"]
    assert [entry["subset"] for entry in schedule["as_good"]] == [["layer2"], ["stem"]]
    assert schedule["as_good"][0]["costs"] == {"latency_ms": 2.0, "trainable_parameters": 50}


def test_what_is_outside_the_space_may_be_a_baseline_but_never_as_good():
    space = SearchSpace(SPACE.units, bounds=Bounds(min_units=1))
    probe = record(0, [], range(39))
    (found,) = sure([probe, *FOUR[1:]], FOUR[1], space=space)["schedules"]
    assert [] not in [entry["subset"] for entry in found["as_good"]]
    assert found["baselines"]["linear_probe"]["against"]["difference"] < 0
    assert found["runner_up"]["subset"] == ["layer2"]


def test_a_long_list_is_cut_and_counted():
    units = [Unit(name=f"u{i}", depth=i, parameters=(f"u{i}",), numel=1 + i) for i in range(80)]
    space = SearchSpace(units)
    trials = [record(i, [unit.name], [i]) for i, unit in enumerate(units)]
    (found,) = sure(trials, trials[40], space=space)["schedules"]
    assert len(found["as_good"]) == LISTED
    assert found["as_good_count"] == 79
    assert found["as_good"][0]["subset"] == ["u0"]


def test_a_profile_is_of_looks_where_they_tell_more_units():
    looks = [record(i, r.subset, range(20 + i), look=1) for i, r in enumerate(FOUR)]
    whole = [record(10, ["layer1"], range(10))]
    scores, look = profile_scores(parts(), History([*looks, *whole]))
    assert (look, len(scores)) == (1, 4)
    assert scores[Subset(["layer1"])].number == 1
    assert profile_scores(parts(), History([*looks[:1], *whole]))[1] is None
