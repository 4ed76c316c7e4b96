"""A driver to kill: `python drive.py FOLDER WORKERS SECONDS [JOIN]` runs the tiny search.

Its last line is the best subset, or the error.
"""

import sys
from pathlib import Path

from layersearch.errors import LayersearchError
from layersearch.execution import local_pool, run_search
from layersearch.study import open_study
from tests.execution.doubles import Every, sampler_of
from tests.execution.jobs import Scripted


def main(folder: Path, workers: int, seconds: float, join: bool) -> None:
    strategy = Every()
    with open_study(
        "search", directory=folder, sampler=sampler_of(strategy), fingerprint={"seed": 0}, join=join
    ) as opened:
        run = run_search(
            opened,
            Scripted(folder / "trained.log", seconds=seconds),
            pool=local_pool(workers, threads=1, in_process=False),
        )
    say(f"{run.ending.value} {strategy.answer(run.history)}")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), len(sys.argv) > 4)
    except LayersearchError as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
