"""A search to kill in the middle of a trial: `python -m tests.e2e.held NAME WORKERS`, in a folder.
A third word, `race`, has it look at the units first, and train finalists by the whole schedule.

Its metric adds a line 'pid subset' to `validated.log` for every epoch that it judges. While there
is a file `hold`, the first trial stops at the epoch that is written there. There is a checkpoint
after every epoch, whatever it takes.
"""

import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import layersearch
from layersearch import Outcome
from layersearch.build.components import Components
from layersearch.build.search import build_checkpoints
from layersearch.config import SearchConfig
from layersearch.execution.checkpoints import Checkpoints
from tests.e2e import small

EPOCHS, FOLDS, VALIDATED = 30, 2, 15
LOOK = 12  # epochs of a look of the race
HELD = "{first}"  # the first to be trained; its trial is held up


def confidence(outcome: Outcome) -> float:
    """The mean probability of the right class: no two trainings agree in all its digits."""
    log, hold = Path("validated.log"), Path("hold")
    if len(outcome.targets) == VALIDATED:  # one fold, not all of them pooled
        with log.open("a") as file:
            file.write(f"{os.getpid()} {outcome.subset}\n")
    while (
        hold.exists()
        and str(outcome.subset) == HELD
        and len(validated(Path())) >= int(hold.read_text())
    ):
        time.sleep(0.01)
    return float(outcome.probabilities.gather(1, outcome.targets[:, None]).mean())


def validated(folder: Path, subset: str = HELD) -> list[int]:
    """The processes that judged an epoch of the subset, one a time."""
    log = folder / "validated.log"
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()] if log.exists() else []
    return [int(pid) for pid, name in lines if name == subset]


class Printer:
    """An observer that prints what the user should know."""

    def message(self, text: str) -> None:
        """Prints it at once."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def search(name: str, workers: int, *, race: bool = False) -> layersearch.Result:
    """Tries each unit by itself; as much of a state as there is: BatchNorm, AdamW, augmentation."""
    strategy: dict[str, Any] = {"name": "profile", "parts": "single"}
    if race:
        strategy = {"name": "greedy", "look_epochs": LOOK, "finalists": 2, "max_rounds": 1}
    return small.search(
        name,
        strategy=strategy,
        observers=[Printer()],
        metric=confidence,
        recipe={"epochs": EPOCHS, "norms": "train", "augmentation": {"crop": 2, "flip": True}},
        execution={"workers": workers, "checkpoint_every": 60},
        overrides=["final.baselines=linear_probe"],
    )


def _often(config: SearchConfig, parts: Components) -> Checkpoints:
    checkpoints = build_checkpoints(config, parts)
    checkpoints.every = 0.0
    return checkpoints


if __name__ == "__main__":
    vars(import_module("layersearch.build.search"))["build_checkpoints"] = _often
    search(sys.argv[1], int(sys.argv[2]), race=sys.argv[3:] == ["race"])
