"""The main job, from the command line to the files that come out."""

import json
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from layersearch.cli import main
from tests.e2e.conftest import ROOT, Command, command_line, environment

DIGITS = str(ROOT / "search_spaces" / "digits.yaml")
UNITS = {"stem", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1"}

pytestmark = pytest.mark.slow


def result(folder: Path, study: str = "digits") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "runs" / study / "result.json").read_text())
    return loaded


def test_a_search_ends_with_a_result_a_task_and_a_summary_and_is_not_trained_twice(
    layersearch: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = layersearch("search", DIGITS)
    assert done.returncode == 0, done.stderr
    found = result(tmp_path)
    assert found["study"] == "digits"
    assert found["strategy"] == "greedy"
    assert set(found["subset"]) <= UNITS - {"layer1.0", "layer2.0", "layer3.0"}
    assert 0 <= found["score"]["mean"] <= 1
    assert set(found["test"]) == {"chosen", "linear_probe", "full_finetune", "lp_ft"}
    assert all(scores["seeds"] == 2 for scores in found["test"].values())
    assert set(found["cost"]) == {"trainings", "epochs", "flops", "seconds"}
    assert found["config"]["recipe"]["epochs"] == 1
    assert "linear probe" in done.stdout

    again = layersearch("search", DIGITS)
    assert again.returncode == 0, again.stderr
    assert result(tmp_path)["cost"]["trainings"] == found["cost"]["trainings"]
    assert result(tmp_path)["test"] == found["test"]

    other = layersearch("search", DIGITS, "-o", "recipe.lr=0.5")
    assert other.returncode == 1
    assert "recipe.lr" in other.stderr
    assert "Traceback" not in other.stderr

    monkeypatch.chdir(tmp_path)
    assert main(["report", "digits"]) == 0
    assert "linear probe" in capsys.readouterr().out
    assert main(["export", "digits", "task.safetensors"]) == 0
    assert (tmp_path / "task.safetensors").stat().st_size > 0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("space.always=[layer9.1]", "layer9.1"),
        ("space.min_units=9", "min_units"),
        ("objective.constraints.trainable_parameters.max=1", "trainable_parameters"),
        ("objective.metric=acuracy", "accuracy"),
        ("backbone.name=resnet5O", "resnet50"),
        ("backbone.name=layersearch/cifar_resnet41", "cifar_resnet14"),
    ],
)
def test_what_is_not_there_is_refused_before_any_training(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    setting: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["search", DIGITS, "-o", setting]) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
    assert trials(tmp_path) == []


STATES = "SELECT number, state FROM trials"
SCORED = """SELECT number, value_json FROM trials JOIN trial_user_attributes USING (trial_id)
            WHERE state = 'COMPLETE' AND key = 'subset'"""


def trials(folder: Path, query: str = STATES) -> list[tuple[int, str]]:
    """What the study's database says of its trials."""
    database = folder / "runs" / "digits" / "study.db"
    if not database.exists():
        return []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:  # the tables are being made
            return []


def test_an_interrupted_search_loses_nothing_and_goes_on(
    layersearch: Command, tmp_path: Path
) -> None:
    running = subprocess.Popen(
        command_line("search", DIGITS, "-o", "recipe.epochs=3"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while running.poll() is None and not trials(tmp_path, SCORED):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=300)
    assert running.returncode == 130, err
    assert "RUNNING" not in dict(trials(tmp_path)).values()
    before = trials(tmp_path, SCORED)
    assert before

    done = layersearch("search", DIGITS, "-o", "recipe.epochs=3")
    assert done.returncode == 0, done.stderr
    after = trials(tmp_path, SCORED)
    assert set(before) <= set(after)
    subsets = [subset for _, subset in after]
    assert len(subsets) == len(set(subsets)) == result(tmp_path)["trials"]["complete"]


def test_profile_scores_every_unit(layersearch: Command, tmp_path: Path) -> None:
    done = layersearch("profile", DIGITS, "-o", "strategy.parts=[linear_probe, single]")
    assert done.returncode == 0, done.stderr
    assert "layer3.1" in done.stdout


def test_units_of_a_torchvision_network_need_no_download(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["units", "resnet18", "--json"]) == 0
    listing = json.loads(capsys.readouterr().out)
    assert [unit["name"] for unit in listing["units"]][-1] == "layer4.1"
    assert listing["parameters"] == 11_689_512
