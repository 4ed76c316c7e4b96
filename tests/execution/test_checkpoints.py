"""Running trials keep their state, and what was interrupted goes on from it."""

import json
import os
import signal
from collections import Counter
from pathlib import Path

import optuna
import pytest

from layersearch.errors import TrialStopped
from layersearch.execution import Budgets, Ending, InProcessPool, ProcessPool, make_places
from layersearch.execution import checkpoints as module
from layersearch.execution.checkpoints import Checkpoints
from layersearch.execution.messages import Failed, Finished
from layersearch.space import Subset, TrialState
from layersearch.space.trial import Proposal, Report, WorkerPlace
from tests.disks import fill
from tests.execution.doubles import Every, Watcher
from tests.execution.jobs import ALL, BEST, Resumable, epochs_trained, truth

A, B = Subset(["a"]), Subset(["b"])
SOME = Every(ALL[:6])
ONCE = Counter(f"{subset} {epoch}" for subset in SOME.subsets for epoch in range(6))


@pytest.fixture
def kept(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", every=0, key="k")


@pytest.fixture
def watcher():
    return Watcher()


@pytest.fixture
def go(search, log, kept, watcher):
    """Runs six subsets of six epochs each, resumably."""

    def go(workers=1, *, checkpoints=kept, strategy=SOME, pool=None, **job):
        options = {} if pool is None else {"pool": pool}
        return search(
            strategy=strategy,
            workers=workers,
            factory=Resumable(log, **job),
            checkpoints=checkpoints,
            observers=[watcher],
            **options,
        )

    return go


def of(run, subset):
    return [record for record in run.history if record.subset == subset]


def spent(run, name):
    return sum(record.attributes.get(name, 0) for record in run.history)


def curves(folder):
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{folder}/study.db")
    return [trial.intermediate_values for trial in study.trials]


def files(checkpoints):
    folder = checkpoints.directory
    return sorted(folder.iterdir()) if folder.exists() else []


# --- What is interrupted goes on ------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, 3, 5])
def test_the_trial_of_a_killed_worker_goes_on_from_its_last_checkpoint(
    go, log, kept, tmp_path, epoch
):
    run = go(workers=2, faults={A: (epoch, "sigkill")})
    assert run.ending is Ending.DONE
    assert Counter(epochs_trained(log)) == ONCE
    lost, again = of(run, A)
    assert lost.attributes["lost"]
    assert again.score == pytest.approx(truth(A))
    assert sorted(curves(tmp_path)[again.number]) == list(range(6))  # all of it, in one trial
    assert files(kept) == []


def test_what_a_resumed_trial_repeats_is_counted_once(go):
    run = go(workers=2, faults={A: (2, "sigkill"), B: (4, "sigkill")})
    assert spent(run, "epochs") == 6 * 6
    assert spent(run, "trainings") == 6 * 2
    assert [record.attributes["epochs"] for record in of(run, A)] == [2, 4]
    assert [record.attributes["trainings"] for record in of(run, A)] == [1, 1]
    assert [record.attributes["trainings"] for record in of(run, B)] == [2, 0]


@pytest.mark.parametrize("in_process", [True, False])
def test_ctrl_c_keeps_what_the_running_trials_have(go, log, kept, watcher, in_process):
    def interrupt(proposal, report):
        if proposal.number == 2 and report.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    watcher.on_report = interrupt
    rarely = Checkpoints(kept.directory, every=3600, key="k")
    pool = None if in_process else ProcessPool(make_places(2, threads=1))
    run = go(checkpoints=rarely, seconds=0.0 if in_process else 0.3, pool=pool)
    assert run.ending is Ending.INTERRUPTED
    assert 1 <= len(files(kept)) <= 2
    run = go(checkpoints=rarely)
    assert run.ending is Ending.DONE
    assert Counter(epochs_trained(log)) == ONCE
    assert spent(run, "epochs") == 6 * 6
    assert spent(run, "trainings") == 6 * 2
    assert files(kept) == []


def test_the_best_is_the_same_as_undisturbed(go):
    everything = Every()
    faults = {ALL[3]: (1, "sigkill"), ALL[9]: (4, "sigkill"), BEST: (5, "sigkill")}
    run = go(workers=2, strategy=everything, faults=faults)
    assert everything.answer(run.history) == BEST
    scored = Counter(r.subset for r in run.history if r.state is TrialState.COMPLETE)
    assert scored == Counter(ALL)


def test_epochs_of_a_driver_that_died_are_counted_by_the_trial_that_resumes(go, kept):
    """The orphan says nothing of what it spent."""
    state = {"subset": str(A), "scores": [truth(A) * (epoch + 1) / 6 for epoch in range(4)]}
    kept.write(Proposal(number=0, subset=A), json.dumps(state).encode())
    run = go()
    (record,) = of(run, A)
    assert (record.attributes["epochs"], record.attributes["trainings"]) == (6, 2)


# --- Files that cannot be used (case 9) -----------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def put_a_pickle(path: Path) -> None:
    path.write_bytes(b"\x80\x04\x95" + bytes(99))


def make_unreadable(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut, flip, empty, put_a_pickle, make_unreadable])
def test_a_damaged_checkpoint_is_told_of_and_the_trial_starts_over(go, kept, watcher, damage, log):
    state = json.dumps({"subset": str(A), "scores": [9.9, 9.9]}).encode()
    proposal = Proposal(number=0, subset=A)
    kept.write(proposal, state)
    damage(kept.path(proposal))
    run = go()
    assert Counter(epochs_trained(log)) == ONCE
    assert of(run, A)[0].score == pytest.approx(truth(A))
    told = [text for text in watcher.messages if "the trial starts over" in text]
    assert len(told) == 1
    assert str(kept.path(proposal)) in told[0]


def test_the_checkpoint_of_another_trial_is_not_used(go, kept, watcher, log):
    state = json.dumps({"subset": str(A), "scores": [9.9]}).encode()
    kept.write(Proposal(number=0, subset=B), state)
    kept.path(Proposal(number=0, subset=B)).rename(kept.path(Proposal(number=0, subset=A)))
    go()
    assert Counter(epochs_trained(log)) == ONCE
    assert any("is damaged and not used" in text for text in watcher.messages)


def test_a_state_that_the_job_refuses_is_not_used(go, kept, watcher, log):
    kept.write(Proposal(number=0, subset=A), json.dumps({"subset": "other"}).encode())
    run = go()
    assert Counter(epochs_trained(log)) == ONCE
    assert of(run, A)[0].state is TrialState.COMPLETE
    assert any("is not used (of another trial)" in text for text in watcher.messages)


def test_a_search_of_something_else_finds_no_checkpoint(kept):
    proposal = Proposal(number=0, subset=A, recipe={"lr": 0.1})
    kept.write(proposal, b"state")
    assert kept.read(proposal) == (b"state", "")
    assert kept.read(Proposal(number=5, subset=A, recipe={"lr": 0.1})) == (b"state", "")
    assert kept.read(Proposal(number=0, subset=A, recipe={"lr": 0.2})) == (None, "")
    assert kept.read(Proposal(number=0, subset=B, recipe={"lr": 0.1})) == (None, "")
    assert Checkpoints(kept.directory, key="other").read(proposal) == (None, "")


# --- A full disk (case 8) -------------------------------------------------------------------------


def test_trials_go_on_when_the_disk_is_full_and_say_so_once(go, small_disk, watcher, log):
    full = Checkpoints(small_disk / "checkpoints", every=0, key="k")
    full.directory.mkdir()
    fill(small_disk)
    run = go(workers=2, checkpoints=full, padding=10_000)
    assert run.ending is Ending.DONE
    assert len(run.history.scores) == 6
    assert Counter(epochs_trained(log)) == ONCE
    told = [text for text in watcher.messages if "No space left on device" in text]
    assert len(told) == 1
    assert str(full.directory) in told[0]


def test_a_full_disk_leaves_the_checkpoint_before_it(small_disk):
    full = Checkpoints(small_disk / "checkpoints", every=0, key="k")
    proposal = Proposal(number=0, subset=A)
    full.write(proposal, b"x" * 50_000)
    fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        full.write(proposal, b"y" * 80_000)
    assert full.read(proposal) == (b"x" * 50_000, "")
    assert len(files(full)) == 1


def test_an_interruption_says_that_its_state_is_lost(small_disk):
    full = Checkpoints(small_disk / "checkpoints", every=0, key="k")
    full.directory.mkdir()
    fill(small_disk)

    def report(said):
        raise TrialStopped("interrupted", pruned=False)

    job = full.wrap(Resumable(small_disk.parent / "log", padding=10_000))(WorkerPlace(number=0))
    with pytest.raises(TrialStopped, match=r"interrupted; .*No space left on device"):
        job(Proposal(number=0, subset=A), report)


# --- When there is one, and how long --------------------------------------------------------------


@pytest.mark.parametrize("fault", ["raise", "stop"])
def test_a_trial_that_failed_or_was_pruned_leaves_no_checkpoint(search, log, kept, fault):
    run = search(
        strategy=Every(ALL[:2]),
        factory=Resumable(log, faults={ALL[1]: (3, fault)}),
        checkpoints=kept,
        budgets=Budgets(trials=2),
    )
    assert run.ending in {Ending.BUDGET, Ending.DONE}
    assert run.history[1].state in {TrialState.FAILED, TrialState.PRUNED}
    assert list(kept.directory.glob("*.ckpt")) == []


def test_a_trial_that_hung_starts_over(search, log, kept):
    """What hung might hang again from where it was."""
    run = search(
        strategy=Every([A]),
        factory=Resumable(log, faults={A: (3, "hang")}),
        checkpoints=kept,
        timeout=2.0,
        max_failures=3,
        retrain=True,
        budgets=Budgets(trials=2),
    )
    assert run.history[0].state is TrialState.FAILED
    assert list(kept.directory.glob("*.ckpt")) == []


def test_the_end_of_a_search_clears_what_is_stale_and_nothing_else(go, kept):
    kept.write(Proposal(number=0, subset=Subset(["d"])), b"of a trial that nobody asks for again")
    (kept.directory / ".aside.0123.part").write_bytes(b"half")
    (kept.directory / "notes.txt").write_text("the user's own")
    go()
    assert [path.name for path in files(kept)] == ["notes.txt"]


def test_without_a_folder_nothing_is_kept(go, log, tmp_path):
    nothing = Checkpoints(None)
    nothing.write(Proposal(number=0, subset=A), b"state")
    nothing.clear()
    assert nothing.read(Proposal(number=0, subset=A)) == (None, "")
    run = go(workers=2, checkpoints=nothing, faults={A: (3, "sigkill")})
    assert run.ending is Ending.DONE
    assert Counter(epochs_trained(log))[f"{A} 0"] == 2  # it started over


def _written(monkeypatch, tmp_path, *, every, cost, epochs=100, trials=1):
    """Epochs of a second after which a checkpoint was written, each taking `cost` seconds."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    kept = Checkpoints(tmp_path / "c", every=every)
    written = []

    def snapshot():
        now[0] += cost
        return b"state"

    def job(proposal, report):
        for epoch in range(epochs):
            now[0] += 1.0
            before = now[0]
            report(Report(fold=0, epoch=epoch, score=0.0, step=epoch, snapshot=snapshot))
            if now[0] > before:
                written.append(epoch)

    resumable = kept.wrap(lambda place: job)(WorkerPlace(number=0))
    for number in range(trials):
        resumable(Proposal(number=number, subset=A), lambda _: None)
    return written


def test_checkpoints_are_no_more_frequent_than_asked(monkeypatch, tmp_path):
    assert _written(monkeypatch, tmp_path, every=30.0, cost=0.001) == [29, 59, 89]


def test_checkpoints_take_no_more_than_a_hundredth(monkeypatch, tmp_path):
    assert _written(monkeypatch, tmp_path, every=10.0, cost=0.5) == [9, 59]


def test_a_worker_knows_from_its_last_trial_what_a_checkpoint_takes(monkeypatch, tmp_path):
    written = _written(monkeypatch, tmp_path, every=10.0, cost=0.5, epochs=55, trials=2)
    assert written == [9, 49]


# --- Out of memory (case 12) ----------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_trial_that_memory_does_not_take_runs_again_in_smaller_parts(search, log, workers):
    run = search(
        strategy=Every([A]),
        factory=Resumable(log, fits=4),
        workers=workers,
        smaller_batches=True,
    )
    *tried, last = run.history
    assert [record.attributes["batch_parts"] for record in tried] == [2, 4]
    assert all(record.attributes["interrupted"] for record in tried)
    assert last.score == pytest.approx(truth(A))
    assert {line.rsplit(" ", 1)[1] for line in log.read_text().splitlines()} == {"4"}


def test_what_memory_takes_is_remembered_by_the_next_driver(search, log, watcher):
    def interrupt(proposal, report):
        os.kill(os.getpid(), signal.SIGINT)

    watcher.on_report = interrupt
    job = Resumable(log, fits=2)
    first = search(strategy=Every([A]), factory=job, smaller_batches=True, observers=[watcher])
    assert first.ending is Ending.INTERRUPTED
    run = search(strategy=Every([A]), factory=job, smaller_batches=True)
    assert [record.attributes.get("batch_parts") for record in run.history] == [2, None, None]


def test_a_trial_that_memory_never_takes_fails_in_the_end(search, log):
    run = search(
        strategy=Every([A, B]),
        factory=Resumable(log, fits=0),
        smaller_batches=True,
        budgets=Budgets(trials=1),
    )
    assert [record.attributes.get("batch_parts") for record in run.history] == [2, 4, 8, None]
    assert "interrupted" not in run.history[-1].attributes


def test_a_trial_that_memory_does_not_take_fails_where_that_is_asked_for(search, log):
    run = search(strategy=Every([A]), factory=Resumable(log, fits=2), budgets=Budgets(trials=1))
    (record,) = run.history
    assert record.state is TrialState.FAILED
    assert "set execution.out_of_memory to smaller_batch" in record.attributes["reason"]


@pytest.mark.parametrize("local", [True, False])
def test_the_worker_is_fresh_after_it_ran_out_of_memory(local):
    def factory(place):
        made = os.urandom(8)

        def job(proposal, report):
            from layersearch.space.trial import TrialResult

            if proposal.number == 0:
                raise MemoryError
            return TrialResult(values=(0.0,), attributes={"made": made, "pid": os.getpid()})

        job.made = made
        return job

    pool = InProcessPool() if local else ProcessPool(make_places(1, threads=1))
    try:
        pool.start(factory)
        before = pool.pids[0] if not local else pool._job.made
        events = []
        for number in range(2):
            pool.submit(Proposal(number=number, subset=A), answered=True)
            while len(events) <= number or not pool.free:
                pool.wait(events.append, seconds=0.1)
        failed, finished = events
        assert isinstance(failed, Failed)
        assert (failed.out_of_memory, failed.splittable) == (True, False)
        assert isinstance(finished, Finished)
        assert finished.result.attributes["made" if local else "pid"] != before
    finally:
        pool.close(now=True)
