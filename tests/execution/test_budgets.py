from hypothesis import given
from hypothesis import strategies as st

from layersearch.execution.budgets import Budgets, Spent, spent, used_up
from layersearch.space import Subset, TrialRecord, TrialState


def record(number, state=TrialState.COMPLETE, **attributes):
    return TrialRecord(number=number, subset=Subset(), state=state, attributes=attributes)


def test_running_trials_are_reserved_and_interrupted_ones_cost_but_do_not_count():
    records = [
        record(0, trainings=5, epochs=25),
        record(1, TrialState.FAILED, trainings=2, epochs=7, interrupted=True),
        record(2, TrialState.FAILED, trainings=1, epochs=1),
        record(3, memo_of=0),
        record(4, TrialState.RUNNING),
    ]
    budgets = Budgets(trainings_per_trial=5, epochs_per_trial=25)
    assert spent(records, budgets) == Spent(trials=4, trainings=13, epochs=58)


def test_no_budget_is_never_used_up():
    assert used_up(Budgets(), Spent(trials=10**6), seconds=1e9) == ""
    assert not Budgets(trainings_per_trial=5).limited


def test_the_budget_that_is_used_up_is_named():
    assert "5 trials" in used_up(Budgets(trials=5), Spent(trials=5), seconds=0)
    assert "60 seconds" in used_up(Budgets(seconds=60), Spent(), seconds=61)
    assert "10 trainings" in used_up(
        Budgets(trainings=10, trainings_per_trial=5), Spent(trainings=6), seconds=0
    )


@given(st.integers(0, 60), st.integers(1, 7), st.integers(1, 5))
def test_reserving_never_exceeds_the_budget(limit, per_trial, workers):
    budgets = Budgets(trainings=limit, trainings_per_trial=per_trial)
    records = []
    while not used_up(budgets, spent(records, budgets), seconds=0):
        running = [r for r in records if r.state is TrialState.RUNNING]
        if len(running) == workers:
            records[running[0].number] = record(running[0].number, trainings=per_trial)
        records.append(record(len(records), TrialState.RUNNING))
    assert len(records) == limit // per_trial
