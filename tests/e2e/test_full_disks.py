"""Whatever happens to cache files and logs, a search finds the same scores."""

import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

import layersearch
from layersearch.errors import LayersearchError
from layersearch.subtuning.features import shelf
from tests.disks import fill
from tests.e2e.conftest import environment
from tests.e2e.small import search, trials

LAST = {"seeds": 1, "baselines": []}
ON_DISK = {"device": 0, "host": 0, "disk": "1GiB"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # On networks of three layers nothing else would ever be worth storing.
    monkeypatch.setattr(shelf, "_WORTH", 1e9)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("undisturbed"))
        return scores(search("whole", final=LAST))


def scores(result: layersearch.Result) -> dict[str, Any]:
    """Of all trials and of the winner."""
    ended = {
        tuple(trial.user_attrs["subset"]): trial.values
        for trial in trials(result)
        if trial.state.name == "COMPLETE"
    }
    return {"trials": ended, "subset": result.subset, "test": result.test}


def test_a_full_disk_costs_time_and_one_message(
    small_disk: Path, undisturbed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    fill(small_disk)
    cache = {**ON_DISK, "directory": str(small_disk)}
    with caplog.at_level(logging.WARNING, "layersearch"):
        result = search("full", final=LAST, execution={"cache": cache})
    assert scores(result) == undisturbed
    (message,) = [record.getMessage() for record in caplog.records]
    assert str(small_disk) in message
    assert "No space left on device" in message
    assert "execution.cache.disk" in message


def test_a_disk_that_fills_up_meanwhile_costs_what_does_not_fit(
    small_disk: Path, undisturbed: dict[str, Any]
) -> None:
    (small_disk / "filler").write_bytes(bytes(120 << 10))
    cache = {**ON_DISK, "directory": str(small_disk)}
    assert scores(search("half", final=LAST, execution={"cache": cache})) == undisturbed


KILLED = """
import signal
from layersearch.errors import LayersearchError
from layersearch.subtuning.features import shelf
from tests.e2e.small import search
from tests.e2e.test_full_disks import LAST, ON_DISK
from tests.e2e.test_conclusion import Interrupts
shelf._WORTH = 1e9
class AtTheFirst(Interrupts):
    def finished(self, proposal, record, value):
        self.message("finished")
search("killed", final=LAST, execution={"cache": ON_DISK},
       observers=[AtTheFirst("finished", 2, signal.SIGKILL)])
"""


def test_files_that_a_killed_search_left_damaged_are_computed_again(
    undisturbed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    victim = subprocess.run([sys.executable, "-c", KILLED], env=environment(), check=False)
    assert victim.returncode == -signal.SIGKILL
    files = sorted(Path("runs/killed/features").glob("*/*.block"))
    assert files
    for number, path in enumerate(files):
        content = path.read_bytes()
        flipped = content[:-3000] + bytes([content[-3000] ^ 16]) + content[-2999:]
        path.write_bytes(content[: len(content) // 2] if number % 2 else flipped)
    with caplog.at_level(logging.WARNING, "layersearch"):
        result = search("killed", final=LAST, execution={"cache": ON_DISK})
    assert scores(result) == undisturbed
    assert sum("is damaged" in record.getMessage() for record in caplog.records) == 1
    assert not Path("runs/killed/features").exists()
    assert not list(Path("runs/killed").glob("**/*.partial"))


def talkative(outcome: Any) -> float:
    """Accuracy, with more words than a buffer holds."""
    sys.stdout.write("said " * 2000)
    sys.stderr.write("said " * 2000)
    return float((outcome.logits.argmax(1) == outcome.targets).float().mean())


@pytest.mark.slow
def test_logs_that_cannot_be_written_cost_no_trial(small_disk: Path, tmp_path: Path) -> None:
    def run(name: str, directory: Path) -> layersearch.Result:
        return search(
            name,
            metric=talkative,
            objective={"direction": "maximize"},
            final={"seeds": 1, "baselines": []},
            study={
                "name": name,
                "directory": str(directory),
                "storage": f"sqlite:///{tmp_path}/{name}.db",
            },
            execution={"workers": 2, "cache": {"directory": str(tmp_path / "features")}},
        )

    whole = run("whole", tmp_path)
    filler = fill(small_disk)
    with pytest.raises(LayersearchError, match=r"task\.safetensors: cannot be written"):
        run("full", small_disk)
    study = optuna.load_study(study_name="full", storage=f"sqlite:///{tmp_path}/full.db")
    # A trial that was begun on a wrong guess ends as interrupted.
    assert not [
        t for t in study.trials if t.state.name == "FAIL" and "interrupted" not in t.user_attrs
    ]
    filler.unlink()
    result = run("full", small_disk)
    assert result.score == whole.score
    assert result.test == whole.test
