"""Many parameters and attributes of a trial, written at once."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState

from layersearch.study.storages import open_storage
from layersearch.study.together import check_compatible, write_together

UNITS = {f"layer{i}": CategoricalDistribution((False, True)) for i in range(200)}
LR = FloatDistribution(1e-4, 1e-2, log=True)
DISTRIBUTIONS = {**UNITS, "recipe.lr": LR}
VALUES: dict[str, Any] = {name: i % 3 == 0 for i, name in enumerate(UNITS)} | {"recipe.lr": 1e-3}
PARAMETERS = {
    name: (DISTRIBUTIONS[name].to_internal_repr(value), DISTRIBUTIONS[name])
    for name, value in VALUES.items()
}
ATTRIBUTES = {"subset": ["layer0", "layer3"], "driver": "abc", "trainable_parameters": 7.0}


@pytest.fixture(params=["sqlite", "journal", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> BaseStorage:
    urls = {
        "sqlite": f"sqlite:///{tmp_path}/study.db",
        "journal": f"journal://{tmp_path}/study.log",
        "memory": ":memory:",
    }
    return open_storage(urls[request.param])


@pytest.fixture
def study(storage: BaseStorage) -> optuna.Study:
    return optuna.create_study(study_name="a", storage=storage, direction="maximize")


def write(study: optuna.Study, trial: optuna.Trial, **what: Any) -> None:
    write_together(study._storage, trial._trial_id, **what)


def test_it_is_there_as_if_written_one_by_one(study: optuna.Study) -> None:
    one, other = study.ask(), study.ask()
    write(study, one, parameters=PARAMETERS, attributes=ATTRIBUTES)
    for name, (value, distribution) in PARAMETERS.items():
        study._storage.set_trial_param(other._trial_id, name, value, distribution)
    for name, value in ATTRIBUTES.items():
        other.set_user_attr(name, value)
    together, separate = study.get_trials()
    assert together.params == separate.params == VALUES
    assert together.distributions == separate.distributions == DISTRIBUTIONS
    assert together.user_attrs == separate.user_attrs == ATTRIBUTES


def test_the_same_twice_is_the_same_once_and_attributes_may_change(study: optuna.Study) -> None:
    trial = study.ask()
    for _ in range(2):
        write(study, trial, parameters=PARAMETERS, attributes=ATTRIBUTES)
    write(study, trial, attributes={"driver": "other"})
    (found,) = study.get_trials()
    assert found.params == VALUES
    assert found.user_attrs == ATTRIBUTES | {"driver": "other"}


def test_a_trial_that_has_ended_stays_as_it_is(study: optuna.Study) -> None:
    trial = study.ask()
    study.tell(trial, 0.5)
    for _ in range(2):
        with pytest.raises(UpdateFinishedTrialError):
            write(study, trial, parameters=PARAMETERS, attributes=ATTRIBUTES)
    assert not study.get_trials()[0].params
    assert not study.get_trials()[0].user_attrs
    assert study.ask().number == 1  # no error is left over


def test_nothing_to_write_is_no_transaction(study: optuna.Study) -> None:
    write(study, study.ask())
    assert study.get_trials()[0].state is TrialState.RUNNING


def test_the_number_of_transactions_does_not_grow_with_the_number_of_units(
    tmp_path: Path,
) -> None:
    database = RDBStorage(f"sqlite:///{tmp_path}/study.db")
    study = optuna.create_study(storage=database)
    commits: list[Any] = []
    trial = study.ask()
    sqlalchemy.event.listen(database.engine, "commit", commits.append)
    write(study, trial, parameters=PARAMETERS, attributes=ATTRIBUTES)
    assert len(commits) == 1


def test_other_choices_than_before_are_refused() -> None:
    earlier = optuna.trial.create_trial(
        value=0.0, params={"layer0": True}, distributions={"layer0": UNITS["layer0"]}
    )
    check_compatible([earlier], UNITS)
    with pytest.raises(ValueError, match="CategoricalDistribution"):
        check_compatible([earlier], {"layer0": CategoricalDistribution((0, 1, 2))})
