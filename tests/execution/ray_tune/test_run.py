"""A search by Ray Tune gives what a search by local workers gives."""

import os
import signal
import threading
from collections import Counter
from pathlib import Path

import optuna
import pytest

from layersearch.errors import SearchError
from layersearch.execution import Budgets, Ending
from layersearch.execution.checkpoints import Checkpoints
from layersearch.space import Subset, TrialState
from layersearch.space.trial import TrialResult
from layersearch.strategies import Greedy, every_subset
from layersearch.strategies.optuna_adapter import StrategySampler, SubsetSampler
from layersearch.study import history
from tests.execution.doubles import SPACE, Eliminating, Every, Watcher
from tests.execution.jobs import ALL, BEST, in_two_folds, trained, truth
from tests.execution.ray_tune.stateful import Stateful, epochs_trained

A = Subset(["a"])


def of(run, subset):
    return [record for record in run.history if record.subset == subset]


def chosen(run):
    return max(run.history.scores.values(), key=lambda record: record.score).subset


def test_every_subset_is_trained_once_and_its_curve_is_in_the_study(search, open_it, log):
    opened = open_it()
    run = search(opened=opened, workers=None, cluster={"cpus": 2.0}, seconds=0.1)
    assert run.ending is Ending.DONE
    assert Counter(trained(log)) == Counter(map(str, ALL))
    assert run.history.scores[BEST].score == truth(BEST)
    trial = opened.study.get_trials()[of(run, BEST)[0].number]
    assert sorted(trial.intermediate_values) == [0, 1, 2]
    assert run.history.scores[BEST].attributes["epochs"] == 3
    # As many workers as there is room for, used for one trial after the other.
    assert 1 <= len({line.split()[0] for line in log.read_text().splitlines()}) <= 2


@pytest.mark.slow
def test_what_a_strategy_calls_beaten_is_pruned(search):
    run = search(strategy=Eliminating(), factory=in_two_folds)
    pruned = {r.subset: r for r in run.history if r.state is TrialState.PRUNED}
    assert set(pruned) == {subset for subset in ALL if truth(subset) < 0.5}
    assert {r.attributes["reason"] for r in pruned.values()} == {"beaten by {b}: 30 points behind"}


@pytest.mark.slow
def test_a_search_goes_on_where_it_stopped(search, log):
    run = search(strategy=Every(), budgets=Budgets(trials=5))
    assert run.ending is Ending.BUDGET
    run = search()
    assert run.ending is Ending.DONE
    assert Counter(trained(log)) == Counter(map(str, ALL))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.slow
def test_greedy_with_its_waits_and_its_speculation_answers_as_it_does_locally(search, workers):
    sampler = StrategySampler(Greedy(SPACE, stop="paper"), SPACE, read_history=history)
    run = search(study={"sampler": sampler}, workers=workers)
    assert run.ending is Ending.DONE
    assert sampler.answer(run.history) == BEST


@pytest.mark.slow
def test_workers_are_kept_while_the_last_trials_of_a_round_run(search, log):
    greedy = Greedy(SPACE, stop="paper", speculate=0)
    sampler = StrategySampler(greedy, SPACE, read_history=history)
    search(study={"sampler": sampler}, workers=4, seconds=0.5)
    pids = [line.split()[0] for line in log.read_text().splitlines()]
    assert len(set(pids[4:7])) == 3  # the second round: as many candidates, each at once
    assert set(pids) == set(pids[:4])


@pytest.mark.slow
def test_the_exhaustive_search_ends(search):
    sampler = StrategySampler(every_subset(SPACE), SPACE, read_history=history)
    run = search(study={"sampler": sampler})
    assert sampler.answer(run.history) == BEST
    assert len(run.history.scores) == 16


@pytest.mark.slow
def test_tpe_runs_within_its_budget(search):
    sampler = SubsetSampler(SPACE, optuna.samplers.TPESampler(seed=0), read_history=history)
    run = search(study={"sampler": sampler}, budgets=Budgets(trials=10))
    assert run.ending is Ending.BUDGET
    assert len(run.history.scores) == 10


@pytest.mark.slow
def test_the_studys_pruner_prunes(search, open_it):
    opened = open_it(pruner=optuna.pruners.MedianPruner(n_startup_trials=3))
    run = search(opened=opened, workers=1)
    states = Counter(record.state for record in run.history)
    assert states[TrialState.PRUNED] > 0
    assert chosen(run) == BEST


# --- Faults of the job ----------------------------------------------------------------------------


def test_trials_that_fail_are_recorded_with_their_reasons_and_the_search_goes_on(search):
    faults = {
        "nan": "the score is nan",
        "report nan": "the score is nan; a finite number is needed, after epoch 0 of fold 0",
        "raise": "ValueError: a fault of the job",
        "sys.exit": "SystemExit: 3",
    }
    bad = dict(zip(ALL[1:8:2], faults, strict=True))
    run = search(bad, strategy=Every(ALL[:9]), max_failures=9)
    for subset, fault in bad.items():
        assert [record.state for record in of(run, subset)] == [TrialState.FAILED] * 2
        assert of(run, subset)[0].attributes["reason"].startswith(faults[fault])
    assert len(run.history.scores) == 5


@pytest.mark.slow
def test_the_search_stops_when_every_trial_fails_and_shows_the_first_traceback(search, open_it):
    opened = open_it()
    with pytest.raises(SearchError, match=r"(?s)3 subsets failed.*a fault of the job"):
        search(dict.fromkeys(ALL, "raise"), opened=opened)
    assert not opened.history().running


@pytest.mark.slow
def test_a_factory_that_fails_ends_the_search_with_its_traceback(search, open_it):
    def factory(place):
        raise RuntimeError("no such weights")

    opened = open_it()
    with pytest.raises(SearchError, match=r"(?s)could not make its job.*no such weights"):
        search(factory=factory, opened=opened)
    assert not opened.history().running


def test_a_factory_that_cannot_be_sent_is_refused(search):
    lock = threading.Lock()

    def factory(place):
        with lock:
            return lambda proposal, report: None

    with pytest.raises(SearchError, match=r"the job cannot be sent"):
        search(factory=factory)


@pytest.mark.slow
def test_a_result_that_cannot_be_sent_fails_its_trial(search):
    def factory(place):
        def job(proposal, report):
            extra = {"lock": threading.Lock()} if proposal.subset == A else {}
            return TrialResult(values=(truth(proposal.subset),), attributes=extra)

        return job

    run = search(factory=factory, strategy=Every(ALL[:3]))
    assert "cannot be sent" in of(run, A)[0].attributes["reason"]
    assert len(run.history.scores) == 2


# --- Workers that die or hang ---------------------------------------------------------------------


def test_a_killed_workers_trial_is_interrupted_and_its_subset_runs_again(search, log):
    run = search({A: "sigkill", BEST: "exit"}, once=True)
    for subset in (A, BEST):
        states = [record.state for record in of(run, subset)]
        assert states == [TrialState.FAILED, TrialState.COMPLETE]
        lost = of(run, subset)[0].attributes
        assert lost["interrupted"] is True
        assert "worker died" in lost["reason"]
    counts = Counter(trained(log))
    assert counts == Counter({str(subset): 1 for subset in ALL} | {str(A): 2, str(BEST): 2})
    assert chosen(run) == BEST


@pytest.mark.slow
def test_a_trial_that_hangs_fails_and_its_worker_is_replaced(search, log):
    run = search({A: "hang"}, strategy=Every(ALL[:4]), timeout=1.0, workers=1)
    assert "no report for 1 s (execution.trial_timeout)" in of(run, A)[0].attributes["reason"]
    assert "interrupted" not in of(run, A)[0].attributes
    assert len(run.history.scores) == 3
    pids = {line.split()[0] for line in log.read_text().splitlines()}
    assert len(pids) > 1


# --- Interruptions --------------------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_records_what_runs_and_the_search_can_go_on(search, log):
    watcher = Watcher()

    def interrupt(proposal, report):
        if proposal.number == 4 and report.epoch == 0:
            os.kill(os.getpid(), signal.SIGINT)

    watcher.on_report = interrupt
    run = search(seconds=0.02, observers=[watcher])
    assert run.ending is Ending.INTERRUPTED
    assert "run the same command again" in run.reason
    assert not run.history.running
    run = search()
    assert run.ending is Ending.DONE
    finished = [record.subset for record in run.history if record.state is TrialState.COMPLETE]
    assert Counter(finished) == Counter(ALL)


@pytest.mark.slow
def test_ctrl_c_twice_stops_at_once_and_leaves_nothing_running(search, open_it):
    opened = open_it()
    watcher = Watcher()
    watcher.on_report = lambda *_: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt):
        search({ALL[1]: "hang"}, observers=[watcher], opened=opened)
    assert not opened.history().running


@pytest.mark.slow
def test_the_handlers_of_signals_are_put_back(search):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    search(strategy=Every(ALL[:1]))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# --- Resources ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_resources_that_nobody_has_are_waited_for_said_and_given_up(search, open_it):
    opened = open_it()
    watcher = Watcher()
    cluster = {"gpus": 2.0, "resource_timeout": 2.0}
    with pytest.raises(SearchError, match=r"2 CPUs|1 CPU and 2 GPUs, and no node has so much"):
        search(opened=opened, cluster=cluster, observers=[watcher])
    assert any("waiting for resources" in text for text in watcher.messages)
    assert not opened.history().running
    assert not opened.history().scores


@pytest.mark.slow
def test_paths_of_the_user_stay_what_they_are(search, tmp_path):
    here = Path.cwd()

    def factory(place):
        def job(proposal, report):
            (tmp_path / "where").write_text(str(Path.cwd()))
            return TrialResult(values=(0.5,))

        return job

    search(factory=factory, strategy=Every(ALL[:1]))
    assert (tmp_path / "where").read_text() == str(here)


@pytest.mark.slow
def test_trials_that_share_a_gpu_are_told_so_and_see_no_other(search, tmp_path):
    def factory(place):
        def job(proposal, report):
            seen = os.environ["CUDA_VISIBLE_DEVICES"]
            line = f"{place.device} {place.workers_on_device} {place.threads} {seen}"
            (tmp_path / f"{proposal.number}.place").write_text(line)
            return TrialResult(values=(0.5,))

        return job

    run = search(factory=factory, strategy=Every(ALL[:4]), workers=None, cluster={"gpus": 0.5})
    assert run.ending is Ending.DONE
    places = {path.read_text() for path in tmp_path.glob("*.place")}
    assert places == {"cuda:0 2 1 0"}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_a_trial_that_is_cut_short_goes_on_from_its_checkpoint(search, log, tmp_path, how):
    watcher = Watcher()

    def cut(proposal, report):
        if proposal.number == 2 and report.epoch == 3:
            number = signal.SIGINT if how == "interrupted" else signal.SIGKILL
            os.kill(os.getpid() if how == "interrupted" else int(pid.read_text()), number)

    pid = tmp_path / "pid"
    watcher.on_report = cut
    kept = {"factory": Stateful(log, seconds=0.1, pid=pid), "budgets": Budgets(epochs_per_trial=9)}
    kept |= {"checkpoints": Checkpoints(tmp_path / "kept", every=0.0), "workers": 1}
    run = search(strategy=Every(ALL[:4]), observers=[watcher], **kept)
    if how == "interrupted":
        assert run.ending is Ending.INTERRUPTED
        run = search(strategy=Every(ALL[:4]), **kept)
    assert len(run.history.scores) == 4
    counts = Counter(epochs_trained(log))
    assert len(counts) == 4 * 9
    # At most the epoch that was being trained when its worker was killed.
    assert sum(counts.values()) - 4 * 9 <= (how == "killed")
    assert not list((tmp_path / "kept").glob("*"))
