"""A driver to kill, to cut off, to share work with: `python -m tests.storages.drive FOLDER URL`.

It runs the tiny search. Its last line is the best subset, or the error; what it is told of its
storage goes to FOLDER/said.log.
"""

import argparse
import sys
from pathlib import Path

import optuna

from layersearch.errors import LayersearchError
from layersearch.execution import local_pool, run_search
from layersearch.study import open_study
from tests.execution.doubles import Every, sampler_of
from tests.storages.jobs import Noted


def main(options: argparse.Namespace) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = Path(options.folder)
    strategy = Every()

    def heard(text: str) -> None:
        with (folder / "said.log").open("a") as file:
            file.write(f"{text}\n")

    with open_study(
        "search",
        storage=options.url,
        sampler=sampler_of(strategy),
        fingerprint={"seed": 0},
        join=options.join,
        storage_timeout=options.timeout,
        stale_after=options.stale_after,
        say=heard,
    ) as opened:
        run = run_search(
            opened,
            Noted(folder / "trained.log", seconds=options.seconds),
            pool=local_pool(options.workers, threads=1, in_process=False),
        )
    say(f"{run.ending.value} {strategy.answer(run.history)}")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("url")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.0)  # an epoch
    parser.add_argument("--timeout", type=float, default=120.0)
    parser.add_argument("--stale-after", type=float, default=None)
    parser.add_argument("--join", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main(read_options())
    except LayersearchError as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
