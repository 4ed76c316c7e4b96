"""A real search as those see it who watch: programs, trackers, users' own callbacks."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layersearch.errors import ConfigError, SearchError
from layersearch.execution import SearchProgress
from tests.e2e.small import search

HEARD: list[str] = []


class Ear:
    """A callback of the user's own, which a description names."""

    def __init__(self, word: str) -> None:
        self.word = word

    def began(self, beginning: Any) -> None:
        """Remembers which study."""
        HEARD.append(f"{self.word} {beginning.study}")

    def ended(self, ended: Any) -> None:
        """Remembers how it ended."""
        HEARD.append(ended.ending)


class Clumsy:
    """A callback that raises."""

    def started(self, proposal: Any) -> None:
        """Raises."""
        raise OSError("too clumsy")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    HEARD.clear()


def followed(**arguments: Any) -> list[dict[str, Any]]:
    stream = io.StringIO()
    with SearchProgress(mode="json", stream=stream) as shown:
        search("seen", strategy="exhaustive", observers=[shown], **arguments)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_program_follows_a_search_from_its_first_step_to_its_last() -> None:
    lines = followed(final={"seeds": 2, "baselines": ["linear_probe"]})
    events = [line["event"] for line in lines]
    assert (events[0], events[-1]) == ("phase", "ended")
    began = next(line for line in lines if line["event"] == "began")
    assert (began["command"], began["study"], began["units"]) == ("search", "seen", 3)
    assert events.count("finished") == 8
    status = [line for line in lines if line["event"] == "status"][-1]
    assert (status["done"], status["scored"], status["remaining"]) == (8, 8, 0)
    retrained = [line for line in lines if line["event"] == "retraining"]
    scores = [(line["name"], line["seed"]) for line in retrained if line["score"] is not None]
    assert scores == [(name, seed) for name in ("chosen", "linear_probe") for seed in (0, 1)]
    assert retrained[0]["epoch"] == 0
    assert (retrained[-1]["done"], retrained[-1]["total"]) == (4, 4)
    ended = lines[-1]
    assert ended["ending"] == "done"
    assert ended["score"] == status["best_score"]
    assert 0 <= ended["test_score"] <= 1


def test_callbacks_of_a_description_are_told_everything() -> None:
    own = {"name": f"{__name__}:Ear", "word": "hello"}
    search("seen", strategy="random", trials=2, callbacks=[own])
    assert HEARD == ["hello seen", "budget"]


def test_one_that_raises_is_dropped_for_good_and_the_search_goes_on() -> None:
    with pytest.warns(UserWarning, match="Clumsy raised .*too clumsy") as warned:
        result = search("seen", strategy="random", trials=3, callbacks=[f"{__name__}:Clumsy"])
    assert len([w for w in warned if "Clumsy" in str(w.message)]) == 1
    assert result.values["trials"]["complete"] == 3


def test_a_tracker_that_is_missing_is_told_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ConfigError, match=r"layersearch\[tensorboard\]"):
        search("seen", strategy="random", trials=2, callbacks=["tensorboard"])
    assert not Path("runs").exists()


def test_those_who_watch_hear_of_a_search_that_fails() -> None:
    def broken(outcome: Any) -> float:
        raise ValueError("no score today")

    stream = io.StringIO()
    with (
        SearchProgress(mode="json", stream=stream) as shown,
        pytest.raises(SearchError, match="no score today"),
    ):
        search("seen", strategy="random", trials=9, metric=broken, observers=[shown])
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[-1]["event"] == "ended"
    assert lines[-1]["ending"] == "failed"
    assert "no score today" in lines[-1]["reason"]
    assert [line["event"] for line in lines].count("failed") == 3


@pytest.mark.slow
def test_the_command_writes_json_lines_and_nothing_else(
    layersearch: Callable[..., Any],
) -> None:
    digits = str(Path(__file__).parents[2] / "search_spaces" / "digits.yaml")
    words = ["--progress", "json", "--strategy", "random", "--trials", "3"]
    done = layersearch("search", digits, *words)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["event"] == "ended"
    assert "\x1b" not in done.stdout + done.stderr
