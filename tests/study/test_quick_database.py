"""Reading a database as Optuna does, only quicker."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from layersearch.study.quick_database import QuickCache, QuickDatabase

UNITS = {f"layer{i}": CategoricalDistribution((False, True)) for i in range(20)}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/study.db"


def fill(study: optuna.Study, trials: int = 9) -> None:
    """Trials in every state, with values and parameters of every kind."""
    study.enqueue_trial({"x": 0.5})
    for number in range(trials):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        trial.suggest_categorical("kind", ["a", None, 3])
        trial.suggest_int("n", 1, 100, log=True)
        trial.set_user_attr("what", {"a": [number]})
        if number % 3 == 0:
            study.tell(trial, [float("inf"), number])
        if number % 3 == 1:
            study.tell(trial, state=TrialState.FAIL)
    study.enqueue_trial({"x": 0.1}, user_attrs={"again": 1})


def read(url: str, database: type[RDBStorage]) -> list[Any]:
    storage = database(url)
    asked = [(-1, set()), (3, {1, 2}), (100, set()), (5, {3, 9}), (8, {6, 9})]
    return [storage._get_trials(1, None, included, after) for after, included in asked * 2]


def test_it_reads_what_optuna_reads(url: str) -> None:
    study = optuna.create_study(storage=QuickDatabase(url), directions=["maximize", "minimize"])
    fill(study)
    assert read(url, QuickDatabase) == read(url, RDBStorage)


def test_reports_of_every_kind_come_back(url: str) -> None:
    study = optuna.create_study(storage=url)
    trial = study.ask()
    for step, score in enumerate((0.5, float("nan"), float("inf"), float("-inf"))):
        trial.report(score, step)
    # Compared as text: NaN is not equal to itself.
    assert str(QuickDatabase(url).get_trial(1)) == str(RDBStorage(url).get_trial(1))


def test_what_another_process_adds_is_seen(url: str) -> None:
    here, there = QuickDatabase(url), RDBStorage(url)
    study = optuna.create_study(study_name="a", storage=here)
    elsewhere = optuna.load_study(study_name="a", storage=there)
    trial = elsewhere.ask()
    assert not study.get_trials()[0].params
    trial.suggest_float("x", 0, 1)
    assert study.get_trials()[0].params == trial.params
    trial.suggest_float("y", 0, 1)
    trial.set_user_attr("k", 1)
    trial.set_user_attr("k", 2)
    assert study.get_trials()[0].params == trial.params
    assert study.get_trials()[0].user_attrs == {"k": 2}
    elsewhere.tell(trial, 0.5)
    assert study.get_trials() == elsewhere.get_trials()
    assert not here._known, "what ended is not kept twice"


def test_more_trials_than_a_query_can_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layersearch.study.quick_database._MANY", 3)
    study = optuna.create_study(storage=QuickDatabase(url), directions=["maximize", "minimize"])
    fill(study)
    assert read(url, QuickDatabase) == read(url, RDBStorage)


def test_unknown_trials_and_studies_are_errors(url: str) -> None:
    storage = QuickDatabase(url)
    with pytest.raises(KeyError):
        storage.get_trial(5)
    with pytest.raises(KeyError):
        storage.get_all_trials(5)


def test_parameters_of_running_trials_are_read_once(url: str) -> None:
    storage = QuickDatabase(url)
    study = optuna.create_study(storage=storage)
    for _ in range(5):
        study.ask(UNITS)
    study.get_trials()
    statements: list[str] = []
    sqlalchemy.event.listen(
        storage.engine, "before_cursor_execute", lambda *args: statements.append(args[2])
    )
    study.get_trials()
    assert not [text for text in statements if "distribution_json" in text]
    assert len(statements) <= 8


def test_the_cache_lists_what_optunas_lists(url: str) -> None:
    storage = QuickCache(QuickDatabase(url))
    study = optuna.create_study(storage=storage, directions=["maximize", "minimize"])
    fill(study)
    # Trials of other processes may become known in another order than that of their numbers.
    known = storage._studies[1]
    known.trials = dict(reversed(known.trials.items()))
    plain = RDBStorage(url)
    for states in (None, (), *((state,) for state in TrialState), tuple(TrialState)):
        expected = plain.get_all_trials(1, states=states)
        assert storage.get_all_trials(1, states=states) == expected
        assert storage.get_all_trials(1, deepcopy=False, states=states) == expected
