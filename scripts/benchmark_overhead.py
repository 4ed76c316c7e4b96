#!/usr/bin/env python
"""What a trial costs besides training: seconds a trial of trials that train nothing.

Worker processes, 16 boolean parameters, 5 reports a trial; once without pruning (reports are
written together) and once with a median pruner (each report waits for its verdict). The study is in
SQLite, or in the storages that are named; each run makes a study of its own there.

    python scripts/benchmark_overhead.py [--trials 200] [--workers 2] [--repeats 3]
        [--storage :memory: --storage study.db --storage study.log --storage postgresql://…]
"""

import argparse
import os
import platform
import secrets
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import optuna

from layersearch.execution import Budgets, local_pool, run_search
from layersearch.space import Subset
from layersearch.space.trial import Job, Proposal, Report, Reporter, TrialResult, WorkerPlace
from layersearch.study import MEMORY, masked, open_study

UNITS = tuple(f"layer{stage}.{block}" for stage in range(1, 5) for block in range(4))
EPOCHS = 5


def main() -> None:
    """Prints the figures, with the machine they are of."""
    options = _options()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, optuna {optuna.__version__}, "
        f"{options.workers} workers, {options.trials} trials"
    )
    for storage in options.storage or ["study.db"]:
        print(masked(storage))
        for name, pruner in (("no pruner", None), ("median pruner", optuna.pruners.MedianPruner())):
            runs = [
                measure(
                    trials=options.trials, workers=options.workers, pruner=pruner, storage=storage
                )
                for _ in range(options.repeats)
            ]
            wall, processor = zip(*runs, strict=True)
            print(
                f"{name:>14}: {_shown(wall)} ms a trial; the driver computes {_shown(processor)} ms"
            )


def measure(
    *,
    trials: int,
    workers: int,
    pruner: optuna.pruners.BasePruner | None,
    storage: str = "study.db",
) -> tuple[float, float]:
    """Seconds a trial, and of the driver's processor, without the start of the workers."""
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        sampler = optuna.samplers.RandomSampler(seed=0)
        if "://" not in storage and storage != MEMORY:
            storage = str(Path(folder) / storage)  # a file that goes with the folder
        name = f"overhead {secrets.token_hex(4)}"  # a database keeps its studies
        with open_study(name, storage=storage, sampler=sampler, pruner=pruner) as opened:
            run_search(
                opened,
                make_job,
                pool=local_pool(workers, in_process=False),
                claimed=_claimed,
                costs=lambda subset: {"trainable_parameters": 1000 * len(subset)},
                budgets=Budgets(trials=trials),
                observers=[clock],
            )
    return (clock.last - clock.first) / trials, (clock.used - clock.unused) / trials


def make_job(place: WorkerPlace) -> Job:  # noqa: ARG001
    """A job that reports and trains nothing."""
    return _job


def _job(proposal: Proposal, report: Reporter) -> TrialResult:
    score = len(proposal.subset) / len(UNITS)
    for epoch in range(EPOCHS):
        report(Report(fold=0, epoch=epoch, score=score, step=epoch, epochs_done=epoch + 1))
    return TrialResult(values=(score,), stderr=0.01, fold_scores=(score,) * 5)


def _claimed(trial: optuna.Trial) -> Subset:
    return Subset(unit for unit in UNITS if trial.suggest_categorical(unit, [False, True]))


class _Clock:
    """Notes when the first trial began and the last one ended."""

    def __init__(self) -> None:
        self.first = 0.0
        self.last = 0.0
        self.unused = 0.0
        self.used = 0.0

    def started(self, *_: object) -> None:
        if not self.first:
            self.first, self.unused = time.perf_counter(), time.process_time()

    def reported(self, *_: object) -> None: ...

    def finished(self, *_: object) -> None:
        self.last, self.used = time.perf_counter(), time.process_time()

    def pruned(self, *_: object) -> None:
        self.finished()

    def failed(self, *_: object, **__: object) -> None:
        raise SystemExit("a trial failed")

    def status(self, *_: object) -> None: ...

    def message(self, *_: object) -> None: ...


def _shown(seconds: tuple[float, ...]) -> str:
    deviation = statistics.stdev(seconds) if len(seconds) > 1 else 0.0
    return f"{1000 * statistics.mean(seconds):.1f} ± {1000 * deviation:.1f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--storage", action="append", help="a path, a URL or :memory:; several")
    return parser.parse_args()


if __name__ == "__main__":
    main()
