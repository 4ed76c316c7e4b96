#!/usr/bin/env python
"""How a search scales: with the number of workers, and with what its study holds already.

`workers`: greedy over 16 units, trials that sleep for about 5 s (up to a fifth more or less, the
same for a subset each time), synthetic scores. *used* is the share of the workers' time in which
they had a trial by the driver's clock, from the first trial's start to the last one's end; *slept*
that in which trials did what they are for; *useful* counts of that only trials that greedy alone on
one worker would have trained. `barrier` has every round wait for its last
trial (speculation off).

`growth`: milliseconds to propose one trial (look what is running and done, ask, claim, record what
is known of it) and to record its result, in a study that holds many trials already; 4 others run.

    python scripts/benchmark_scaling.py workers [--workers 1 2 4 8 16 32] [--runner ray]
    python scripts/benchmark_scaling.py growth [--units 10 50 100 200] [--trials 100 1000 10000]
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filled_study import SAMPLES, fill

from layersearch.execution import Budgets, local_pool, run_search
from layersearch.execution.desk import Desk
from layersearch.execution.messages import Finished
from layersearch.execution.observer import Observers
from layersearch.execution.proposals import Ask, Proposals
from layersearch.space import Chronicle, History, SearchSpace, Subset, TrialRecord, Unit
from layersearch.space import TrialState as Fate
from layersearch.space.seeds import derive_seed
from layersearch.space.trial import (
    Job,
    Proposal,
    Report,
    Reporter,
    TrialResult,
    WorkerPlace,
    pack_correct,
)
from layersearch.strategies import Strategy, make_strategy
from layersearch.strategies.optuna_adapter import claimed, make_search_sampler
from layersearch.study import OpenStudy, history, open_study

EPOCHS = 5
RUNNING = 5  # trials at once while proposals are measured
SPREAD = 0.2  # of the trials' durations, up and down


def main() -> None:
    """Prints the tables, with the machine they are of."""
    options = _options()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), load "
        f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
        f"optuna {optuna.__version__}"
    )
    if options.what == "workers":
        measure_workers(options)
    else:
        measure_growth(options)


def space_of(units: int) -> SearchSpace:
    """Units of different sizes, any of which may be on."""
    names = [f"layer{number // 4 + 1}.{number % 4}" for number in range(units)]
    return SearchSpace(
        [
            Unit(name=name, depth=depth, parameters=(name,), numel=1_000 * (1 + depth % 7))
            for depth, name in enumerate(names)
        ]
    )


class Scores:
    """Scores as finetuning has them: a few units gain, together less than alone, with noise."""

    def __init__(self, units: Sequence[str], *, seed: int, noise: float = 0.006) -> None:
        rng = np.random.default_rng(seed)
        gains = np.abs(rng.normal(0, 0.05, len(units))) * (rng.random(len(units)) < 0.7)
        pairs = rng.normal(0, 0.006, (len(units), len(units)))
        self._place = {name: number for number, name in enumerate(units)}
        self._gains = gains - 0.01 * rng.random(len(units))
        self._pairs = np.triu(pairs, 1)
        self._noise = noise
        self._seed = seed

    def __call__(self, subset: Subset) -> float:
        """The score of a subset, the same each time."""
        on = [self._place[name] for name in subset]
        gains = np.sort(self._gains[on])[::-1] * 0.55 ** np.arange(len(on))
        luck = np.random.default_rng(derive_seed(self._seed, *sorted(subset))).normal()
        together = self._pairs[np.ix_(on, on)].sum() if len(on) < 20 else 0.0
        return float(0.6 + gains.sum() + together - 0.003 * len(on) + self._noise * luck)


# --- Workers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sleeping:
    """A job factory: trials sleep, and report every epoch."""

    scores: Scores
    seconds: float

    def __call__(self, place: WorkerPlace) -> Job:  # noqa: ARG002
        """The job; workers import no torch for it."""
        return self.run

    def duration(self, subset: Subset) -> float:
        """Seconds that a trial of this subset takes."""
        share = derive_seed(1, "duration", *sorted(subset)) % 1001 / 500 - 1
        return self.seconds * (1 + SPREAD * share)

    def run(self, proposal: Proposal, report: Reporter) -> TrialResult:
        """Sleeps epoch by epoch; a stop reaches it after an epoch."""
        score, began = self.scores(proposal.subset), time.monotonic()
        seconds = self.duration(proposal.subset)
        for epoch in range(EPOCHS):
            time.sleep(max(0.0, began + seconds * (epoch + 1) / EPOCHS - time.monotonic()))
            report(Report(fold=0, epoch=epoch, score=score, step=epoch, epochs_done=epoch + 1))
        return TrialResult(values=(score,), stderr=0.005)


@dataclass
class Watch:
    """Notes when trials begin and end, by the driver's clock."""

    began: dict[int, tuple[float, Subset]] = field(default_factory=dict)
    spent: list[tuple[Subset, float]] = field(default_factory=list)
    epochs: dict[int, int] = field(default_factory=dict)  # done, of each trial
    stopped: int = 0
    last: float = 0.0
    idle: float = 0.0  # processor seconds of the driver before the first trial
    computed: float = 0.0

    def started(self, proposal: Proposal) -> None:
        """A worker has it."""
        if not self.began:
            self.idle = time.process_time()
        self.began[proposal.number] = (time.perf_counter(), proposal.subset)

    def finished(self, proposal: Proposal, *_: object) -> None:
        """It has its score, or was stopped."""
        self.last, self.computed = time.perf_counter(), time.process_time() - self.idle
        begun, subset = self.began[proposal.number]
        self.spent.append((subset, self.last - begun))

    def failed(self, proposal: Proposal, *_: object, **__: object) -> None:
        """It was begun on a wrong guess."""
        self.stopped += 1
        self.finished(proposal)

    pruned = finished

    def reported(self, proposal: Proposal, report: Report) -> None:
        """It has trained an epoch more."""
        self.epochs[proposal.number] = report.epochs_done

    def slept(self, job: Sleeping) -> float:
        """Seconds that all trials slept together."""
        each = ((job.duration(subset), number) for number, (_, subset) in self.began.items())
        return sum(seconds * self.epochs.get(number, 0) / EPOCHS for seconds, number in each)

    def status(self, *_: object) -> None:
        """Nothing to note."""

    message = status


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """One search."""

    used: float
    slept: float
    useful: float
    wall: float
    trials: int
    stopped: int
    driver: float  # processor milliseconds a trial
    answer: Subset | None


def measure_workers(options: argparse.Namespace) -> None:
    """Prints used and useful worker time, with speculation and as barriers give it."""
    space = space_of(options.units)
    names = [unit.name for unit in space.units]
    jobs = [Sleeping(Scores(names, seed=seed), options.seconds) for seed in range(options.repeats)]
    needed = [_trained_alone(space, job) for job in jobs]
    print(
        f"{options.runner} runner, {options.units} units, trials of {options.seconds:g} s ± "
        f"{SPREAD:.0%}, {options.repeats} searches each; alone "
        f"{', '.join(str(len(n)) for n in needed)} trainings; medians\n"
    )
    print(
        "| workers | | used | slept | useful | seconds | times faster | trainings | needed "
        f"| stopped early | driver ms a trial |\n{'| --- ' * 11}|"
    )
    for workers in options.workers:
        kinds = ((1, "speculating"), (0, "barrier"))
        for speculate, kind in kinds[:1] if workers == 1 else kinds:
            runs = []
            for job, alone in zip(jobs, needed, strict=True):
                runs.append(_search(space, job, alone, workers, speculate, options.runner))
                expected = _answer_alone(space, job)
                assert runs[-1].answer == expected, f"{runs[-1].answer} is not {expected}"
            middle = {
                name: statistics.median(float(getattr(run, name)) for run in runs)
                for name in ("used", "slept", "useful", "wall", "trials", "stopped", "driver")
            }
            print(
                f"| {workers} | {kind} | {middle['used']:.1%} | {middle['slept']:.1%} "
                f"| {middle['useful']:.1%} "
                f"| {middle['wall']:.1f} | {middle['useful'] * workers:.1f} "
                f"| {middle['trials']:.0f} | {statistics.median(map(len, needed)):.0f} "
                f"| {middle['stopped']:.0f} | {middle['driver']:.1f} |",
                flush=True,
            )


def _search(
    space: SearchSpace,
    job: Sleeping,
    alone: frozenset[Subset],
    workers: int,
    speculate: int,
    runner: str,
) -> Scaled:
    watch = Watch()
    sampler = make_search_sampler(
        "greedy", {"speculate": speculate}, space=space, seed=0, read_history=history
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        open_study("scaling", directory=folder, sampler=sampler) as opened,
    ):
        common: dict[str, Any] = {"observers": [watch], "costs": space.costs}
        if runner == "ray":
            from layersearch.execution.ray_tune import ClusterOptions, run_ray_search

            cluster = ClusterOptions(workers=workers, cpus=0.01, device="cpu")
            run = run_ray_search(opened, job, cluster=cluster, **common)
        else:
            pool = local_pool(workers, threads=1, in_process=False)
            run = run_search(opened, job, pool=pool, **common)
        answer = sampler.answer(run.history)
    first = min(begun for begun, _ in watch.began.values())
    wall = watch.last - first
    return Scaled(
        used=sum(seconds for _, seconds in watch.spent) / (workers * wall),
        slept=watch.slept(job) / (workers * wall),
        useful=sum(map(job.duration, alone)) / (workers * wall),
        wall=wall,
        trials=len(watch.began),
        stopped=watch.stopped,
        driver=1e3 * watch.computed / len(watch.began),
        answer=answer,
    )


def _trained_alone(space: SearchSpace, job: Sleeping) -> frozenset[Subset]:
    strategy = make_strategy("greedy", {}, space=space, seed=0)
    trained = (record.subset for record in played(strategy, job.scores))
    return frozenset(subset for subset in trained if subset is not None)


def _answer_alone(space: SearchSpace, job: Sleeping) -> Subset | None:
    strategy = make_strategy("greedy", {}, space=space, seed=0)
    return strategy.answer(History(played(strategy, job.scores)))


def played(strategy: Strategy, scores: Scores) -> Iterator[TrialRecord]:
    """The trials of a strategy on one worker, as it would have them."""
    chronicle, number = Chronicle(), 0
    while isinstance(subset := strategy.propose(History(chronicle=chronicle)), Subset):
        record = TrialRecord(
            number=number,
            subset=subset,
            state=Fate.COMPLETE,
            score=scores(subset),
            stderr=0.005,
        )
        chronicle.add(record)
        yield record
        number += 1


# --- Growth ---------------------------------------------------------------------------------------


def measure_growth(options: argparse.Namespace) -> None:
    """Prints what proposing and recording a trial take in studies of many sizes."""
    print(
        f"{options.proposals} proposals each after the first, which reads the study; {RUNNING} "
        "trials run; milliseconds, and milliseconds of the processor\n"
    )
    print(
        "| strategy | storage | units | trials | propose, median | worst | processor, median "
        "| worst | record | first proposal |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for strategy in options.strategies:
        for storage in options.storages:
            for units in options.units:
                for trials in options.trials:
                    _measure(strategy, storage, units, trials, options.proposals)


def _measure(name: str, storage: str, units: int, trials: int, proposals: int) -> None:
    space = space_of(units)
    scores = Scores([unit.name for unit in space.units], seed=units)
    ending = {"sqlite": "db", "journal": "log"}[storage]
    strategy_options = {"stop": "official", "min_gain": 10.0} if name == "greedy" else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"study.{ending}"
        earlier = make_search_sampler(
            name, strategy_options, space=space, seed=0, read_history=history
        )
        with open_study("growth", storage=path):
            pass  # it is made
        strategy = getattr(earlier, "strategy", None)
        past = _past(strategy, space, scores, trials, spare=proposals)
        if past is None:
            return
        fill(path, past, space=space, distributions=earlier.distributions)
        sampler = make_search_sampler(
            name, strategy_options, space=space, seed=0, read_history=history
        )
        with open_study("growth", storage=path, sampler=sampler) as opened:
            asked, computed, recorded = _time(opened, space, scores, proposals)
    measured = (*_middle(asked[1:]), *_middle(computed[1:]), statistics.median(recorded))
    shown = [1e3 * seconds for seconds in measured]
    print(
        f"| {name} | {storage} | {units} | {trials:,} | "
        f"{' | '.join(f'{value:.1f}' for value in shown)} | {1e3 * asked[0]:.0f} |",
        flush=True,
    )


def _middle(seconds: Sequence[float]) -> tuple[float, float]:
    return statistics.median(seconds), max(seconds)


def _past(
    strategy: Strategy | None, space: SearchSpace, scores: Scores, trials: int, *, spare: int
) -> list[TrialRecord] | None:
    """Trials of the strategy itself, as long as it has more to propose than `spare`; then others.

    None: there are not so many subsets.
    """
    possible = space.count(at_most=trials + spare + 1)
    if possible < trials + spare:
        return None
    past: list[TrialRecord] = []
    if strategy is not None:
        for record in played(strategy, scores):
            past.append(record)
            if len(past) == trials + spare:
                break
        past = past[: max(0, min(trials, len(past) - spare))]
    rng = np.random.default_rng(0)
    seen = {record.subset for record in past}
    while len(past) < trials:
        subset = space.sample(rng)
        if subset in seen or (strategy is not None and len(subset) < 2):
            continue
        seen.add(subset)
        past.append(
            TrialRecord(number=len(past), subset=subset, state=Fate.COMPLETE, score=scores(subset))
        )
    return past


def _time(
    opened: OpenStudy, space: SearchSpace, scores: Scores, proposals: int
) -> tuple[list[float], list[float], list[float]]:
    """Seconds of each proposal, of the processor in each, and of recording each result."""
    audience = Observers([])
    desk = Desk(opened, audience, max_failures=3, requeues=False)
    planner: Any = opened.study.sampler
    asking = Proposals(
        opened,
        desk,
        audience,
        planner=planner,
        claimed=claimed,
        recipe=lambda trial: {},  # noqa: ARG005
        costs=space.costs,
        why_not=space.why_over,
        budgets=Budgets(trials=10**6),
        retrain=False,
    )
    asked, computed, recorded = list[float](), list[float](), list[float]()
    running = list[Proposal]()
    rng = np.random.default_rng(1)
    for _ in range(proposals):
        began, idle = time.perf_counter(), time.process_time()
        ask = asking.next()
        asked.append(time.perf_counter() - began)
        computed.append(time.process_time() - idle)
        if not isinstance(ask, Ask):  # a round waits for its last trials
            asked.pop()
            computed.pop()
        else:
            desk.open(ask.trial, ask.proposal)
            running.append(ask.proposal)
        if len(running) < RUNNING and isinstance(ask, Ask):
            continue
        proposal = running.pop(0)
        score = scores(proposal.subset)
        bits = pack_correct(rng.random(SAMPLES) < score)
        result = TrialResult(
            values=(score,), stderr=0.01, fold_scores=(score,) * 5, correct=bits, count=SAMPLES
        )
        began = time.perf_counter()
        desk.handle(Finished(number=proposal.number, result=result))
        recorded.append(time.perf_counter() - began)
    desk.abandon()
    return asked, computed, recorded


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    kinds = parser.add_subparsers(dest="what", required=True)
    workers = kinds.add_parser("workers", help="share of worker time used")
    workers.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    workers.add_argument("--units", type=int, default=16)
    workers.add_argument("--seconds", type=float, default=5.0, help="that a trial sleeps")
    workers.add_argument("--repeats", type=int, default=3, help="with other scores each time")
    workers.add_argument("--runner", choices=("local", "ray"), default="local")
    growth = kinds.add_parser("growth", help="milliseconds to propose a trial")
    growth.add_argument("--units", type=int, nargs="+", default=[10, 50, 100, 200])
    growth.add_argument("--trials", type=int, nargs="+", default=[100, 1_000, 10_000])
    growth.add_argument("--storages", nargs="+", default=["sqlite", "journal"])
    growth.add_argument("--strategies", nargs="+", default=["greedy", "exhaustive", "random"])
    growth.add_argument("--proposals", type=int, default=40, help="measured in each study")
    return parser.parse_args()


if __name__ == "__main__":
    main()
