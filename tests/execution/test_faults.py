"""Faults, for real: workers that die, hang or give nonsense; drivers that are interrupted."""

import os
import signal
import threading
import time
from collections import Counter

import optuna
import pytest

from layersearch.errors import SearchError
from layersearch.execution import Budgets, Ending, ProcessPool, make_places
from layersearch.space import Subset, TrialState
from layersearch.space.trial import TrialResult
from tests.execution.doubles import Every, Watcher
from tests.execution.jobs import ALL, BEST, UNITS, trained, truth

A, B = Subset(["a"]), Subset(["b"])


def of(run, subset):
    return [record for record in run.history if record.subset == subset]


# --- Scores that are none (case 11) ---------------------------------------------------------------


@pytest.mark.parametrize("in_process", [True, False])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("nan", "the score is nan"),
        ("none", "the score is None (NoneType)"),
        ("report nan", "the score is nan; a finite number is needed, after epoch 0 of fold 0"),
    ],
)
def test_a_score_that_is_no_number_fails_its_trial_and_the_search_goes_on(
    search, fault, reason, in_process
):
    run = search({A: fault}, strategy=Every(ALL[:4]), in_process=in_process)
    failed = of(run, A)
    assert len(failed) == 2  # as often as a subset may fail
    assert all(record.state is TrialState.FAILED for record in failed)
    assert failed[0].attributes["reason"].startswith(reason)
    assert len(run.history.scores) == 3


@pytest.mark.parametrize("fault", ["inf", "text", "two", "bare", "report text"])
def test_other_unusable_values_fail_their_trial(search, fault):
    run = search({A: fault}, strategy=Every(ALL[:3]), max_failures=5)
    assert {record.state for record in of(run, A)} == {TrialState.FAILED}
    assert len(run.history.scores) == 2


# --- Jobs that fail (case 15) ---------------------------------------------------------------------


@pytest.mark.parametrize("in_process", [True, False])
def test_a_job_that_raises_fails_its_trial_with_the_traceback(search, in_process):
    run = search({A: "raise"}, strategy=Every(ALL[:4]), in_process=in_process)
    record = of(run, A)[0]
    assert record.attributes["reason"] == "ValueError: a fault of the job"
    assert "break_down" in record.attributes["failure"]
    assert len(run.history.scores) == 3


@pytest.mark.parametrize("in_process", [True, False])
def test_a_job_that_calls_sys_exit_fails_its_trial_only(search, in_process):
    run = search({A: "sys.exit"}, strategy=Every(ALL[:3]), in_process=in_process)
    assert of(run, A)[0].attributes["reason"] == "SystemExit: 3"
    assert len(run.history.scores) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_the_search_stops_when_every_trial_fails_and_shows_the_first_traceback(
    search, open_it, workers
):
    opened = open_it()
    with pytest.raises(SearchError) as caught:
        search(dict.fromkeys(ALL, "raise"), workers=workers, opened=opened)
    text = str(caught.value)
    assert "3 subsets failed one after another" in text
    assert "trial 0, {}" in text
    assert "a fault of the job" in text
    assert not opened.history().running


def test_failures_that_are_not_in_a_row_do_not_stop_the_search(search):
    run = search(dict.fromkeys(ALL[1:9:2], "raise"), max_failures=2, strategy=Every(ALL[:9]))
    assert len(run.history.scores) == 5
    assert len([record for record in run.history if record.score is None]) == 8


@pytest.mark.parametrize("in_process", [True, False])
def test_a_factory_that_fails_ends_the_search_before_any_trial(search, open_it, in_process):
    def factory(place):
        raise RuntimeError("no such weights")

    opened = open_it()
    with pytest.raises(SearchError, match=r"(?s)could not.*def factory|no such weights"):
        search(factory=factory, opened=opened, in_process=in_process)
    assert len(opened.history()) == 0


def test_a_worker_that_dies_while_starting_ends_the_search_with_its_last_words(search):
    def factory(place):
        os.write(1, b"about to go")
        os._exit(9)

    with pytest.raises(SearchError, match=r"(?s)exit code 9.*about to go"):
        search(factory=factory, in_process=False)


def test_a_factory_that_cannot_be_sent_is_refused(search):
    lock = threading.Lock()

    def factory(place):
        with lock:
            return lambda proposal, report: None

    with pytest.raises(SearchError, match=r"execution\.workers: the job cannot be sent"):
        search(factory=factory, in_process=False)


def test_a_result_that_cannot_be_sent_fails_its_trial(search):
    def factory(place):
        def job(proposal, report):
            value = truth(proposal.subset)
            extra = {"lock": threading.Lock()} if proposal.subset == A else {}
            return TrialResult(values=(value,), attributes=extra)

        return job

    run = search(factory=factory, strategy=Every(ALL[:3]), in_process=False)
    assert "cannot be sent" in of(run, A)[0].attributes["reason"]
    assert len(run.history.scores) == 2


# --- Workers that die (case 1) --------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["sigkill", "exit"])
def test_a_killed_workers_trial_is_interrupted_and_its_subset_runs_again(search, log, fault):
    run = search({A: fault, BEST: fault}, workers=2, once=True)
    assert [record.state for record in of(run, A)] == [TrialState.FAILED, TrialState.COMPLETE]
    lost = of(run, A)[0].attributes
    assert lost["interrupted"] is True
    words = "signal 9, SIGKILL" if fault == "sigkill" else "exit code 7"
    assert words in lost["reason"]
    counts = Counter(trained(log))
    assert counts == Counter({str(subset): 1 for subset in ALL} | {str(A): 2, str(BEST): 2})
    assert max(run.history.scores.values(), key=lambda record: record.score).subset == BEST


def test_a_worker_killed_from_outside_is_replaced(search, log):
    pool = ProcessPool(make_places(2, threads=1))
    killed = []
    watcher = Watcher()

    def kill_one(proposal, report):
        if not killed:
            killed.append(int(log.read_text().splitlines()[0].split()[0]))
            os.kill(killed[0], signal.SIGKILL)

    watcher.on_report = kill_one
    run = search(pool=pool, seconds=0.05, observers=[watcher])
    assert killed
    assert len(run.history.scores) == len(ALL)
    pids = {int(line.split()[0]) for line in log.read_text().splitlines()}
    assert len(pids) == 3


def test_a_subset_that_kills_every_worker_is_given_up(search):
    run = search({A: "sigkill"}, strategy=Every(ALL[:3]), workers=2, max_failures=5)
    records = of(run, A)
    assert [bool(record.attributes.get("interrupted")) for record in records] == [
        True,
        True,
        False,
        False,
    ]
    assert "it is not tried again" in records[-1].attributes["reason"]
    assert len(run.history.scores) == 2


def test_workers_that_keep_dying_end_the_search(search, open_it):
    opened = open_it()
    with pytest.raises(SearchError, match=r"workers keep dying: 3 one after another"):
        search(
            dict.fromkeys(ALL, "sigkill"),
            pool=ProcessPool(make_places(1), max_restarts=2),
            opened=opened,
            max_failures=99,
        )
    assert not opened.history().running


def test_a_samplers_lost_trial_is_asked_for_again_with_its_parameters(search, log):
    run = search(
        {Subset(["a", "b"]): "sigkill"},
        once=True,
        workers=2,
        study={"sampler": optuna.samplers.RandomSampler(seed=0)},
        claimed=lambda trial: Subset(
            unit for unit in UNITS[:2] if trial.suggest_categorical(unit, [False, True])
        ),
        budgets=Budgets(trials=20),
    )
    assert len(run.history.scores) == 4
    first, *_ = of(run, Subset(["a", "b"]))
    assert first.attributes["interrupted"]
    retry = next(r for r in run.history if r.attributes.get("retry_of") == first.number)
    assert (retry.subset, retry.state) == (first.subset, TrialState.COMPLETE)


# --- Epochs that hang (case 14) -------------------------------------------------------------------


def test_a_trial_that_hangs_is_killed_and_fails(search):
    run = search({A: "hang"}, strategy=Every(ALL[:4]), timeout=1.0)
    assert "no report for 1 s (execution.trial_timeout)" in of(run, A)[0].attributes["reason"]
    assert of(run, A)[0].state is TrialState.FAILED
    assert "interrupted" not in of(run, A)[0].attributes
    assert len(run.history.scores) == 3


# --- Interruptions (case 18), by real signals -----------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_records_what_runs_and_says_how_to_resume(search, log, number, workers):
    watcher = Watcher()

    def interrupt(proposal, report):
        if proposal.number == 4 and report.epoch == 0:
            os.kill(os.getpid(), number)

    watcher.on_report = interrupt
    # Worker processes run ahead: an epoch must not end before the driver has answered.
    seconds = 0.02 if workers == 1 else 0.3
    run = search(workers=workers, seconds=seconds, observers=[watcher])
    assert run.ending is Ending.INTERRUPTED
    assert "run the same command again" in run.reason
    assert not run.history.running
    stopped = [record for record in run.history if record.state is TrialState.FAILED]
    assert 1 <= len(stopped) <= workers
    assert all(record.attributes["interrupted"] for record in stopped)
    assert any("press Ctrl-C again" in text for text in watcher.messages)

    run = search(workers=workers)
    assert run.ending is Ending.DONE
    finished = [record.subset for record in run.history if record.state is TrialState.COMPLETE]
    assert Counter(finished) == Counter(ALL)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_twice_stops_at_once_and_leaves_nothing_running(search, open_it, log, workers):
    opened = open_it()
    watcher = Watcher()
    watcher.on_report = lambda *_: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt):
        search({ALL[1]: "hang"}, workers=workers, observers=[watcher], opened=opened)
    assert not opened.history().running
    assert all(not _runs(line) for line in log.read_text().splitlines() if workers > 1)


def test_the_handlers_of_signals_are_put_back(search):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    search(strategy=Every(ALL[:1]))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_no_worker_and_no_zombie_is_left(search, log):
    search(workers=2)
    pids = {int(line.split()[0]) for line in log.read_text().splitlines()}
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_search_in_another_thread_runs_without_signals(search):
    found = []
    thread = threading.Thread(target=lambda: found.append(search(strategy=Every(ALL[:3]))))
    thread.start()
    thread.join()
    assert found[0].ending is Ending.DONE


def _runs(line):
    time.sleep(0.01)
    try:
        os.kill(int(line.split()[0]), 0)
    except ProcessLookupError:
        return False
    return True
