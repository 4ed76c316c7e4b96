"""A metric that holds trials up while a file exists, so that a test can choose its moment."""

import os
import time
from pathlib import Path

from layersearch import Outcome

VARIABLE = "LAYERSEARCH_TEST_GATE"  # path of the file; none: the gate is open
HOLDER = "LAYERSEARCH_TEST_HOLDER"  # who is held there
METRIC = "tests.e2e.gate:accuracy"


def accuracy(outcome: Outcome) -> float:
    """The share of hits, once the gate is open."""
    path = os.environ.get(VARIABLE)
    if path:
        Gate(Path(path)).hold(os.environ.get(HOLDER, "nobody"))
    return float((outcome.predictions == outcome.targets).float().mean())


class Gate:
    """Its file; a trial that it holds does not end before it opens."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def close(self) -> None:
        """Trials that are to be scored wait."""
        self.path.touch()

    def open(self) -> None:
        """They go on."""
        self.path.unlink(missing_ok=True)

    def hold(self, holder: str) -> None:
        """Returns when it is open."""
        sign = self._sign(holder)
        while self.path.exists():
            sign.touch()
            time.sleep(0.02)
        sign.unlink(missing_ok=True)

    def holds(self, holder: str) -> bool:
        """Whether it is held now; what merely trains may have passed, and end at any moment."""
        return self.path.exists() and self._sign(holder).exists()

    def _sign(self, holder: str) -> Path:
        """The file that says that a trial of this process is held."""
        return self.path.with_name(f"{self.path.name}-{holder}")
