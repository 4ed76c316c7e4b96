from dataclasses import replace

import pytest

from layersearch.execution.standing import Allowance, RetrainingNow, Status, WorkerNow
from layersearch.execution.watching import Picture
from layersearch.execution.watching.estimate import time_left
from layersearch.space import Subset
from layersearch.space.trial import Report
from tests.execution.watching.pictures import Clock, proposal

STATUS = Status(done=0, running=0, workers=2, remaining=6)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def shown(clock):
    return Picture(clock)


def test_nothing_is_said_before_a_trial_has_shown_how_long_it_takes(shown):
    assert time_left(shown) is None
    shown.told(STATUS)
    assert time_left(shown) is None


def test_trials_that_ended_tell_how_long_the_next_will_take(shown):
    shown.told(STATUS)
    shown.trained.append(30.0)
    left = time_left(shown)
    assert (left.low, left.high, left.covers) == (90.0, 90.0, "search")


def test_the_last_trial_is_waited_for_alone(shown):
    shown.told(replace(STATUS, remaining=5))
    shown.trained.append(30.0)
    assert time_left(shown).high == 90.0


def test_what_a_running_trial_has_done_is_not_counted_again(shown, clock):
    shown.told(replace(STATUS, remaining=0, workers=1))
    shown.trained.append(40.0)
    shown.started(proposal(1))
    shown.reported(
        proposal(1), Report(fold=0, epoch=2, score=0.5, step=2, epochs_done=3, epochs_total=4)
    )
    assert time_left(shown).high == pytest.approx(10.0)


def test_the_first_trial_tells_by_its_own_pace_without_what_was_replayed(shown, clock):
    shown.told(replace(STATUS, remaining=0, workers=1))
    trial = proposal(1)
    shown.started(trial)
    for epoch in range(20):
        shown.reported(
            trial,
            Report(
                fold=0,
                epoch=epoch,
                score=0.5,
                step=epoch,
                epochs_done=epoch + 1,
                epochs_total=30,
                replayed=epoch < 10,
            ),
        )
    clock.now = 20.0  # for half of what it trains itself
    assert time_left(shown).high == pytest.approx(20.0)


def test_trials_of_different_length_give_a_span(shown):
    shown.told(STATUS)
    shown.trained.extend([10.0, 20.0, 30.0])
    left = time_left(shown)
    assert left.low < 60.0 < left.high


def test_workers_of_other_processes_help(shown):
    shown.told(STATUS)
    shown.trained.append(30.0)
    alone = time_left(shown).high
    theirs = tuple(WorkerNow(name="p", doing="trains", trial=n, own=False) for n in range(2))
    shown.told(replace(STATUS, crew=theirs))
    assert time_left(shown).high < alone


def test_of_a_round_only_the_round_is_foreseen(shown):
    shown.told(replace(STATUS, covers="phase"))
    shown.trained.append(30.0)
    assert time_left(shown).covers == "phase"


def test_a_budget_of_time_bounds_it_and_runs_on(shown, clock):
    budget = (Allowance(name="seconds", limit=100, used=40),)
    shown.told(replace(STATUS, budget=budget))
    assert (time_left(shown).high, time_left(shown).covers) == (60.0, "budget")
    shown.trained.append(30.0)
    clock.now = 10.0
    assert (time_left(shown).high, time_left(shown).covers) == (50.0, "budget")


def test_thousands_of_trials_are_divided(shown):
    shown.told(replace(STATUS, remaining=100_000, workers=4))
    shown.trained.append(2.0)
    assert time_left(shown).high == pytest.approx(50_000)


def test_retrainings_tell_about_each_other(shown, clock):
    now = RetrainingNow(
        name="chosen", subset=Subset(), seed=0, seeds=2, done=0, total=4, epoch=0, epochs=4
    )
    shown.retrains(now)
    assert time_left(shown) is None
    clock.now = 2.0
    shown.retrains(replace(now, epoch=1))
    assert time_left(shown).high == pytest.approx(8 - 2 + 3 * 8)
    clock.now = 8.0
    shown.retrains(replace(now, epoch=4, done=1, score=0.9))
    left = time_left(shown)
    assert (left.high, left.covers) == (pytest.approx(24.0), "retraining")
