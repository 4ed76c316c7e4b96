from dataclasses import replace

import optuna

from layersearch.space import Subset, TrialState
from layersearch.study import open_study
from layersearch.study.orphans import Orphans, requeue_interrupted
from layersearch.study.recording import record_start


def begin(opened, driver, *units):
    trial = opened.study.ask()
    for name in units:
        trial.suggest_categorical(name, [False, True])
    record_start(trial, subset=Subset(units), costs={}, recipe={}, driver=driver)
    return trial


def die(opened):
    """Leaves everything as a killed process would."""
    opened.lease._stop.set()
    opened.lease._record = replace(opened.lease._record, process="1")
    opened.study.set_user_attr(*opened.lease._record.attribute)


def test_running_trials_of_a_dead_driver_are_failed_when_the_study_is_opened(tmp_path):
    first = open_study("a", directory=tmp_path)
    begin(first, first.lease.token, "x")
    first.study.ask()  # it died before it claimed anything
    die(first)
    with open_study("a", directory=tmp_path) as opened:
        assert opened.orphans == (0, 1)
        for record in opened.history():
            assert record.state is TrialState.FAILED
            assert record.attributes["interrupted"] is True
            assert "driver died" in record.attributes["reason"]


def test_a_driver_that_lets_go_of_a_study_leaves_nothing_running(tmp_path):
    with open_study("a", directory=tmp_path) as opened:
        begin(opened, opened.lease.token, "x")
        opened.study.ask()
    with open_study("a", directory=tmp_path) as opened:
        assert opened.orphans == ()
        assert [record.state for record in opened.history()] == [TrialState.FAILED] * 2
        assert all(record.attributes["interrupted"] for record in opened.history())


def test_running_trials_of_live_drivers_are_left_alone(tmp_path):
    with open_study("a", directory=tmp_path) as first:
        begin(first, first.lease.token, "x")
        first.study.ask()
        with open_study("a", directory=tmp_path, join=True) as second:
            assert second.orphans == ()
            assert first.fail_orphans() == []
        begin(first, "a driver that is gone", "y")
        assert first.fail_orphans() == [2]


def test_trials_that_name_no_driver_are_nobodys_after_a_while(tmp_path):
    """Made by Optuna alone, or by an older version. Their own clocks are not asked."""
    with (
        open_study("a", directory=tmp_path) as first,
        open_study("a", directory=tmp_path, join=True) as second,
    ):
        optuna.load_study(study_name="a", storage=first.storage._backend).ask()
        patient = Orphans(first.study, first.storage, first.lease)
        assert patient.fail() == patient.fail() == []
        assert Orphans(first.study, first.storage, first.lease, unnamed_age=0.0).fail() == [0]
        optuna.load_study(study_name="a", storage=first.storage._backend).ask()
        second.close()
        assert first.fail_orphans() == [1]  # it is alone now


def test_interrupted_parameters_are_enqueued_once(tmp_path):
    with open_study("a", directory=tmp_path) as opened:
        lost = begin(opened, "gone", "x")
        opened.fail_orphans()
        assert requeue_interrupted(opened.study) == [0]
        assert requeue_interrupted(opened.study) == []
        again = opened.study.ask()
        assert again.suggest_categorical("x", [False, True]) == lost.params["x"]
        assert again.user_attrs["retry_of"] == 0
