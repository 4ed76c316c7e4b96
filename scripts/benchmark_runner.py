#!/usr/bin/env python3
"""Seconds a trial, of trials that train nothing: local workers, Ray, and stock Ray Tune.

    python scripts/benchmark_runner.py                 # 60 trials of each, 2 workers
    python scripts/benchmark_runner.py --torch         # workers import torch
    python scripts/benchmark_runner.py --only ray      # one of local, ray, stock

All of them choose among the subsets of 16 units at random, report 5 scores a trial, and record in
SQLite. 'Stock' is Ray Tune as its documentation shows it, with its own OptunaSearch. What counts is
the time from the end of the first trial to the end of the last, so that starting the workers, which
a search does once, is left out; the whole time is printed beside it.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import ray

from layersearch.execution import (
    Budgets,
    ClusterOptions,
    Observer,
    local_pool,
    run_ray_search,
    run_search,
)
from layersearch.space import SearchSpace, Unit
from layersearch.space.trial import Job, Proposal, Report, Reporter, TrialResult, WorkerPlace
from layersearch.strategies import random_subsets
from layersearch.strategies.optuna_adapter import StrategySampler
from layersearch.study import history, open_study

UNITS = tuple(f"unit{number}" for number in range(16))
REPORTS = 5


class Nothing:
    """A job factory whose trials train nothing."""

    def __init__(self, *, torch: bool) -> None:
        self.torch = torch

    def __call__(self, place: WorkerPlace) -> Job:  # noqa: ARG002 - a JobFactory's signature
        """Imports torch, if asked to."""
        if self.torch:
            import torch  # noqa: F401 - what it costs is measured
        return self.run

    def run(self, proposal: Proposal, report: Reporter) -> TrialResult:
        """Says five scores."""
        score = len(proposal.subset) / len(UNITS)
        for epoch in range(REPORTS):
            report(Report(fold=0, epoch=epoch, score=score, step=epoch, epochs_done=epoch + 1))
        return TrialResult(values=(score,), stderr=0.01)


class Clock(Observer):
    """Notes when trials end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def finished(self, *_: Any) -> None:
        """A trial has a score."""
        self.ends.append(time.perf_counter())


def ours(folder: Path, arguments: argparse.Namespace, run: Callable[..., Any]) -> list[float]:
    """A search by one of our runners; when its trials ended."""
    space = SearchSpace(
        [Unit(name=name, depth=depth, parameters=(name,)) for depth, name in enumerate(UNITS)]
    )
    sampler = StrategySampler(random_subsets(space, seed=0), space, read_history=history)
    clock = Clock()
    with open_study("benchmark", directory=folder, sampler=sampler) as opened:
        run(
            opened,
            Nothing(torch=arguments.torch),
            budgets=Budgets(trials=arguments.trials),
            observers=[clock],
        )
    return clock.ends


def local(folder: Path, arguments: argparse.Namespace) -> list[float]:
    """Local worker processes."""
    pool = local_pool(arguments.workers, threads=1, in_process=False)
    return ours(folder, arguments, lambda *a, **k: run_search(*a, pool=pool, **k))


def by_ray(folder: Path, arguments: argparse.Namespace) -> list[float]:
    """Our runner on Ray Tune."""
    cluster = ClusterOptions(workers=arguments.workers)
    return ours(folder, arguments, lambda *a, **k: run_ray_search(*a, cluster=cluster, **k))


def stock(folder: Path, arguments: argparse.Namespace) -> list[float]:
    """Ray Tune with its OptunaSearch."""
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    torch = arguments.torch

    def trainable(config: dict[str, bool]) -> None:
        if torch:
            import torch as _
        for _ in range(REPORTS):
            tune.report({"score": sum(config.values()) / len(config)})

    class Ends(tune.Callback):  # type: ignore[misc]  # Ray has types in part only
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            self.ends.append(time.perf_counter())

    ends = Ends()
    search = OptunaSearch(
        {name: optuna.distributions.CategoricalDistribution([False, True]) for name in UNITS},
        sampler=optuna.samplers.RandomSampler(seed=0),
        storage=optuna.storages.RDBStorage(f"sqlite:///{folder}/stock.db"),
        metric="score",
        mode="max",
    )
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=ConcurrencyLimiter(search, max_concurrent=arguments.workers),
            num_samples=arguments.stock_trials,
        ),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0, callbacks=[ends]),
    ).fit()
    return ends.ends


RUNNERS = {"local": local, "ray": by_ray, "stock": stock}


def main() -> int:
    """Runs what is asked for; prints a line each, and the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--stock-trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--torch", action="store_true", help="workers import torch")
    parser.add_argument("--only", choices=RUNNERS, action="append")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address="local",
        num_cpus=arguments.workers, include_dashboard=False, log_to_driver=False,
        logging_level=logging.ERROR, _node_ip_address="127.0.0.1",
    )  # fmt: skip
    print(
        f"{arguments.workers} workers, {REPORTS} reports a trial, SQLite, "
        f"{'torch imported' if arguments.torch else 'no torch'}, Ray {ray.__version__}"
    )
    each = {}
    for name in arguments.only or RUNNERS:
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            ends = RUNNERS[name](Path(folder), arguments)
            whole = time.perf_counter() - began
        each[name] = (ends[-1] - ends[0]) / (len(ends) - 1)
        print(f"{name:6} {each[name]:7.4f} s a trial  ({len(ends)} trials, {whole:.1f} s in all)")
    if {"ray", "stock"} <= each.keys():
        print(f"ray / stock: {each['ray'] / each['stock']:.3f}")
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
