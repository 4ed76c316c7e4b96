"""What a search records, with one worker and with several."""

from collections import Counter

import optuna
import pytest

from layersearch.errors import SearchError
from layersearch.execution import Budgets, Ending
from layersearch.space import Subset, TrialState
from layersearch.space.trial import Report, TrialResult
from layersearch.study import history, read_study
from tests.execution.doubles import Eliminating, Every, Watcher
from tests.execution.jobs import ALL, BEST, UNITS, in_two_folds, trained, truth

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.mark.parametrize("workers", [1, 2])
def test_trains_every_subset_once_and_finds_the_best(search, log, workers):
    run = search(workers=workers)
    assert run.ending is Ending.DONE
    assert Counter(trained(log)) == Counter(str(subset) for subset in ALL)
    assert max(run.history.scores.values(), key=lambda record: record.score).subset == BEST
    assert {record.state for record in run.history} == {TrialState.COMPLETE}
    assert run.trials == len(ALL)


def test_records_what_a_trial_found(search):
    run = search(costs=lambda subset: {"trainable_parameters": 10 * len(subset)})
    record = run.history.scores[BEST]
    assert record.score == pytest.approx(truth(BEST))
    assert record.stderr == 0.01
    assert record.fold_scores == pytest.approx((truth(BEST),))
    assert record.attributes["subset"] == ["a", "b", "d"]
    assert record.attributes["trainable_parameters"] == 30
    assert record.attributes["epochs"] == 3
    assert record.attributes["trainings"] == 1
    assert record.attributes["seconds"] > 0


@pytest.mark.parametrize("workers", [1, 2])
def test_writes_every_report_at_its_step(search, tmp_path, workers):
    search(workers=workers)
    study = read_study("search", storage=f"sqlite:///{tmp_path}/study.db")
    for trial in study.get_trials():
        assert sorted(trial.intermediate_values) == [0, 1, 2]
        assert trial.intermediate_values[2] == pytest.approx(trial.value)


def test_going_on_with_a_finished_search_trains_nothing(search, log):
    search()
    before = trained(log)
    run = search()
    assert (run.ending, run.trials) == (Ending.DONE, 0)
    assert trained(log) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pruner_stops_trials_and_their_curves_stay(search, tmp_path, workers):
    pruner = optuna.pruners.ThresholdPruner(lower=0.5, n_warmup_steps=1)
    run = search(workers=workers, study={"pruner": pruner})
    states = {record.subset: record.state for record in run.history}
    assert states[Subset(["a"])] is TrialState.PRUNED
    assert states[BEST] is TrialState.COMPLETE
    record = next(record for record in run.history if record.subset == Subset(["a"]))
    assert record.attributes["reason"] == "pruned after epoch 1 of fold 0"
    assert record.attributes["epochs"] == 2
    study = read_study("search", storage=f"sqlite:///{tmp_path}/study.db")
    assert sorted(study.get_trials()[record.number].intermediate_values) == [0, 1]


def test_a_minimised_objective_is_oriented(search, open_it):
    run = search(study={"directions": ("minimize",)})
    worst = max(run.history.scores.values(), key=lambda record: record.score)
    assert worst.subset == Subset(["c"])
    assert worst.score == pytest.approx(-truth(Subset(["c"])))


def test_what_a_limit_rules_out_is_recorded_and_not_trained(search, log):
    def why_not(subset):
        return f"units {len(subset)} > 2" if len(subset) > 2 else None

    run = search(why_not=why_not)
    assert all(len(name.split(",")) <= 2 for name in trained(log))
    ruled_out = [record for record in run.history if record.state is TrialState.PRUNED]
    assert len(ruled_out) == 5
    assert ruled_out[0].attributes["infeasible"] == "units 3 > 2"


def test_the_linear_probe_keeps_to_the_limits_as_all_others_do(search, log):
    run = search(strategy=Every([Subset()]), why_not=lambda subset: "task_bytes 20 < 50")
    assert not run.history.scores
    assert not trained(log)


def test_a_subset_that_breaks_a_measured_constraint_is_not_chosen(search):
    def factory(place):
        def job(proposal, report):
            added = 1.0 if proposal.subset == BEST else -1.0
            return TrialResult(values=(truth(proposal.subset),), constraints={"latency": added})

        return job

    run = search(factory=factory)
    assert BEST not in run.history.scores
    record = next(record for record in run.history if record.subset == BEST)
    assert record.state is TrialState.PRUNED
    assert record.attributes["constraints"] == {"latency": 1.0}
    assert record.attributes["feasible"] is False


@pytest.mark.parametrize("workers", [1, 2])
def test_the_budget_of_trials_holds_over_workers_and_resumptions(search, log, workers):
    run = search(workers=workers, budgets=Budgets(trials=5))
    assert run.ending is Ending.BUDGET
    assert len(run.history) == 5
    run = search(workers=workers, budgets=Budgets(trials=7))
    assert (len(run.history), run.trials) == (7, 2)


def test_the_budget_of_trainings_is_never_exceeded(search):
    run = search(workers=2, budgets=Budgets(trainings=7, trainings_per_trial=2))
    assert len(run.history) == 6  # each trained one fold; a seventh might have trained two
    run = search(workers=2, budgets=Budgets(trainings=7))
    assert (run.ending, run.trials) == (Ending.BUDGET, 1)


def test_the_budget_of_epochs_holds(search):
    run = search(workers=2, budgets=Budgets(epochs=10, epochs_per_trial=3))
    assert sum(record.attributes["epochs"] for record in run.history) == 9


def test_the_budget_of_seconds_ends_the_search(search):
    run = search(seconds=0.05, budgets=Budgets(seconds=0.4))
    assert run.ending is Ending.BUDGET
    assert 0 < len(run.history) < len(ALL)


def _suggested(trial):
    return Subset(unit for unit in UNITS if trial.suggest_categorical(unit, [False, True]))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sampler_that_repeats_itself_trains_nothing_twice(search, log, workers):
    sampler = optuna.samplers.RandomSampler(seed=1)
    run = search(
        workers=workers,
        study={"sampler": sampler},
        claimed=_suggested,
        budgets=Budgets(trials=40),
        seconds=0.002,
    )
    assert len(run.history) == 40
    assert {record.state for record in run.history} == {TrialState.COMPLETE}
    assert max(Counter(trained(log)).values()) == 1
    for record in run.history:
        assert record.score == pytest.approx(truth(record.subset))
        if "memo_of" in record.attributes:
            assert run.history[record.attributes["memo_of"]].subset == record.subset
            assert "epochs" not in record.attributes


def test_sampled_recipe_numbers_make_another_trial(search, log):
    run = search(
        study={"sampler": optuna.samplers.RandomSampler(seed=1)},
        claimed=lambda trial: Subset(["a"]),
        recipe=lambda trial: {"lr": trial.suggest_categorical("lr", [0.1, 0.2])},
        budgets=Budgets(trials=8),
    )
    assert trained(log) == ["{a}", "{a}"]
    assert {record.recipe["lr"] for record in run.history} == {0.1, 0.2}


def test_retrain_trains_known_subsets_again(search, log):
    search(
        study={"sampler": optuna.samplers.RandomSampler(seed=1)},
        claimed=lambda trial: Subset(["a"]),
        budgets=Budgets(trials=3),
        retrain=True,
    )
    assert trained(log) == ["{a}"] * 3


def test_a_sampler_without_a_budget_is_refused(search):
    with pytest.raises(SearchError, match="never ends"):
        search(study={"sampler": optuna.samplers.RandomSampler()}, claimed=_suggested)


def test_a_sampler_that_knows_nothing_new_ends(search, monkeypatch):
    monkeypatch.setattr("layersearch.execution.proposals.MAX_REPEATS", 10)
    run = search(
        study={"sampler": optuna.samplers.RandomSampler(seed=1)},
        claimed=lambda trial: Subset(["a"]),
        budgets=Budgets(trials=10_000),
    )
    assert run.ending is Ending.DONE
    assert "nothing new" in run.reason


def test_several_objectives_keep_their_curves(search):
    def factory(place):
        def job(proposal, report):
            report(Report(fold=0, epoch=0, score=0.5, step=0))
            return TrialResult(values=(truth(proposal.subset), float(len(proposal.subset))))

        return job

    run = search(factory=factory, study={"directions": ("maximize", "minimize")})
    assert run.history.scores[BEST].attributes["curve"] == {"0": 0.5}


def test_an_observer_sees_every_trial(search):
    watcher = Watcher()
    search(strategy=Every(ALL[:2]), observers=[watcher])
    assert [event[0] for event in watcher.events] == [
        *["started", "reported", "reported", "reported", "finished"] * 2
    ]


def test_an_observer_that_raises_is_dropped_and_the_search_goes_on(search):
    watcher = Watcher()
    watcher.on_report = lambda *_: 1 / 0
    with pytest.warns(UserWarning, match="Watcher raised ZeroDivisionError"):
        run = search(observers=[watcher])
    assert len(run.history.scores) == len(ALL)


def test_a_strategy_that_waits_for_nothing_is_an_error(search):
    class Waits(Every):
        def propose(self, history):
            from layersearch.strategies.protocol import Wait

            return Wait("something else")

    with pytest.raises(SearchError, match="nothing is running"):
        search(strategy=Waits())


def test_history_of_a_search_is_that_of_its_study(search, tmp_path):
    run = search()
    study = read_study("search", storage=f"sqlite:///{tmp_path}/study.db")
    assert [record.subset for record in history(study)] == [r.subset for r in run.history]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_strategy_calls_beaten_is_pruned_with_its_reason_and_curve(
    search, tmp_path, workers
):
    strategy = Eliminating()
    run = search(strategy=strategy, workers=workers, factory=in_two_folds)
    pruned = {r.subset: r for r in run.history if r.state is TrialState.PRUNED}
    assert set(pruned) == {subset for subset in ALL if truth(subset) < 0.5}
    record = pruned[Subset(["a"])]
    assert record.attributes["reason"] == "beaten by {b}: 30 points behind"
    assert record.attributes["trainings"] <= 2  # the fold after it may have begun
    study = read_study("search", storage=f"sqlite:///{tmp_path}/study.db")
    curve = study.get_trials()[record.number].intermediate_values
    assert curve[0] == pytest.approx(truth(Subset(["a"])))
    assert {tuple(part.places) for part in strategy.parts} == {tuple(range(0, 1000, 2))}
