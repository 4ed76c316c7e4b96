"""A driver to kill: `python -m tests.execution.ray_tune.drive FOLDER ADDRESS SECONDS [JOIN]`.

It runs the tiny search on the Ray cluster at ADDRESS. Its last line is the best subset, or the
error; what it is told goes to stderr.
"""

import sys
from pathlib import Path
from typing import Any

from layersearch.errors import LayersearchError
from layersearch.execution import ClusterOptions, Observer, run_ray_search
from layersearch.study import open_study
from tests.execution.doubles import Every, sampler_of
from tests.execution.jobs import Scripted


class Told(Observer):
    def message(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def failed(self, proposal: Any, reason: str, *, interrupted: bool) -> None:
        self.message(f"trial {proposal.number} failed: {reason}")


def main(folder: Path, address: str, seconds: float, join: bool) -> None:
    strategy = Every()
    with open_study(
        "search", directory=folder, sampler=sampler_of(strategy), fingerprint={"seed": 0}, join=join
    ) as opened:
        run = run_ray_search(
            opened,
            Scripted(folder / "trained.log", seconds=seconds),
            cluster=ClusterOptions(address=address, workers=2, resource_timeout=120.0),
            observers=[Told()],
        )
    say(f"{run.ending.value} {strategy.answer(run.history)}")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), len(sys.argv) > 4)
    except LayersearchError as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
