"""A driver of a race that is shared: `python -m tests.e2e.shared_race BUDGET DRIVERS`, in a folder.

No training goes on before so many drivers have begun one: each adds its process to `drivers`.
"""

import os
import sys
import time
from pathlib import Path

from layersearch import Outcome
from tests.e2e import small

EPOCHS, FOLDS, LOOK = 4, 2, 1


def accuracy(outcome: Outcome) -> float:
    """Waits for the other drivers first."""
    Path("drivers", str(os.getpid())).touch()
    while len(list(Path("drivers").iterdir())) < int(sys.argv[2]):
        time.sleep(0.02)
    return float((outcome.predictions == outcome.targets).float().mean())


if __name__ == "__main__":
    small.search(
        "race",
        # Goes on whatever a round gains.
        strategy={"name": "greedy", "look_epochs": LOOK, "stop": "paper", "min_gain": -1.0},
        metric=accuracy,
        recipe={"epochs": EPOCHS},
        execution={"workers": 1, "budget": sys.argv[1]},
        study={"name": "race", "join": True},
    )
