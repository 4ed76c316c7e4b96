"""What is said of how sure a search is."""

import pytest

from layersearch.report import plain_summary
from layersearch.report.confidence import (
    as_good,
    confidence_notes,
    confidence_sentences,
    runner_up,
    widest,
)


def entry(names, trial, difference=None, *, low=None, high=None, verdict="within noise", size=10):
    found = {
        "subset": names,
        "trial": trial,
        "recipe": {},
        "may_be_best": verdict == "within noise",
        "score": {"mean": 0.88, "stderr": 0.01},
        "costs": {"trainable_parameters": size},
    }
    if difference is not None:
        known = {"stderr": None if low is None else 0.01, "low": low, "high": high}
        found["against"] = {"difference": difference, **known, "verdict": verdict, "samples": 1000}
    return found


def schedule(**fields):
    near = entry(["layer1.1"], 1, 0.006, low=-0.009, high=0.021, size=4672)
    return {
        "look_epochs": None,
        "compared": 25,
        "trials": 25,
        "on": "samples",
        "count": 1000,
        "method": "max-t",
        "chosen": entry(["layer1.0"], 0, size=80_000),
        "runner_up": near,
        "baselines": {},
        "as_good": [entry(["layer3.2"], 2, 0.01, low=-0.01, high=0.03, size=73_984), near],
        "as_good_count": 2,
        **fields,
    }


def sure(*schedules, cost="trainable_parameters", **fields):
    return {**fields, "confidence": {"level": 0.95, "cost": cost, "schedules": list(schedules)}}


def test_it_names_the_runner_up_and_the_cheapest_that_is_as_good():
    first, second = confidence_sentences(sure(schedule()))
    assert first == (
        "In the search the runner-up, {layer1.1}, is within noise of the chosen subset (95% "
        "interval −0.9 to +2.1 points)."
    )
    assert second == (
        "2 of 24 other subsets are as good within noise; the cheapest, {layer3.2}, tunes 74 k "
        "parameters."
    )


def test_a_clear_winner_is_said_to_be_one():
    beaten = entry(["layer1.1"], 1, 0.03, low=0.01, high=0.05, verdict="better")
    first, second = confidence_sentences(
        sure(schedule(runner_up=beaten, as_good=[], as_good_count=0))
    )
    assert first.startswith("In the search the chosen subset beats the runner-up, {layer1.1}, by 3")
    assert second == "All 24 other subsets are ruled out as the best."
    two = sure(schedule(runner_up=beaten, as_good=[], as_good_count=0, compared=2))
    assert confidence_sentences(two)[1] == "The only other subset is ruled out as the best."


def test_a_choice_that_is_not_the_best_is_said_to_be_none():
    better = entry(["a"], 1, -0.03, low=-0.05, high=-0.01, verdict="worse")
    first = confidence_sentences(sure(schedule(runner_up=better)))[0]
    assert "the chosen subset falls short of the runner-up, {a}, by 3.0 points" in first


def test_looks_are_named_as_what_they_are():
    looks = schedule(look_epochs=1)
    for sentence in confidence_sentences(sure(looks)):
        assert sentence.startswith("By looks of 1 epoch, ")
    (note,) = confidence_notes(sure(schedule(compared=3), looks))
    assert "(3 by the whole schedule and 25 by looks of 1 epoch)" in note


def test_a_race_names_its_runner_up_by_the_finalists_and_the_as_good_by_its_looks():
    result = sure(schedule(compared=2, as_good=[], as_good_count=0), schedule(look_epochs=1))
    first, second = confidence_sentences(result)
    assert first.startswith("In the search")
    assert second.startswith("By looks of 1 epoch, 2 of 24")
    assert widest(result)["look_epochs"] == 1
    assert [one["trial"] for one in as_good(result)] == [2, 1]


def test_the_head_alone_and_what_is_no_cheaper_are_said_plainly():
    head = entry([], 2, 0.01, low=-0.01, high=0.03, size=0)
    assert "the cheapest is the head alone, with no unit tuned." in " ".join(
        confidence_sentences(sure(schedule(as_good=[head])))
    )
    dear = entry(["x"], 2, 0.01, low=-0.01, high=0.03, size=90_000)
    sentence = confidence_sentences(sure(schedule(as_good=[dear], as_good_count=1)))[1]
    assert sentence == "1 of 24 other subsets is as good within noise, none of them cheaper."


def test_another_cost_reads_in_its_own_unit():
    near = entry(["x"], 1, 0.0, low=-0.01, high=0.01)
    near["costs"] = {"latency_ms": 1.234, "trainable_parameters": 5}
    mine = entry(["y"], 0)
    mine["costs"] = {"latency_ms": 4.0, "trainable_parameters": 2}
    result = sure(
        schedule(chosen=mine, as_good=[near], as_good_count=1, runner_up=near), cost="latency_ms"
    )
    assert "the cheapest, {x}, adds 1.23 ms to serving." in confidence_sentences(result)[1]


def test_scores_without_errors_claim_nothing():
    bare = entry(["a"], 1, 0.02, verdict="unknown")
    result = sure(schedule(on=None, runner_up=bare, as_good=[], as_good_count=None))
    (sentence,) = confidence_sentences(result)
    assert "lost in the noise" in sentence
    assert "how noisy their scores are is not known" in confidence_notes(result)[0]


@pytest.mark.parametrize("earlier", [{}, {"confidence": None}])
def test_a_result_of_an_earlier_version_says_nothing_of_it(result, earlier):
    result.update(earlier)
    assert confidence_sentences(result) == []
    assert confidence_notes(result) == []
    assert runner_up(result) is None
    assert "runner-up" not in plain_summary(result)


def test_one_trial_has_nothing_to_be_compared_with():
    lone = schedule(compared=1, runner_up=None, as_good=[], as_good_count=0)
    assert confidence_sentences(sure(lone)) == []
    assert confidence_notes(sure(lone)) == []


def test_the_summary_holds_it_and_says_what_a_score_of_a_look_is(result):
    result.update(sure(schedule(look_epochs=1)))
    result["score"]["look_epochs"] = 1
    result["rounds"][0]["look_epochs"] = 1
    found = " ".join(plain_summary(result).split())
    assert "2 of 24 other subsets are as good within noise" in found
    assert "It goes by looks of 1 epoch: the search ended before any finalist" in found
    assert "The way there, by looks of 1 epoch:" in found
    assert "(by looks of 1 epoch), is the best of many" in found


def test_a_tested_runner_up_is_compared_as_the_baselines_are(result):
    result["test"]["runner_up"] = {**result["test"]["lp_ft"], "subset": ["layer3.0"]}
    found = " ".join(plain_summary(result).split())
    assert "Against the runner-up of the search the difference is within noise" in found
