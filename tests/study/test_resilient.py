"""Answers that are lost: here after a real operation on a real storage, which then raises."""

import errno

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from layersearch.study import open_study
from layersearch.study import patience as patience_module
from layersearch.study.patience import Patience
from layersearch.study.resilient import MARK, ResilientStorage


class Lossy(InMemoryStorage):
    """Does what it is asked, and loses the answers to the operations that are named."""

    def __init__(self):
        super().__init__()
        self.losing = []
        self.meanwhile = lambda: None

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name in ("losing", "meanwhile") or name not in self.losing:
            return found

        def lost(*args, **kwargs):
            if name not in self.losing:
                return found(*args, **kwargs)
            self.losing.remove(name)
            found(*args, **kwargs)
            self.meanwhile()
            raise OSError(errno.ECONNRESET, "Connection reset by peer")

        return lost


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(patience_module, "_FIRST", 0.001)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def lossy():
    return Lossy()


@pytest.fixture
def study(lossy):
    storage = ResilientStorage(lossy, Patience("db"))
    return optuna.create_study(study_name="s", storage=storage, direction="maximize")


def test_a_trial_is_made_once(study, lossy):
    lossy.losing = ["create_new_trial"]
    assert study.ask().number == 0
    assert [trial.number for trial in study.trials] == [0]


def test_an_enqueued_trial_is_there_once(study, lossy):
    lossy.losing = ["create_new_trial"]
    study.enqueue_trial({"x": 1})
    assert [trial.state for trial in study.trials] == [TrialState.WAITING]


def test_a_trial_that_ended_has_ended(study, lossy):
    trial = study.ask()
    lossy.losing = ["set_trial_state_values"]
    study.tell(trial, 0.5)
    assert study.best_value == 0.5


def test_what_another_made_of_it_meanwhile_stands(study, lossy):
    """The answer is lost because nothing was done, and somebody else fails the trial."""
    trial = study.ask()
    done = lossy.set_trial_state_values

    def refused(*_):
        lossy.set_trial_state_values = done
        done(trial._trial_id, TrialState.FAIL)
        raise OSError(errno.ECONNRESET, "Connection reset by peer")

    lossy.set_trial_state_values = refused
    with pytest.raises(UpdateFinishedTrialError):
        study._storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])
    assert study.trials[0].state is TrialState.FAIL


def test_a_trial_that_was_taken_from_the_queue_is_ours(study, lossy):
    study.enqueue_trial({"x": 1})
    lossy.losing = ["set_trial_state_values"]
    assert study.ask().number == 0
    assert len(study.trials) == 1


def test_a_trial_that_another_took_and_named_is_theirs(study, lossy):
    study.enqueue_trial({"x": 1})
    lossy.losing = ["set_trial_state_values"]
    lossy.meanwhile = lambda: lossy.set_trial_user_attr(0, "driver", "another")
    assert study.ask().number == 1


def test_everything_else_may_be_done_twice(study, lossy):
    trial = study.ask()
    lossy.losing = [
        *("set_trial_param", "set_trial_intermediate_value", "set_trial_user_attr"),
        *("set_trial_system_attr", "set_study_user_attr", "set_study_system_attr"),
        *("get_trial", "get_all_trials", "get_study_user_attrs"),
    ]
    trial.suggest_float("x", 0, 1)
    trial.report(0.25, 0)
    trial.set_user_attr("a", 1)
    trial.set_constraint("c", -1.0)
    study.set_user_attr("b", 2)
    study._storage.set_study_system_attr(0, "c", 3)
    study.tell(trial, 0.5)
    (ended,) = study.trials
    assert (ended.intermediate_values, ended.user_attrs) == ({0: 0.25}, {"a": 1})
    assert study.user_attrs == {"b": 2}
    assert lossy.losing == []


def test_any_storage_of_optunas_may_be_given(lossy):
    with open_study("s", storage=lossy) as opened:
        lossy.losing = ["create_new_trial", "get_all_trials"]
        trial = opened.study.ask()
        assert trial.number == 0
        (found,) = opened.study.trials
        assert found.user_attrs["driver"] == opened.lease.token
        assert MARK in found.system_attrs
