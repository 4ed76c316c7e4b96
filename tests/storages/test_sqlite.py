"""SQLite that another process locks, and disks that are full."""

import subprocess
import sys

import pytest

from layersearch.errors import StudyError
from layersearch.study import open_study, read_study
from tests.disks import fill
from tests.execution.jobs import ALL, trained
from tests.storages.drivers import DONE, check_whole, drive, finish, records, said, wait_until

LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""


def lock(file, seconds):
    """Another process holds the database for a while; returns when it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(file), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "locked\n"
    return process


# --- Locks (case 7) -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_search_waits_for_a_lock_of_eight_seconds_and_advises_postgresql(tmp_path):
    log, file = tmp_path / "trained.log", tmp_path / "study.db"
    driver = drive(tmp_path, f"sqlite:///{file}", "--seconds=0.05")
    wait_until(lambda: len(trained(log)) >= 4)
    with lock(file, 8.0):
        assert finish(driver) == DONE
    check_whole(f"sqlite:///{file}")
    assert sorted(trained(log)) == sorted(str(subset) for subset in ALL)
    locked, back = said(tmp_path)
    assert "study.db is locked by another process (database is locked)" in locked
    assert "PostgreSQL is the better storage: study.storage=postgresql://" in locked
    assert "answers again" in back


def test_a_lock_while_the_study_is_opened_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("layersearch.study.databases.SQLITE_TIMEOUT", 0.2)
    url = f"sqlite:///{tmp_path}/study.db"
    open_study("s", storage=url).close()
    heard = []
    with lock(tmp_path / "study.db", 3.0):
        open_study("s", storage=url, say=heard.append).close()
    assert ["locked" in text for text in heard] == [True, False]


def test_a_lock_that_never_ends_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("layersearch.study.databases.SQLITE_TIMEOUT", 0.2)
    with open_study("s", storage=tmp_path / "study.db", storage_timeout=1.0) as opened:
        trial = opened.study.ask()
        with lock(tmp_path / "study.db", 3600) as holder:
            with pytest.raises(StudyError, match=r"is locked by another process .*run the same"):
                opened.study.tell(trial, 0.5)
            holder.kill()
        opened.study.tell(trial, 0.5)
        assert opened.study.best_value == 0.5


# --- Full disks (case 8) --------------------------------------------------------------------------


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["study.db", "study.log"])
def test_a_full_disk_ends_the_search_with_one_error_and_loses_nothing(disk, tmp_path, name):
    url = f"sqlite:///{disk}/{name}" if name == "study.db" else f"journal://{disk}/{name}"
    log = tmp_path / "trained.log"
    driver = drive(tmp_path, url, "--seconds=0.05", "--workers=1")
    wait_until(lambda: len(trained(log)) >= 4)
    filler = fill(disk)
    told = finish(driver)
    assert driver.returncode == 1
    assert "no space is left" in told
    assert f"free some space on {disk}, then run the same command again" in told
    assert "\n" not in told
    filler.unlink()
    before = records(url)
    assert len(before.scores) >= 2
    assert finish(drive(tmp_path, url, "--workers=1")) == DONE
    after = check_whole(url)
    assert all(after[r.number].score == r.score for r in before if r.score is not None)


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["study.db", "study.log"])
def test_a_study_on_a_full_disk_can_be_read(disk, name):
    with open_study("s", storage=disk / name) as opened:
        opened.study.tell(opened.study.ask(), 0.5)
        trial = opened.study.ask()
        fill(disk)
        with pytest.raises(StudyError, match="no space is left"):
            _write_much(trial)
    assert read_study("s", storage=disk / name).best_value == 0.5


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["study.db", "study.log"])
def test_a_study_cannot_be_made_on_a_full_disk(disk, name):
    fill(disk)
    with pytest.raises(StudyError, match=r"^study\.storage: no space is left"):
        open_study("s", storage=disk / name)


def _write_much(trial):
    for step in range(10_000):
        trial.report(0.5, step)
