"""A search is concluded once: what interrupts, kills, damages or fills up costs one retraining."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import layersearch
from layersearch.errors import LayersearchError
from layersearch.subtuning import final
from tests.disks import fill
from tests.e2e.conftest import environment
from tests.e2e.small import Heard, search, trials_of

LAST = {"seeds": 2, "baselines": ["linear_probe", "full_finetune"]}
RETRAININGS = 6  # two seeds each of the winner and the two baselines


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it for jobs
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> layersearch.Result:
    """What nothing happened to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("undisturbed"))
        return layersearch.Result.load(search("whole", final=LAST).folder.resolve())


@pytest.fixture
def retrained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every retraining of the winner or a baseline; its values say nothing."""
    done: list[int] = []
    train = final.train

    def counted(*arguments: Any, **options: Any) -> Any:
        done.append(len(done))
        return train(*arguments, **options)

    monkeypatch.setattr(final, "train", counted)
    return done


class Interrupts(Heard):
    """Sends this process a signal, Ctrl-C, when it hears a word for the n-th time."""

    def __init__(self, word: str, count: int, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.word, self.count, self.number = word, count, number

    def message(self, text: str) -> None:
        super().message(text)
        self.count -= self.word in text
        if self.count == 0:
            self.count = -1
            os.kill(os.getpid(), self.number)


def same(result: layersearch.Result, other: layersearch.Result) -> bool:
    """Whether both searches tested alike and saved the same tensors."""
    task, twin = result.load_task(), other.load_task()
    return result.test == other.test and all(
        torch.equal(mine[name], its[name])
        for mine, its in ((task.tuned, twin.tuned), (task.head, twin.head))
        for name in {*mine, *its}
    )


@pytest.mark.slow
def test_it_retrains_as_trials_trained_wherever_they_ran(
    undisturbed: layersearch.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers end with the trials; the winner is retrained in the search's own process."""
    threads: list[int] = []
    train = final.train

    def noted(*arguments: Any, **options: Any) -> Any:
        threads.append(torch.get_num_threads())
        return train(*arguments, **options)

    monkeypatch.setattr(final, "train", noted)
    result = search("whole", final=LAST, execution={"workers": 2, "threads": 1})
    assert threads == [1] * RETRAININGS
    assert same(result, undisturbed)


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "retraining").glob("*.safetensors"))


def test_an_interruption_costs_no_retraining_that_was_finished(
    retrained: list[int], undisturbed: layersearch.Result
) -> None:
    assert not kept(undisturbed.folder)
    heard = Interrupts("retrained on all", 3)
    with pytest.raises(KeyboardInterrupt):
        search("stopped", final=LAST, observers=[heard])
    assert "run the same command again" in heard.messages[-1]
    assert len(retrained) == len(kept(Path("runs/stopped"))) == 3
    before = trials_of(Path("runs/stopped"))
    again = Heard()
    resumed = search("stopped", final=LAST, observers=[again])
    assert len(retrained) == RETRAININGS
    assert again.started_trials == 0
    assert trials_of(resumed.folder) == before
    assert same(resumed, undisturbed)
    assert not (resumed.folder / "retraining").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "of another search"])
def test_a_retraining_that_cannot_be_trusted_is_done_again(
    retrained: list[int], undisturbed: layersearch.Result, damage: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        search("stopped", final=LAST, observers=[Interrupts("retrained on all", 3)])
    first, second, _ = kept(Path("runs/stopped"))
    content = first.read_bytes()
    if damage == "cut":
        first.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        first.write_bytes(content[:-9] + bytes([content[-9] ^ 4]) + content[-8:])
    else:
        first.write_bytes(second.read_bytes())
    retrained.clear()
    heard = Heard()
    assert same(search("stopped", final=LAST, observers=[heard]), undisturbed)
    assert len(retrained) == RETRAININGS - 3 + 1
    assert any(first.name in text for text in heard.messages) == (damage != "of another search")


def test_another_recipe_for_the_end_takes_no_retraining_of_the_old_one(
    retrained: list[int],
) -> None:
    with pytest.raises(KeyboardInterrupt):
        search("stopped", final=LAST, observers=[Interrupts("retrained on all", 3)])
    retrained.clear()
    more = {"seeds": 3, "baselines": ["linear_probe"]}
    result = search("stopped", final=more)
    assert [entry["seeds"] for entry in result.test.values()] == [3, 3]
    assert len(retrained) == 6 - 3  # two seeds of the winner and one of the probe were there


def test_a_full_disk_costs_no_retraining_that_was_kept(
    retrained: list[int], undisturbed: layersearch.Result, small_disk: Path, tmp_path: Path
) -> None:
    study = {
        "name": "full",
        "directory": str(small_disk),
        "storage": f"sqlite:///{tmp_path}/study.db",
    }
    with pytest.raises(KeyboardInterrupt):
        search("full", final=LAST, study=study, observers=[Interrupts("retrained on all", 3)])
    filler = fill(small_disk)
    heard = Heard()
    with pytest.raises(LayersearchError, match=r"cannot be written.*free space there"):
        search("full", final=LAST, study=study, observers=[heard])
    assert sum("an interruption now costs this retraining" in t for t in heard.messages) == 1
    assert len(kept(small_disk / "full")) == 3
    assert not list(small_disk.glob("**/.*.part"))
    filler.unlink()
    retrained.clear()
    assert same(search("full", final=LAST, study=study), undisturbed)
    assert len(retrained) == RETRAININGS - 3


KILLED = """
import signal
from tests.e2e.test_conclusion import LAST, Interrupts
from tests.e2e.small import search
search("killed", final=LAST, observers=[Interrupts("retrained on all", 3, signal.SIGKILL)])
"""


def test_a_killed_conclusion_goes_on_after_the_last_finished_retraining(
    retrained: list[int], undisturbed: layersearch.Result
) -> None:
    victim = subprocess.run([sys.executable, "-c", KILLED], env=environment(), check=False)
    assert victim.returncode == -signal.SIGKILL
    folder = Path("runs/killed")
    assert len(kept(folder)) == 3
    assert not (folder / "result.json").exists()
    before = trials_of(folder)
    assert same(search("killed", final=LAST), undisturbed)
    assert len(retrained) == RETRAININGS - 3
    assert trials_of(folder) == before
    assert not (folder / "retraining").exists()
