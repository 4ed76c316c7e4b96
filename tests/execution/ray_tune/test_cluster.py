"""Searches on a cluster of several nodes, which lose nodes and drivers for real."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.execution.jobs import ALL, BEST, truth

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow
_PATIENCE = 240.0  # seconds, on a machine that does much else


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without room for a trial; tests add nodes."""
    from ray.cluster_utils import Cluster

    from tests.execution.ray_tune.conftest import quiet

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with quiet():
        made = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": False,
                "object_store_memory": 100_000_000,
                "_system_config": {
                    "health_check_initial_delay_ms": 3000,
                    "health_check_period_ms": 1000,
                    "health_check_timeout_ms": 3000,
                    "health_check_failure_threshold": 3,
                },
            },
        )
        yield made
        made.shutdown()


@pytest.fixture
def add_node(cluster: Any) -> Iterator[Callable[[], Any]]:
    """Adds nodes that go again with the test."""
    added = []

    def add_node() -> Any:
        node = cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
        added.append(node)
        return node

    yield add_node
    for node in added:
        if node in cluster.worker_nodes:
            cluster.remove_node(node, allow_graceful=True)


@pytest.fixture
def drive(tmp_path: Path, cluster: Any) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts drivers."""
    started = []

    def drive(*, seconds: float = 0.3, join: bool = False) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "tests.execution.ray_tune.drive"]
        words += [str(tmp_path), cluster.address, str(seconds), *(["join"] if join else [])]
        process = subprocess.Popen(
            words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield drive
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The last line of what a driver wrote, and what it was told."""
    out, told = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 0, f"{out}\n{told}"
    return out.splitlines()[-1], told


def begun(folder: Path) -> list[tuple[int, str]]:
    """(pid, subset) of every beginning of a trial."""
    log = folder / "trained.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in lines]


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not true():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


def check_whole(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """Every subset has been scored once, with a curve that is counted once; the best is right."""
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{folder}/search/study.db")
    trials = study.get_trials()
    scored = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert Counter(str(trial.user_attrs["subset"]) for trial in scored) == Counter(
        str(list(subset.names)) for subset in ALL
    )
    assert all(sorted(trial.intermediate_values) == [0, 1, 2] for trial in scored)
    assert all(trial.user_attrs["epochs"] == 3 for trial in scored)
    assert study.best_value == truth(BEST)
    assert not [trial for trial in trials if trial.state.name == "RUNNING"]
    others = [trial for trial in trials if trial.state.name != "COMPLETE"]
    assert all(trial.user_attrs["interrupted"] for trial in others)
    return others


def processes_of(node: Any) -> set[int]:
    """The ids of a node's raylet and its workers."""
    [raylet] = node.all_processes["raylet"]
    found, new = set[int](), [raylet.process.pid]
    while new:
        pid = new.pop()
        found.add(pid)
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                new += map(int, (thread / "children").read_text().split())
    return found


def test_a_node_that_is_killed_costs_its_trial_only(cluster, add_node, drive, tmp_path):
    lost = add_node()
    add_node()
    driver = drive()
    wait_until(lambda: any(pid in processes_of(lost) for pid, _ in begun(tmp_path)))
    cluster.remove_node(lost, allow_graceful=False)
    add_node()
    line, told = ended(driver)
    assert line == f"done {BEST}"
    assert "worker died" in told
    assert len(check_whole(tmp_path)) >= 1


def test_a_node_that_was_thought_dead_is_not_listened_to(cluster, add_node, drive, tmp_path):
    frozen = add_node()
    add_node()
    driver = drive()
    wait_until(lambda: any(pid in processes_of(frozen) for pid, _ in begun(tmp_path)))
    asleep = processes_of(frozen)
    for pid in asleep:
        os.kill(pid, signal.SIGSTOP)
    try:
        line, _ = ended(driver)  # its trial ran on the other node
    finally:
        for pid in asleep:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    assert line == f"done {BEST}"
    assert len(check_whole(tmp_path)) == 1
    time.sleep(2.0)  # what the woken worker says now reaches nobody
    check_whole(tmp_path)


def test_a_killed_driver_is_replaced_and_the_cluster_stays(cluster, add_node, drive, tmp_path):
    add_node()
    add_node()
    driver = drive()
    wait_until(lambda: len(begun(tmp_path)) >= 5)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    line, told = ended(drive(seconds=0.0))
    assert line == f"done {BEST}"
    assert "trials were interrupted; their subsets will run again" in told
    assert len(check_whole(tmp_path)) <= 2
    assert len(begun(tmp_path)) <= len(ALL) + 2
    assert cluster.head_node.remaining_processes_alive()


def test_two_drivers_share_a_study_if_asked_to(cluster, add_node, drive, tmp_path):
    for _ in range(2):
        add_node()
    first = drive()
    wait_until(lambda: len(begun(tmp_path)) >= 1)
    refused = drive()
    out, _ = refused.communicate(timeout=_PATIENCE)
    assert refused.returncode == 1
    assert "study.join" in out or "is driven by" in out or "held" in out
    second = drive(join=True)
    assert ended(first)[0] == ended(second)[0] == f"done {BEST}"
    check_whole(tmp_path)
    assert len(begun(tmp_path)) == len(ALL)
