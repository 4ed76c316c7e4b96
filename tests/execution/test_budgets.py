from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from layersearch.execution.budgets import Budgets, Reserve, Spent, spent, used_up
from layersearch.space import History, Subset, TrialRecord, TrialState


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


def look(number, state=TrialState.PRUNED, **attributes):
    return TrialRecord(
        number=number, subset=Subset([str(number)]), state=state, look=1, score=0.5,
        attributes=attributes,
    )  # fmt: skip


def test_a_look_is_reserved_and_admitted_by_its_own_epochs():
    budgets = Budgets(epochs=12, trainings_per_trial=2, epochs_per_trial=10)
    used = spent([look(0, TrialState.RUNNING)], budgets)
    assert used.epochs == 2
    assert not used_up(budgets, used, seconds=0, epochs=5)
    assert used_up(budgets, Spent(epochs=3), seconds=0)


def looks_before_the_reserve(budgets, *, finalists, seconds=lambda: 0.0, **attributes):
    reserve = Reserve(budgets, look=1, finalists=finalists, seconds=seconds)
    records = []
    while not reserve.why_no_look(History(records)) and len(records) < 99:
        records.append(look(len(records), epochs=2, trainings=2, **attributes))
    return records, reserve


def test_looks_end_while_the_finalists_can_be_paid_for():
    budgets = Budgets(epochs=50, trainings_per_trial=2, epochs_per_trial=10)
    records, reserve = looks_before_the_reserve(budgets, finalists=2)
    assert len(records) == (50 - 2 * 10) // 2
    # What a finalist took was kept for it: it makes no room for looks, and takes none from another.
    records.append(record(len(records), trainings=2, epochs=10))
    assert "1 finalist kept" in reserve.why_no_look(History(records))
    records.append(record(len(records), TrialState.RUNNING))  # so does one that runs
    assert "kept" not in reserve.why_no_look(History(records))
    # A whole training before the first look was enqueued, and is no finalist.
    later = [replace(r, number=r.number + 1) for r in records[:-2]]
    before = [record(0, trainings=2, epochs=10), *later]
    assert "2 finalists kept" in reserve.why_no_look(History(before))


def test_finalists_take_half_of_a_budget_at_most_but_one_where_it_fits():
    budgets = Budgets(epochs=30, trainings_per_trial=2, epochs_per_trial=10)
    assert len(looks_before_the_reserve(budgets, finalists=3)[0]) == (30 - 10) // 2
    budgets = Budgets(epochs=11, trainings_per_trial=2, epochs_per_trial=10)
    assert len(looks_before_the_reserve(budgets, finalists=3)[0]) == 11 // 2


def test_time_is_kept_for_finalists_by_the_speed_so_far():
    budgets = Budgets(seconds=100, trainings_per_trial=2, epochs_per_trial=10)
    looks = [look(number, epochs=2, seconds=4.0) for number in range(3)]  # 2 s an epoch
    for passed, refused in ((0, False), (75, False), (77, True)):
        reserve = Reserve(budgets, look=1, finalists=1, seconds=lambda passed=passed: passed)
        assert bool(reserve.why_no_look(History(looks))) is refused
    assert not reserve.why_no_look(History())  # before any speed is known
