"""How fast this machine trains: a few short trainings, from which longer ones follow.

What a training takes is its multiply-adds times what one takes, by the stage with which it begins,
and a fixed part. On a CPU the processor's time is measured, which other programs disturb less than
the clock, and stretched by how much longer the clock went: a busy machine is planned as busy.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import torch
from torch import Tensor

from layersearch.build.components import Components
from layersearch.execution import make_places
from layersearch.objectives import step_multiply_adds
from layersearch.space import Subset
from layersearch.subtuning import Recipe, first_tuned, open_workplace
from layersearch.subtuning.network import TunedNetwork, stage_multiply_adds
from layersearch.subtuning.training import (
    EVALUATION_VIEW,
    Workplace,
    evaluate,
    starting_head,
    train,
)

_BATCHES = 4  # of a measurement
_EPOCHS = 3  # of the longer of two trainings; the other has one
_REPEATS = 3
_DEPTHS = 4  # places of the backbone that are measured
_RECORDING = 0.06  # seconds in which a trial is proposed and recorded, in SQLite


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What this machine takes."""

    training: Mapping[int, float]  # first stage -> seconds a multiply-add
    scoring: Mapping[int, float]  # first stage -> seconds a multiply-add
    fixed: float  # seconds of a training, however short
    head: float  # seconds in which a head is fitted to a fold's frozen features
    features: float  # seconds in which one sample goes through the whole backbone
    worker: float  # seconds in which a worker process starts; 0: trials run in this one
    busy: float  # seconds by the clock for one of the processor's, at least 1; 1 on a GPU
    crowding: float = 1.0  # threads of all workers for each core, at least 1

    def training_from(self, stage: int) -> float:
        """Of the nearest stage that was measured."""
        return self.training[min(self.training, key=lambda known: abs(known - stage))]

    def scoring_from(self, stage: int) -> float:
        """Of the nearest stage that was measured."""
        return self.scoring[min(self.scoring, key=lambda known: abs(known - stage))]


class _Clock:
    """Seconds of what is done: the processor's on a CPU, the clock's elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.wall = self.processor = 0.0

    def time(self, do: Callable[[], object]) -> float:
        """Does it."""
        self._settle()
        wall, processor = time.perf_counter(), time.process_time()
        do()
        self._settle()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        self.wall, self.processor = self.wall + wall, self.processor + processor
        return processor if self._device.type == "cpu" else wall

    def stretch(self) -> float:
        """What its seconds are to be multiplied by, to be the clock's."""
        if self._device.type != "cpu":
            return 1.0
        return self.wall / max(self.processor, 1e-9)

    def _settle(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def measure(parts: Components, *, device: str) -> Rates:
    """Trains a few batches at some depths, features at hand, as trials do.

    Args:
        parts: of the search.
        device: to measure on.
    """
    before = torch.get_num_threads()
    try:
        return _measured(parts, device)
    finally:
        torch.set_num_threads(before)


def _measured(parts: Components, device: str) -> Rates:
    materials, execution = parts.materials, parts.config.execution
    workers = execution.local_workers
    place = make_places(workers, devices=[device], threads=_threads(parts))[0]
    # A cache of its own: the search's would be built for samples that are not needed now.
    aside = replace(materials, cache_directory=None)
    workplace = open_workplace(aside, replace(place, workers_on_node=1, workers_on_device=1))
    clock = _Clock(workplace.device)
    fold = materials.data.folds[0].train
    samples = fold[: _BATCHES * materials.recipe.batch_size]
    try:
        # Before anything is stored: what the first trials meet.
        features = clock.time(lambda: _last_features(workplace, fold))
        head = clock.time(lambda: starting_head(workplace, fold, materials.recipe.head, seed=0))
        training, scoring, fixed = _by_depth(parts, workplace, samples, clock)
    finally:
        workplace.features.close(remove=True)
    stretch = clock.stretch()
    started = workers > 1 or execution.runner == "ray" or execution.trial_timeout is not None
    return Rates(
        training={stage: seconds * stretch for stage, seconds in training.items()},
        scoring={stage: seconds * stretch for stage, seconds in scoring.items()},
        fixed=fixed * stretch + _RECORDING,
        head=head * stretch,
        features=features * stretch / len(fold),
        worker=_starting() if started else 0.0,
        busy=max(1.0, stretch),
        crowding=_crowding(workers * place.threads) if device == "cpu" else 1.0,
    )


def _crowding(threads: int) -> float:
    places = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return max(1.0, threads / (len(places) or os.cpu_count() or 1))


def _threads(parts: Components) -> int | None:
    execution = parts.config.execution
    if execution.runner == "ray":
        return execution.threads or max(1, int(execution.cpus_per_trial))
    return execution.threads


def _last_features(workplace: Workplace, samples: Tensor) -> None:
    for batch in torch.split(samples, 500):
        workplace.features.values(len(workplace.chain.stages) - 1, batch, EVALUATION_VIEW)


def _by_depth(
    parts: Components, workplace: Workplace, samples: Tensor, clock: _Clock
) -> tuple[dict[int, float], dict[int, float], float]:
    """Seconds a multiply-add, of training and of scoring, by stage; and those of any training."""
    short = replace(parts.materials.recipe, epochs=1)
    long = replace(short, epochs=_EPOCHS)
    units = sorted(parts.space.units, key=lambda unit: unit.depth)
    chosen = {round(place) for place in np.linspace(0, len(units) - 1, min(_DEPTHS, len(units)))}
    training, scoring, fixed = dict[int, float](), dict[int, float](), list[float]()
    for subset in (Subset(), *(Subset([units[place].name]) for place in sorted(chosen))):
        network = train(workplace, subset, samples, short, seed=0)  # features and kernels are made
        times = [
            (
                clock.time(lambda: train(workplace, subset, samples, short, seed=0)),  # noqa: B023
                clock.time(lambda: train(workplace, subset, samples, long, seed=0)),  # noqa: B023
                clock.time(lambda: _scored(workplace, network, samples)),  # noqa: B023
            )
            for _ in range(_REPEATS)
        ]
        once, more, scored = (median(column) for column in zip(*times, strict=True))
        # An epoch takes what the longer has more; noise must not make it nothing.
        epoch = max((more - once) / (_EPOCHS - 1), 0.5 * more / _EPOCHS)
        first = first_tuned(workplace.chain, subset)
        step, forward = multiply_adds(parts, subset, short)
        training[first] = epoch / (step * len(samples))
        scoring[first] = scored / (forward * len(samples))
        fixed.append(max(0.0, once - epoch))
    return training, scoring, median(fixed)


def _scored(workplace: Workplace, network: TunedNetwork, samples: Tensor) -> None:
    evaluate(
        network,
        workplace.features,
        samples,
        device=workplace.device,
        precision=workplace.precision,
    )


def multiply_adds(parts: Components, subset: Subset, recipe: Recipe) -> tuple[int, int]:
    """Of one sample: of a step of training, and of scoring it."""
    chain = parts.chain
    stages = stage_multiply_adds(chain, subset, recipe)
    step = step_multiply_adds(subset, chain.units, stages=stages)
    return max(1, step), max(1, sum(stages[first_tuned(chain, subset) :]))


def training_seconds(
    parts: Components, rates: Rates, subset: Subset, recipe: Recipe, *, samples: int, scored: int
) -> float:
    """Of one training, features and the fitted head at hand.

    Args:
        parts: of the search.
        rates: of this machine.
        subset: that is tuned.
        recipe: its epochs and validations.
        samples: that it trains on.
        scored: samples that each validation scores.
    """
    first = first_tuned(parts.chain, subset)
    step, forward = multiply_adds(parts, subset, recipe)
    validations = sum(map(recipe.validates_after, range(recipe.epochs)))
    trained = recipe.epochs * samples * step * rates.training_from(first)
    return rates.fixed + trained + validations * scored * forward * rates.scoring_from(first)


def first_seconds(parts: Components, rates: Rates) -> float:
    """Of what every worker does once: it starts, and makes what its trials share.

    Features are made at each place that a trial begins at, each from the one before, so that all
    together take about one pass over the samples, and one for each augmentation view.
    """
    data, materials = parts.materials.data, parts.materials
    views = materials.recipe.epochs if materials.views is None else materials.views
    passes = 1 if materials.views == 1 else 1 + views
    return rates.worker + len(data.folds) * rates.head + len(data.train) * passes * rates.features


def _starting() -> float:
    """Seconds in which a process starts that can train."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", "import layersearch.subtuning"]
    subprocess.run(command, check=False, capture_output=True)
    return time.perf_counter() - begun
