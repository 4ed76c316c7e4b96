"""Drivers as processes, and what their study must look like afterwards."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from layersearch.space import History, TrialState
from layersearch.study import history, read_study
from tests.execution.jobs import ALL, BEST

ROOT = Path(__file__).parents[2]
DONE = f"done {BEST}"


def drive(folder: Path, url: str, *options: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen:
    """Begins a driver; `options` are those of drive.py."""
    command = [*prefix, sys.executable, "-m", "tests.storages.drive", str(folder), url, *options]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(driver: subprocess.Popen) -> str:
    """The last it said."""
    said, _ = driver.communicate(timeout=200)
    return said.strip()


def kill(driver: subprocess.Popen) -> None:
    driver.kill()
    driver.wait()
    driver.stdout.close()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def records(url: str) -> History:
    return history(read_study("search", storage=url))


def said(folder: Path) -> list[str]:
    """What drivers were told of their storage."""
    log = folder / "said.log"
    return log.read_text().splitlines() if log.exists() else []


def check_whole(url: str) -> History:
    """Nothing is lost, nothing has two scores, nothing runs."""
    found = records(url)
    assert not found.running
    scored = Counter(r.subset for r in found if r.state is TrialState.COMPLETE)
    assert scored == Counter(ALL)
    best = max(found.scores.values(), key=lambda record: record.score)
    assert best.subset == BEST
    return found
