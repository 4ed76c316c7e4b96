"""`layersearch worker`: helps a search, may come and go, and leaves the end to the search."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layersearch.cli import main
from tests.e2e.processes import DIGITS, Place, settings, undisturbed, wait_until

__all__ = ["undisturbed"]  # a fixture


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Place(tmp_path) as made:
        yield made


# --- Refusals, at once ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--wait", "0"], "there is no study 'digits' in sqlite:///runs/digits/study.db"),
        (["--wait", "0"], "an SQLite file is for processes of one machine"),
        (["-o", "study.storage=':memory:'"], "kept by one process only"),
        (["--workers", "0"], "execution.workers"),
        (["-o", "study.storage=there.txt"], "study.storage"),
    ],
)
def test_a_worker_without_a_search_to_help_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["worker", str(DIGITS), *settings(), *words]) == 1
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert not list(tmp_path.rglob("*.db"))


@pytest.mark.parametrize("time", ["soon", "-1", "nan", "3 epochs"])
def test_a_time_that_is_none_is_refused(time: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["worker", str(DIGITS), f"--wait={time}"])
    assert caught.value.code == 2
    assert "must be a duration" in capsys.readouterr().err


# --- Sharing --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_waits_for_its_search_shares_it_and_ends_with_it(
    place: Place, undisturbed: dict[str, Any]
) -> None:
    worker = place.start("worker", "--wait", "5m", name="worker")
    wait_until(lambda: "waiting up to" in worker.err, running=[worker])
    search = place.start("search", name="search")
    worker.finish()
    search.finish()
    place.check(undisturbed)
    shares = place.study.by_driver("COMPLETE")
    assert len(shares) == 2
    assert worker.out.count("\n") == 1
    trained = int(worker.out.split("trained ")[1].split()[0])
    assert trained in shares.values()
    assert "nothing is left to train" in worker.out
    assert "test accuracy" not in worker.err  # it retrains nothing

    # A worker that comes too late says so, whatever it would have done.
    late = place.start("worker", name="late").finish()
    assert "trained 0 trials of 'digits'" in late.out


@pytest.mark.slow
def test_a_worker_that_would_search_something_else_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on resume; strategy and budget too, which a resumed search may change."""
    search = place.start("search", name="search")
    place.all_train(search)
    monkeypatch.chdir(place.folder)
    for setting, said in [
        ("recipe.lr=0.5", "recipe.lr: was 0.001, is now 0.5"),
        ("data.train_samples=50", "data.train.count: was 40, is now 50"),
        ("backbone.weights=null", "backbone.weights_hash"),
        ("seed=7", "seed"),
        ("strategy.min_gain=0.1", "strategy.min_gain: was null, is now 0.1"),
        ("execution.budget=5epochs", "execution.budget.epochs: was null, is now 5"),
    ]:
        assert main(["worker", str(DIGITS), *settings(setting), "--quiet"]) == 1
        assert said in capsys.readouterr().err
    assert len(place.study.by_driver()) == 1


@pytest.mark.slow
def test_ctrl_c_ends_a_worker_in_order_and_the_search_goes_on(
    place: Place, undisturbed: dict[str, Any]
) -> None:
    search = place.start("search", name="search")
    worker = place.start("worker", name="worker")
    _, token = place.all_train(search, worker)
    place.some_end(token, search, worker)
    worker.process.send_signal(signal.SIGINT)
    place.gate.open()
    assert worker.wait() == 130
    assert "the search goes on without it" in worker.out
    mine = [t for t in place.study.trials() if t.user_attrs.get("driver") == token]
    assert mine
    assert all(trial.state.is_finished() for trial in mine)
    search.finish()
    place.check(undisturbed)


# --- Deaths ---------------------------------------------------------------------------------------


def survive_deaths(place: Place, undisturbed: dict[str, Any]) -> None:
    """A worker dies, then the search itself; another worker finishes; the search concludes."""
    search = place.start("search", name="search")
    victim = place.start("worker", name="victim")
    other = place.start("worker", name="other")
    driver, token, _ = place.all_train(search, victim, other)
    place.some_end(token, search, victim, other)
    place.kill(victim)
    place.some_end(driver, search, other)
    place.kill(search)
    place.gate.open()
    other.finish()  # it trains what is left, that of the dead included
    place.study.check_whole()
    assert not (place.folder / "runs" / "digits" / "result.json").exists()
    trials = len(place.study.trials())

    place.start("search", name="again").finish()
    assert len(place.study.trials()) == trials
    assert len(place.study.cut_short()) == 2
    place.check(undisturbed)


@pytest.mark.slow
def test_neither_a_dead_worker_nor_a_dead_search_costs_a_trial(
    place: Place, undisturbed: dict[str, Any]
) -> None:
    survive_deaths(place, undisturbed)


@pytest.mark.slow
@pytest.mark.cluster
def test_the_same_on_postgresql(
    tmp_path: Path, postgres_url: str, undisturbed: dict[str, Any]
) -> None:
    with Place(tmp_path, storage=postgres_url) as place:
        survive_deaths(place, undisturbed)
