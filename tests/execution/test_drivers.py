"""Whole drivers, run as processes of their own: killed, interrupted, two at a time."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from layersearch.space import TrialState
from layersearch.study import history, read_study
from tests.execution.jobs import ALL, BEST, trained

ROOT = Path(__file__).parents[2]


def drive(folder, *, workers=2, seconds=0.0, join=False):
    command = [sys.executable, "-m", "tests.execution.drive", str(folder), str(workers)]
    return subprocess.Popen(
        [*command, str(seconds), *(["join"] if join else [])],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    said, _ = process.communicate(timeout=120)
    return said.strip()


def wait_until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def pids(folder):
    lines = (folder / "trained.log").read_text().splitlines()
    return {int(line.split()[0]) for line in lines}


def runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_driver_loses_nothing_and_the_same_command_goes_on(tmp_path):
    log = tmp_path / "trained.log"
    first = drive(tmp_path, seconds=0.1)
    wait_until(lambda: len(trained(log)) >= 6)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    first.stdout.close()
    workers = pids(tmp_path)
    wait_until(lambda: not any(runs(pid) for pid in workers))  # workers die with their driver
    before = history(read_study("search", directory=tmp_path))
    begun = trained(log)
    assert before.running

    assert finish(drive(tmp_path)) == f"done {BEST}"
    after = history(read_study("search", directory=tmp_path))
    assert not after.running
    complete = Counter(r.subset for r in after if r.state is TrialState.COMPLETE)
    assert complete == Counter(ALL)
    orphans = [after[record.number] for record in before if record.state is TrialState.RUNNING]
    assert all(record.attributes["interrupted"] for record in orphans)
    # What had a score was not trained again, what was cut short was.
    again = Counter(trained(log)) - Counter(str(subset) for subset in ALL)
    assert set(again) <= {str(record.subset) for record in orphans}
    assert len(begun) <= len(trained(log))


def test_a_second_driver_is_refused_and_told_who_holds_the_study(tmp_path):
    first = drive(tmp_path, workers=1, seconds=0.3)
    wait_until((tmp_path / "trained.log").exists)
    second = drive(tmp_path, workers=1)
    said = finish(second)
    assert second.returncode == 1
    assert f"'search' is held by process {first.pid} on" in said
    assert "study.join=true" in said
    os.kill(first.pid, signal.SIGINT)
    assert finish(first).startswith("interrupted")


def test_drivers_that_join_share_the_work_and_train_no_subset_twice(tmp_path):
    drivers = [drive(tmp_path, workers=1, seconds=0.1, join=True) for _ in range(2)]
    said = [finish(driver) for driver in drivers]
    assert said == [f"done {BEST}"] * 2
    assert Counter(trained(tmp_path / "trained.log")) == Counter(str(subset) for subset in ALL)
    assert len(pids(tmp_path)) == 2


@pytest.mark.slow
def test_a_driver_that_joined_goes_on_with_the_trials_of_one_that_was_killed(tmp_path, monkeypatch):
    log = tmp_path / "trained.log"
    victim = drive(tmp_path, workers=1, seconds=0.3, join=True)
    wait_until(lambda: len(trained(log)) >= 2)
    other = drive(tmp_path, workers=1, seconds=0.1, join=True)
    wait_until(lambda: len(pids(tmp_path)) == 2)
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    assert finish(other) == f"done {BEST}"
    after = history(read_study("search", directory=tmp_path))
    assert set(after.scores) == set(ALL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_driver_ends_it_in_order(tmp_path, number):
    process = drive(tmp_path, seconds=0.1)
    wait_until(lambda: len(trained(tmp_path / "trained.log")) >= 4)
    os.kill(process.pid, number)
    assert finish(process).startswith("interrupted {")
    assert process.returncode == 0
    assert not history(read_study("search", directory=tmp_path)).running
    assert not any(runs(pid) for pid in pids(tmp_path))


def test_ctrl_c_of_a_terminal_reaches_the_driver_alone(tmp_path):
    """The whole process group gets the signal; workers are groups of their own."""
    process = drive(tmp_path, seconds=0.1)
    wait_until(lambda: len(trained(tmp_path / "trained.log")) >= 4)
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process).startswith("interrupted {")
    records = history(read_study("search", directory=tmp_path))
    assert not any(record.attributes.get("lost") for record in records)


def test_two_signals_end_the_driver_at_once(tmp_path):
    process = drive(tmp_path, seconds=30.0)
    wait_until((tmp_path / "trained.log").exists)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    finish(process)
    assert process.returncode == 130
    assert not history(read_study("search", directory=tmp_path)).running
    assert not any(runs(pid) for pid in pids(tmp_path))
