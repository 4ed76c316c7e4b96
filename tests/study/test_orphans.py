from layersearch.space import Subset, TrialState
from layersearch.study import open_study
from layersearch.study.orphans import requeue_interrupted
from layersearch.study.recording import record_start


def begin(opened, driver, *units):
    trial = opened.study.ask()
    for name in units:
        trial.suggest_categorical(name, [False, True])
    record_start(trial, subset=Subset(units), costs={}, recipe={}, driver=driver)
    return trial


def test_running_trials_of_a_dead_driver_are_failed_when_the_study_is_opened(tmp_path):
    with open_study("a", directory=tmp_path) as opened:
        begin(opened, opened.lease.token, "x")
        opened.study.ask()  # its driver died before it named itself
    with open_study("a", directory=tmp_path) as opened:
        assert opened.orphans == (0, 1)
        for record in opened.history():
            assert record.state is TrialState.FAILED
            assert record.attributes["interrupted"] is True
            assert "driver died" in record.attributes["reason"]


def test_running_trials_of_live_drivers_are_left_alone(tmp_path):
    with open_study("a", directory=tmp_path) as first:
        begin(first, first.lease.token, "x")
        first.study.ask()  # about to name itself
        with open_study("a", directory=tmp_path, join=True) as second:
            assert second.orphans == ()
            assert first.fail_orphans() == []
        begin(first, "a driver that is gone", "y")
        assert first.fail_orphans() == [1, 2]  # alone now, so the nameless one is an orphan too


def test_interrupted_parameters_are_enqueued_once(tmp_path):
    with open_study("a", directory=tmp_path) as opened:
        lost = begin(opened, "gone", "x")
        opened.fail_orphans()
        assert requeue_interrupted(opened.study) == [0]
        assert requeue_interrupted(opened.study) == []
        again = opened.study.ask()
        assert again.suggest_categorical("x", [False, True]) == lost.params["x"]
        assert again.user_attrs["retry_of"] == 0
