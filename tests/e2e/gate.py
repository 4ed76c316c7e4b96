"""A metric that holds trials up while a file exists, so that a test can choose its moment."""

import os
import time
from pathlib import Path

from layersearch import Outcome

VARIABLE = "LAYERSEARCH_TEST_GATE"  # path of the file; none: the gate is open
METRIC = "tests.e2e.gate:accuracy"


def accuracy(outcome: Outcome) -> float:
    """The share of hits, once the gate is open."""
    gate = os.environ.get(VARIABLE)
    while gate and Path(gate).exists():
        time.sleep(0.02)
    return float((outcome.predictions == outcome.targets).float().mean())


class Gate:
    """Its file; a trial that is in training when it closes does not end before it opens."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def close(self) -> None:
        """Trials that are to be scored wait."""
        self.path.touch()

    def open(self) -> None:
        """They go on."""
        self.path.unlink(missing_ok=True)
