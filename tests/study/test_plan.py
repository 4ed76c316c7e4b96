import optuna
import pytest

from layersearch.errors import StudyError
from layersearch.study import check_plan, keep_plan

PLAN = {"strategy": {"name": "greedy", "enqueue": ("linear_probe",)}, "budget": {"epochs": None}}


@pytest.fixture
def study():
    return optuna.create_study(study_name="digits", storage=optuna.storages.InMemoryStorage())


def test_a_worker_with_the_drivers_plan_is_let_in(study):
    keep_plan(study, PLAN)
    check_plan(study, PLAN)


def test_a_worker_with_another_plan_is_told_every_difference(study):
    keep_plan(study, PLAN)
    with pytest.raises(StudyError) as caught:
        check_plan(study, {"strategy": {"name": "tpe"}, "budget": {"epochs": 5}})
    text = str(caught.value)
    assert 'strategy.name: was "greedy", is now "tpe"' in text
    assert "strategy.enqueue: was " in text
    assert "budget.epochs: was null, is now 5" in text


def test_a_driver_may_change_the_plan(study):
    keep_plan(study, PLAN)
    keep_plan(study, {**PLAN, "budget": {"epochs": 5}})
    check_plan(study, {**PLAN, "budget": {"epochs": 5}})


def test_a_study_without_a_plan_takes_any(study):
    check_plan(study, PLAN)
