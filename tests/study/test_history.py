import importlib

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from layersearch.space import History, Subset, TrialRecord, TrialState
from layersearch.space.trial import Report, TrialResult, pack_correct, unpack_correct
from layersearch.study import MEMORY, history, open_study
from layersearch.study import attributes as names
from layersearch.study.recording import (
    record_failure,
    record_infeasible,
    record_memo,
    record_pruned,
    record_report,
    record_result,
    record_start,
)

EXTRA = {"seconds": 1.5, "epochs": 10, "trainings": 5}


@pytest.fixture(params=["maximize", "minimize"])
def opened(request):
    with open_study("a", storage=MEMORY, directions=(request.param,)) as opened:
        yield opened


def begin(opened, *names, **options):
    trial = opened.study.ask()
    record_start(
        trial,
        subset=Subset(names),
        costs={"trainable_parameters": 7},
        recipe=options,
        driver=opened.lease.token,
    )
    return trial


def test_each_of_several_values_is_oriented_and_named():
    both = ("minimize", "maximize")
    with open_study("a", storage=MEMORY, directions=both, metrics=("loss", "recall")) as opened:
        assert opened.study.metric_names == ["loss", "recall"]
        trial = begin(opened, "layer1")
        result = TrialResult(values=(0.5, 0.75))
        record_result(opened.study, trial, result, extra=EXTRA)
        (record,) = history(opened.study)
    assert record.values == (-0.5, 0.75)
    assert record.score == -0.5


def test_a_result_comes_back_as_it_went_in(opened):
    correct = np.arange(13) % 3 == 0
    result = TrialResult(
        values=(0.75,),
        stderr=0.02,
        fold_scores=(0.7, 0.8),
        correct=pack_correct(correct),
        count=13,
        costs={"flops": 1e9},
        attributes={"note": "fine", "subset": "not yours"},
    )
    record_result(opened.study, begin(opened, "x", "y", lr=0.1), result, extra=EXTRA)
    (record,) = opened.history()
    assert (record.state, record.subset) == (TrialState.COMPLETE, Subset(["x", "y"]))
    assert record.score == (0.75 if opened.study.direction.name == "MAXIMIZE" else -0.75)
    assert (record.stderr, record.fold_scores, record.recipe) == (0.02, (0.7, 0.8), {"lr": 0.1})
    np.testing.assert_array_equal(record.correct, correct)
    expected = {"flops": 1e9, "note": "fine", "trainable_parameters": 7, **EXTRA}
    assert expected.items() <= record.attributes.items()
    assert record.attributes["subset"] == ["x", "y"]


def test_every_end_of_a_trial_has_its_state_and_reason(opened):
    study = opened.study
    pruned = begin(opened, "p")
    record_report(pruned, Report(fold=0, epoch=0, score=0.1, step=0))
    record_pruned(study, pruned, "pruned after epoch 0", extra=EXTRA)
    record_failure(study, begin(opened, "f"), "ValueError: no", traceback="Traceback …")
    record_failure(study, begin(opened, "i"), "interrupted", interrupted=True)
    record_infeasible(study, begin(opened, "l"), "units 9 > 8")
    running = begin(opened, "r")
    found = opened.history()
    assert [record.state.value for record in found] == [
        "pruned",
        "failed",
        "failed",
        "pruned",
        "running",
    ]
    assert found[0].attributes["reason"] == "pruned after epoch 0"
    assert found[1].attributes["failure"] == "ValueError: no\nTraceback …"
    assert found[3].attributes["reason"] == "infeasible: units 9 > 8"
    assert (found.failures(Subset(["f"])), found.failures(Subset(["i"]))) == (1, 0)
    assert found.running == {Subset(["r"])}
    record_result(study, running, TrialResult(values=(1.0,)), extra={})
    assert not opened.history().running


def test_a_trial_that_ended_stays_as_it_is(opened):
    trial = begin(opened, "x")
    assert record_failure(opened.study, trial, "first") is not None
    assert record_failure(opened.study, trial, "second") is None
    assert record_result(opened.study, trial, TrialResult(values=(1.0,)), extra={}) is None
    constrained = TrialResult(values=(1.0,), constraints={"latency": 1.0})
    assert record_result(opened.study, trial, constrained, extra={}) is None
    record_report(trial, Report(fold=0, epoch=0, score=0.5, step=0))
    assert opened.history()[0].attributes["reason"] == "first"


def test_a_broken_constraint_keeps_a_trial_from_being_best(opened):
    best = 1.0 if opened.study.direction.name == "MAXIMIZE" else 0.0
    result = TrialResult(values=(best,), constraints={"latency": 0.5})
    record_result(opened.study, begin(opened, "x"), result, extra={})
    record_result(opened.study, begin(opened, "y"), TrialResult(values=(0.5,)), extra={})
    assert set(opened.history().scores) == {Subset(["y"])}
    assert opened.history().pruned == {Subset(["x"])}


def test_a_memo_repeats_the_score_and_costs_nothing(opened):
    result = TrialResult(
        values=(0.5,), stderr=0.1, constraints={"latency": -1.0}, costs={"flops": 1e9}
    )
    source = record_result(opened.study, begin(opened, "x"), result, extra=EXTRA)
    first = record_memo(opened.study, begin(opened, "x"), source)
    record_memo(opened.study, begin(opened, "x"), first)
    original, *memos = opened.history()
    for memo in memos:
        assert (memo.score, memo.stderr) == (original.score, 0.1)
        assert memo.attributes["memo_of"] == 0
        assert not {"epochs", "flops", "seconds", "trainings"} & memo.attributes.keys()


def test_trials_that_wait_are_no_records(opened):
    opened.study.enqueue_trial({"x": True})
    assert len(opened.history()) == 0


def test_what_ended_is_read_once(opened):
    record_result(opened.study, begin(opened, "x"), TrialResult(values=(1.0,)), extra={})
    begin(opened, "y")
    before, after = opened.history(), opened.history()
    assert before[0] is after[0]
    assert before[1] is not after[1]


def test_ten_thousand_trials_are_read_and_kept():
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        optuna.trial.create_trial(value=number / 10_000, user_attrs={"subset": [f"u{number}"]})
        for number in range(10_000)
    )
    records = history(study)
    assert len(records) == 10_000
    assert history(study)[5_000] is records[5_000]
    assert records.scores[Subset(["u9999"])].score == 0.9999


def test_reading_again_looks_at_no_trial_that_had_ended(opened, monkeypatch):
    correct = pack_correct(np.ones(100, dtype=bool))
    result = TrialResult(values=(0.5,), correct=correct, count=100)
    for number in range(30):
        record_result(opened.study, begin(opened, f"u{number}"), result, extra={})
    opened.history()
    made, decoded = [], []
    module = importlib.import_module("layersearch.study.history")  # the name is also a function's
    make, decode = module.trial_record, names.decode_correct
    monkeypatch.setattr(module, "trial_record", lambda *a, **k: made.append(1) or make(*a, **k))
    monkeypatch.setattr(
        names, "decode_correct", lambda value: decoded.append(value) or decode(value)
    )
    running = begin(opened, "running")
    for _ in range(10):
        assert len(opened.history()) == 31
    assert len(made) == 10, "only the trial that runs"
    assert not any(decoded), "no bits of those that ended"
    record_result(opened.study, running, result, extra={})
    assert opened.history().scores.keys() >= {Subset(["running"]), Subset(["u0"])}
    assert len([bits for bits in decoded if bits]) == 1


events = st.lists(
    st.tuples(
        st.sampled_from(["begin", "complete", "prune", "fail", "interrupt", "enqueue"]),
        st.integers(0, 5),
        st.sampled_from([0.1, 0.5, 0.9]),
    ),
    max_size=40,
)


@given(events)
def test_a_history_read_bit_by_bit_is_the_one_read_at_once(happened):
    with open_study("a", storage=MEMORY) as opened:
        study, running = opened.study, []
        for what, which, score in happened:
            if what == "enqueue":
                study.enqueue_trial({"x": True})
            elif what == "begin":
                running.append(begin(opened, f"u{which}"))
            elif running:
                trial = running.pop(which % len(running))
                if what == "complete":
                    record_result(study, trial, TrialResult(values=(score,)), extra={})
                elif what == "prune":
                    record_pruned(study, trial, "so", extra={})
                else:
                    record_failure(study, trial, "so", interrupted=what == "interrupt")
            kept = opened.history()
            once = History(kept)
            assert [r.number for r in kept] == [r.number for r in once]
            assert (kept.scores, kept.pruned) == (once.scores, once.pruned)
            assert (kept.running, kept.failed()) == (once.running, once.failed())


def test_a_history_stays_as_it_was_when_the_study_goes_on(opened):
    record_result(opened.study, begin(opened, "x"), TrialResult(values=(0.5,)), extra={})
    before = opened.history()
    record_result(opened.study, begin(opened, "y"), TrialResult(values=(0.5,)), extra={})
    opened.history()
    assert (len(before), set(before.scores), before.ended_since(0)[0].number) == (
        1,
        {Subset(["x"])},
        0,
    )
    assert len(before.ended_since(0)) == 1


@given(arrays(bool, st.integers(0, 40)))
def test_bits_come_back(correct):
    np.testing.assert_array_equal(unpack_correct(pack_correct(correct), len(correct)), correct)


def test_attributes_that_are_no_json_become_text(opened):
    odd = {
        "shape": (1, 2),
        "value": np.float32(0.5),
        "nan": float("nan"),
        "what": {1, 2},
        "o": len,
    }
    result = TrialResult(values=(np.float64(0.5),), attributes=odd)
    record_result(opened.study, begin(opened, "x"), result, extra={})
    attributes = opened.history()[0].attributes
    assert attributes["shape"] == [1, 2]
    assert (attributes["value"], attributes["nan"], attributes["what"]) == (0.5, "nan", [1, 2])
    assert attributes["o"] == "<built-in function len>"


def test_scores_are_told_apart_by_schedule():
    def made(number, state, look, score):
        return TrialRecord(number=number, subset=Subset(["a"]), state=state, score=score, look=look)

    whole = made(0, TrialState.COMPLETE, None, 0.9)
    looks = [made(1, TrialState.PRUNED, 1, 0.7), made(2, TrialState.PRUNED, 2, 0.8)]
    failed = made(3, TrialState.FAILED, 3, None)
    found = History([whole, *looks, failed])
    assert found.look_lengths == (2, 1)
    assert found.by_schedule()[Subset(["a"])] == whole
    assert found.by_schedule(1)[Subset(["a"])].score == 0.7
    assert found.by_schedule(1)[Subset(["a"])].state is TrialState.COMPLETE
    assert found.by_schedule(3) == {}
