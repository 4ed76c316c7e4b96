"""Tune's schedulers: what they stop is PRUNED in the study with its whole curve."""

from collections import Counter

import numpy as np
import pytest

from layersearch.errors import SearchError
from layersearch.execution import Budgets, Ending
from layersearch.execution.ray_tune.options import SchedulerOptions
from layersearch.execution.ray_tune.schedulers import make_scheduler, replay
from layersearch.space import TrialState
from layersearch.strategies import Greedy
from layersearch.strategies.optuna_adapter import StrategySampler
from layersearch.study import history
from tests.execution.doubles import SPACE, Every
from tests.execution.jobs import ALL, BEST
from tests.execution.ray_tune.stateful import Stateful, epochs_trained

BUDGETS = Budgets(epochs_per_trial=9)


def check(run, opened):
    """Every trial has ended, with the whole of the curve that it was trained to."""
    assert run.ending is Ending.DONE
    states = Counter(record.state for record in run.history)
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in opened.study.get_trials():
        steps = sorted(trial.intermediate_values)
        assert steps == list(range(len(steps)))
        assert trial.user_attrs["epochs"] == len(steps)
        if trial.state.name == "COMPLETE":
            assert len(steps) == 9
        else:
            assert 1 <= len(steps) < 9
            assert "stopped by the scheduler" in trial.user_attrs["reason"]
    return states


@pytest.mark.parametrize(
    ("name", "options"),
    [("asha", {"reduction_factor": 2}), ("median", {"min_samples_required": 2})],
)
@pytest.mark.slow
def test_what_a_scheduler_stops_is_pruned_with_its_curve(search, open_it, log, name, options):
    opened = open_it(Every(ALL[::-1]))  # good ones first
    run = search(
        opened=opened,
        factory=Stateful(log),
        budgets=BUDGETS,
        scheduler=name,
        scheduler_options=options,
    )
    states = check(run, opened)
    assert states[TrialState.PRUNED] >= 4
    best = max(run.history.scores.values(), key=lambda record: record.score)
    assert best.subset == BEST
    assert len(epochs_trained(log)) == sum(r.attributes["epochs"] for r in run.history)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_hyperband_pauses_trials_and_resumes_them_where_they_were(search, open_it, log, workers):
    opened = open_it()
    run = search(
        opened=opened,
        factory=Stateful(log),
        budgets=BUDGETS,
        workers=workers,
        scheduler="hyperband",
    )
    states = check(run, opened)
    # Brackets of 3, 5 and 8: 3 that are not compared, 2 of 5 go on, 3 of 8 and then 1.
    assert states[TrialState.COMPLETE] == 6
    best = max(run.history.scores.values(), key=lambda record: record.score)
    assert best.subset == BEST
    counts = Counter(epochs_trained(log))
    assert set(counts.values()) == {1}  # none is trained twice


@pytest.mark.slow
def test_a_job_without_snapshots_starts_over_when_it_is_resumed(search, open_it, log):
    opened = open_it(Every(ALL[:6]))
    run = search(
        opened=opened,
        factory=Stateful(log, offers=False),
        budgets=BUDGETS,
        scheduler="hyperband",
    )
    check(run, opened)
    assert max(Counter(epochs_trained(log)).values()) > 1


@pytest.mark.slow
def test_greedy_ends_under_hyperband(search, log):
    sampler = StrategySampler(Greedy(SPACE, stop="paper"), SPACE, read_history=history)
    run = search(
        study={"sampler": sampler}, factory=Stateful(log), budgets=BUDGETS, scheduler="hyperband"
    )
    assert run.ending is Ending.DONE
    assert sampler.answer(run.history) is not None


@pytest.mark.slow
def test_a_resumed_search_tells_its_scheduler_what_earlier_trials_did(search, open_it, log):
    options = {"min_samples_required": 3}
    good = Every(ALL[::-1][:4])
    search(strategy=good, factory=Stateful(log), budgets=BUDGETS)
    run = search(
        strategy=Every((*ALL[::-1][:4], ALL[0])),
        factory=Stateful(log),
        budgets=BUDGETS,
        scheduler="median",
        scheduler_options=options,
    )
    [worst] = [record for record in run.history if record.subset == ALL[0]]
    assert worst.state is TrialState.PRUNED
    assert worst.attributes["epochs"] == 1  # the others are known: there is nothing to wait for


# --- Without a cluster ----------------------------------------------------------------------------


def test_asha_hears_earlier_curves():
    made = make_scheduler(SchedulerOptions(name="asha"), mode="max", epochs=16)
    curves = [(n, [(e, 0.1 * n + 0.01 * e) for e in range(1, 17)]) for n in range(4)]
    assert replay(made, [*curves, (9, [])]) == 4
    milestone, recorded = made._brackets[0]._rungs[-1]
    assert milestone == 1
    assert sorted(recorded.values()) == pytest.approx(np.array([0.01, 0.11, 0.21, 0.31]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SchedulerOptions(name="fifo", options={"a": 1}), "takes no options"),
        (SchedulerOptions(name="asha", options={"grace": 1}), "takes no grace; its options are"),
        (SchedulerOptions(name="asha", options={"mode": "max"}), "takes no mode"),
        (SchedulerOptions(name="ashaa"), "there is no 'ashaa'"),
        (SchedulerOptions(name="asha", options={"grace_period": 99}), "asha: "),
        (SchedulerOptions(name="builtins:dict"), "scheduler"),
    ],
)
def test_a_scheduler_that_cannot_be_made_is_refused(options, message):
    with pytest.raises(SearchError, match=message):
        make_scheduler(options, mode="max", epochs=9)
