import os
import signal
import subprocess
import sys
import time

import pytest
from optuna.storages.journal import JournalFileSymlinkLock

from layersearch.study import journal_lock
from layersearch.study.journal_lock import JournalLock
from layersearch.study.troubles import JournalBusy

HOLD = """
import sys, time
from pathlib import Path
from layersearch.study.journal_lock import JournalLock
with JournalLock(Path(sys.argv[1])).held():
    print("held", flush=True)
    time.sleep(3600)
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "study.log"
    path.touch()
    return path


@pytest.fixture
def holder(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_it_is_held_by_one_at_a_time_and_says_by_whom(path, holder):
    with (
        pytest.raises(JournalBusy, match=rf"process {holder.pid} on .* holds it"),
        JournalLock(path, patience=0.1).held(),
    ):
        pass


def test_a_killed_process_is_not_waited_for(path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert path.with_name("study.log.lock").is_symlink()
    with JournalLock(path, patience=0.0).held():
        pass
    assert not path.with_name("study.log.lock").is_symlink()


def test_optunas_own_lock_keeps_us_out_and_ours_keeps_it_out(path, monkeypatch):
    theirs = JournalFileSymlinkLock(str(path))
    theirs.acquire()
    with (
        pytest.raises(JournalBusy, match=r"another process holds study\.log\.lock"),
        JournalLock(path, patience=0.1).held(),
    ):
        pass
    theirs.release()
    with JournalLock(path).held(), pytest.raises(FileExistsError):
        path.with_name("study.log.lock").symlink_to(path)


def test_a_link_that_nobody_owns_is_broken_after_a_while(path, monkeypatch):
    monkeypatch.setattr(journal_lock, "GRACE", 0.2)
    path.with_name("study.log.lock").symlink_to(path)
    lock = JournalLock(path, patience=0.0)
    deadline = time.monotonic() + 60
    while True:  # as the storage does, which waits between its attempts
        try:
            with lock.held():
                break
        except JournalBusy:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_it_is_let_go_of_after_an_error(path):
    lock = JournalLock(path, patience=0.0)
    with pytest.raises(ValueError, match="oops"), lock.held():
        raise ValueError("oops")
    with lock.held():
        pass
