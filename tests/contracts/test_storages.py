"""What a study keeps, whatever storage it is in."""

import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState as OptunaState

from layersearch.errors import StudyError
from layersearch.space import Subset, TrialState
from layersearch.space.trial import Report, TrialResult
from layersearch.study import open_study, read_study
from layersearch.study.drivers import driver_records
from layersearch.study.recording import (
    record_failure,
    record_pruned,
    record_report,
    record_result,
    record_start,
)
from layersearch.study.resilient import MARK

A, B = Subset(["a"]), Subset(["a", "b"])


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def begin(opened, subset, *, driver=None):
    trial = opened.study.ask()
    driver = driver or opened.lease.token
    record_start(trial, subset=subset, costs={"flops": 7}, recipe={"lr": 0.1}, driver=driver)
    return trial


def result(value):
    return TrialResult(values=(value,), stderr=0.25, correct=b"\xa0", count=3)


def test_what_is_recorded_is_read_by_another_process(storage_url):
    with open_study("s", storage=storage_url, fingerprint={"data": {"n": 3}}) as opened:
        first, second, third = (begin(opened, subset) for subset in (A, B, A))
        for step in range(3):
            record_report(first, Report(fold=0, epoch=step, step=step, score=step / 8))
        assert record_result(opened.study, first, result(0.5), extra={"seconds": 1.5})
        assert record_pruned(opened.study, second, "too bad", extra={})
        assert record_failure(opened.study, third, "it broke", traceback="line 1\nline 2")
        here = opened.history()
    code = (
        "import sys\n"
        "from layersearch.study import history, read_study\n"
        "for r in history(read_study('s', storage=sys.argv[1])):\n"
        "    bits = None if r.correct is None else r.correct.tolist()\n"
        "    print(r.number, r.state.value, r.subset, r.score, r.stderr, bits, r.recipe)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, storage_url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [
        "0 complete {a} 0.5 0.25 [True, False, True] {'lr': 0.1}",
        "1 pruned {a, b} None None None {'lr': 0.1}",
        "2 failed {a} None None None {'lr': 0.1}",
    ]
    assert [record.state for record in here] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAILED,
    ]
    curve = read_study("s", storage=storage_url).trials[0].intermediate_values
    assert curve == {0: 0.0, 1: 0.125, 2: 0.25}


def test_what_has_ended_stays_as_it_is(storage_url):
    with open_study("s", storage=storage_url) as opened:
        trial = begin(opened, A)
        assert record_result(opened.study, trial, result(0.5), extra={})
        assert record_result(opened.study, trial, result(0.9), extra={}) is None
        assert record_failure(opened.study, trial, "late news") is None
        record_report(trial, Report(fold=0, epoch=9, step=9, score=0.1))
        (record,) = opened.history()
        assert (record.score, record.state) == (0.5, TrialState.COMPLETE)


def test_a_trial_names_its_driver_from_its_first_moment(storage_url):
    with open_study("s", storage=storage_url) as opened:
        opened.study.ask()
        (trial,) = opened.study.get_trials()
        assert trial.user_attrs == {"driver": opened.lease.token}
        assert trial.state is OptunaState.RUNNING
        assert trial.datetime_start is not None


def test_enqueued_trials_keep_what_was_enqueued(storage_url):
    with open_study("s", storage=storage_url) as opened:
        opened.study.enqueue_trial({"a": True}, user_attrs={"why": "asked"})
        assert opened.study.get_trials()[0].state is OptunaState.WAITING
        trial = opened.study.ask()
        assert trial.suggest_categorical("a", [False, True]) is True
        assert trial.user_attrs["why"] == "asked"
        assert trial.number == 0


def test_one_driver_holds_and_a_second_is_refused_or_joins(storage_url):
    with open_study("s", storage=storage_url) as first:
        with pytest.raises(StudyError, match="is held by process"):
            open_study("s", storage=storage_url)
        with open_study("s", storage=storage_url, join=True) as second:
            assert first.lease.live_tokens() == {first.lease.token, second.lease.token}
        assert first.lease.live_tokens() == {first.lease.token}
    open_study("s", storage=storage_url).close()


def test_heartbeats_are_renewed(storage_url):
    with open_study("s", storage=storage_url, stale_after=0.4) as opened:
        seen = set()
        deadline = threading.Event()
        for _ in range(600):
            (driver,) = driver_records(opened.study.user_attrs)
            seen.add(driver.heartbeat)
            if len(seen) > 2:
                break
            deadline.wait(0.05)
        assert len(seen) > 2


def test_a_driver_elsewhere_that_fell_silent_loses_its_trials_and_is_told(storage_url):
    with open_study("s", storage=storage_url) as opened:
        (mine,) = driver_records(opened.study.user_attrs)
        elsewhere = replace(mine, token="gone", host="node7", place="node7//")
        opened.study.set_user_attr(*elsewhere.attribute)
        begin(opened, A)
        opened.storage.driver = "gone"
        begin(opened, B, driver="gone")
        assert opened.fail_orphans() == []  # its heartbeat is new
        opened.study.set_user_attr(*replace(elsewhere, heartbeat=0.0).attribute)
        assert opened.fail_orphans() == [1]
        assert opened.study.user_attrs["taken:gone"]["by"] == opened.lease.token
        orphan = opened.history()[1]
        assert orphan.state is TrialState.FAILED
        assert orphan.attributes["interrupted"] is True


def test_other_fingerprints_and_directions_are_refused(storage_url):
    open_study("s", storage=storage_url, fingerprint={"recipe": {"epochs": 5}}).close()
    with pytest.raises(StudyError, match=r"recipe\.epochs: was 5, is now 6"):
        open_study("s", storage=storage_url, fingerprint={"recipe": {"epochs": 6}})
    with pytest.raises(StudyError, match="was made to maximize"):
        open_study("s", storage=storage_url, directions=("minimize",))
    open_study("s", storage=storage_url, fingerprint={"recipe": {"epochs": 5}}).close()


def test_studies_of_one_storage_do_not_mix(storage_url):
    with open_study("s", storage=storage_url) as one, open_study("t", storage=storage_url) as two:
        record_result(one.study, begin(one, A), result(0.1), extra={})
        record_result(two.study, begin(two, B), result(0.2), extra={})
        record_result(one.study, begin(one, B), result(0.3), extra={})
        assert [record.subset for record in one.history()] == [A, B]
        assert [record.number for record in two.history()] == [0]
    with pytest.raises(StudyError, match=r"no study 'u'.*it has: 's', 't'"):
        read_study("u", storage=storage_url)


def test_many_threads_make_trials_of_their_own(storage_url):
    with open_study("s", storage=storage_url) as opened:
        numbers = []

        def work():
            for _ in range(5):
                trial = opened.study.ask()
                numbers.append(trial.number)
                opened.study.tell(trial, trial.number / 100)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        trials = opened.study.get_trials()
    assert Counter(numbers) == Counter(range(20))
    assert [trial.value for trial in trials] == [number / 100 for number in range(20)]
    assert len({trial.system_attrs[MARK] for trial in trials}) == 20
