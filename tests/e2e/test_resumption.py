"""Real trainings, killed in the middle of a trial, end as undisturbed ones (cases 1, 2 and 18)."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import environment
from tests.e2e.held import EPOCHS, FOLDS, HELD, LOOK, search, validated
from tests.e2e.small import trials_of

pytestmark = pytest.mark.slow
AT = EPOCHS + 8  # the epoch at which the trial is held up, in its second fold


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    before = Path.cwd()
    os.chdir(folder)
    try:
        return scores(search("quiet", 1).folder.resolve())
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def undisturbed_race(tmp_path_factory):
    folder = tmp_path_factory.mktemp("race")
    before = Path.cwd()
    os.chdir(folder)
    try:
        found = scores(search("quiet", 1, race=True).folder.resolve())
        return found, len((folder / "validated.log").read_text().splitlines())
    finally:
        os.chdir(before)


def scores(folder):
    """Everything that was found of each subset, to the last bit; none was trained twice."""
    done = [
        trial
        for trial in trials_of(folder)
        if trial.state.name == "COMPLETE" or ("look" in trial.user_attrs and trial.values)
    ]
    trained = [trial for trial in done if "memo_of" not in trial.user_attrs]
    found = {
        (*trial.user_attrs["subset"], trial.user_attrs.get("look")): (
            trial.values,
            trial.user_attrs["fold_scores"],
            trial.intermediate_values,
        )
        for trial in trained
    }
    assert len(found) == len(trained)
    return found


class Held:
    """A search in a process of its own, whose trial waits at epoch AT."""

    def __init__(self, folder, *, workers, at=AT, words=()):
        self.folder, self.workers, self.words = folder, workers, words
        (folder / "hold").write_text(str(at))
        self.process = self.start()
        self.wait_for(lambda: len(validated(folder)) >= at)

    def start(self):
        command = [sys.executable, "-m", "tests.e2e.held", "noisy", str(self.workers), *self.words]
        with (self.folder / "out").open("a") as out:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment(), stdout=out, stderr=out
            )

    def wait_for(self, condition):
        while not condition():
            assert self.process.poll() is None, (self.folder / "out").read_text()
            time.sleep(0.05)

    def release(self):
        (self.folder / "hold").unlink()

    def end(self):
        assert self.process.wait(timeout=300) == 0, (self.folder / "out").read_text()

    @property
    def study(self):
        return self.folder / "runs" / "noisy"


@pytest.fixture
def held(tmp_path):
    started = []

    def held(workers, **how):
        started.append(Held(tmp_path, workers=workers, **how))
        return started[-1]

    yield held
    for one in started:
        one.process.kill()
        one.process.wait()


def check(held, undisturbed, *, lost):
    """That nothing is lost but `lost` epochs, nothing is counted twice, and no file is left."""
    assert scores(held.study) == undisturbed
    assert len(validated(held.folder)) == EPOCHS * FOLDS + lost
    assert not (held.study / "checkpoints").exists()
    held_up = [t for t in trials_of(held.study) if t.user_attrs["subset"] == [HELD.strip("{}")]]
    spent = [trial.user_attrs.get("epochs", 0) for trial in held_up]
    assert sum(spent) == EPOCHS * FOLDS
    assert sum(trial.user_attrs.get("trainings", 0) for trial in held_up) == FOLDS


def test_a_killed_worker(held, undisturbed):
    search = held(workers=2)
    worker = validated(search.folder)[-1]
    assert worker != search.process.pid
    os.kill(worker, signal.SIGKILL)
    search.release()
    search.end()
    check(search, undisturbed, lost=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_driver(held, undisturbed, workers):
    search = held(workers=workers)
    search.process.kill()
    search.process.wait()
    assert list((search.study / "checkpoints").glob("*.ckpt"))
    search.release()
    search.process = search.start()
    search.end()
    check(search, undisturbed, lost=1)


def test_an_interrupted_search_goes_on_at_the_very_epoch(held, undisturbed):
    search = held(workers=1)
    search.process.send_signal(signal.SIGINT)
    search.wait_for(lambda: "press Ctrl-C again" in (search.folder / "out").read_text())
    search.release()
    search.process.wait(timeout=300)
    search.process = search.start()
    search.end()
    check(search, undisturbed, lost=0)


def test_an_interrupted_race_goes_on_in_the_middle_of_a_look(held, undisturbed_race):
    found, epochs = undisturbed_race
    assert {key[-1] for key in found} == {LOOK, None}  # looks, then finalists
    search = held(workers=1, at=LOOK + 4, words=["race"])  # in the second fold of a look
    search.process.send_signal(signal.SIGINT)
    search.wait_for(lambda: "press Ctrl-C again" in (search.folder / "out").read_text())
    search.release()
    search.process.wait(timeout=300)
    assert not any(t.state.name == "COMPLETE" for t in trials_of(search.study))
    search.process = search.start()
    search.end()
    assert scores(search.study) == found
    assert len((search.folder / "validated.log").read_text().splitlines()) == epochs
    assert not (search.study / "checkpoints").exists()
