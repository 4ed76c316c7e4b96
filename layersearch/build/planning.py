"""What a search will cost, told before it begins: trainings, epochs and time on this machine.

A strategy is a function of the recorded trials, so it is played on trials that never ran: with
scores by which so many rounds gain, it asks for what it would ask for. What a trial takes follows
from its multiply-adds and from a few short trainings on this machine.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from torch import Tensor

from layersearch.build.components import Components
from layersearch.build.preparing import Prepared
from layersearch.build.running import driver_devices
from layersearch.build.search import build_budgets
from layersearch.execution import Budgets
from layersearch.objectives import step_multiply_adds
from layersearch.space import Chronicle, History, SearchSpace, Subset, TrialRecord, TrialState
from layersearch.space.trial import WorkerPlace
from layersearch.strategies import (
    Done,
    Greedy,
    GreedyBothWays,
    Look,
    Queued,
    Race,
    Strategy,
)
from layersearch.strategies.optuna_adapter import StrategySampler
from layersearch.subtuning import Recipe, contenders, first_tuned, open_workplace
from layersearch.subtuning.training import Workplace, evaluate, train

_BATCHES = 3  # of a measurement
_DEPTHS = 4  # places of the backbone that are measured
_MOST_TRIALS = 5_000  # that are played
_STEP = 1e-3  # what a round gains in a played search
_SAMPLED = 64  # subsets, for what a trial of a sampler costs on average


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a search costs if it goes so."""

    name: str  # 'if 2 rounds gain'
    trials: int
    looks: int  # of the trials
    trainings: int  # folds
    epochs: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search will cost, by how it may go."""

    cases: tuple[Case, ...]
    retraining: Case  # of the winner and the baselines, at the end; for a winner of half the units
    measured: float  # seconds that measuring took
    workers: int
    note: str = ""  # what the plan does not know


def plan(prepared: Prepared) -> Plan:
    """What the search will cost; trains a few batches to measure this machine.

    Raises:
        LayersearchError: as the search would, before its first trial.
    """
    parts = prepared.parts
    began = time.perf_counter()
    rates = measure(parts, device=driver_devices(prepared.config)[0])
    measured = time.perf_counter() - began
    workers = max(1, prepared.config.execution.local_workers)
    budgets = build_budgets(prepared.config, parts)
    sampler = prepared.proposing.sampler
    if isinstance(sampler, StrategySampler):
        cases, note = _played(sampler.strategy, parts, rates, budgets, workers)
    else:
        cases, note = _sampled(parts, rates, budgets, workers)
    return Plan(
        cases=cases,
        retraining=_retraining(prepared, rates),
        measured=measured,
        workers=workers,
        note=note,
    )


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Seconds a multiply-add on this machine, by the stage with which what is computed begins."""

    training: Mapping[int, float]  # stage -> seconds
    scoring: Mapping[int, float]

    def training_from(self, stage: int) -> float:
        """Of the nearest stage that was measured."""
        return self.training[min(self.training, key=lambda known: abs(known - stage))]

    def scoring_from(self, stage: int) -> float:
        """Of the nearest stage that was measured."""
        return self.scoring[min(self.scoring, key=lambda known: abs(known - stage))]


def measure(parts: Components, *, device: str) -> Rates:
    """Trains a few batches at some depths, features at hand, as trials do."""
    materials = parts.materials
    threads = parts.config.execution.threads or 1
    # A cache of its own: the search's would be built for samples that are not needed now.
    aside = replace(materials, cache_directory=None)
    workplace = open_workplace(aside, WorkerPlace(number=0, device=device, threads=threads))
    recipe = replace(materials.recipe, epochs=1, validate_every=1)
    samples = materials.data.folds[0].train[: _BATCHES * recipe.batch_size]
    units = sorted(parts.space.units, key=lambda unit: unit.depth)
    chosen = {round(place) for place in np.linspace(0, len(units) - 1, min(_DEPTHS, len(units)))}
    subsets = [Subset(), *(Subset([units[place].name]) for place in sorted(chosen))]
    training, scoring = dict[int, float](), dict[int, float]()
    for subset in subsets:
        _timed(workplace, subset, samples, recipe)  # features and kernels are made
        trained, scored = _timed(workplace, subset, samples, recipe)
        first = first_tuned(workplace.chain, subset)
        step, forward = _multiply_adds(workplace, subset)
        training[first] = trained / (step * len(samples))
        scoring[first] = scored / (forward * len(samples))
    workplace.features.close(remove=True)
    return Rates(training=training, scoring=scoring)


def _timed(
    workplace: Workplace, subset: Subset, samples: Tensor, recipe: Recipe
) -> tuple[float, float]:
    """Seconds of an epoch of training, and of scoring the same samples."""
    begun = time.perf_counter()
    network = train(workplace, subset, samples, recipe, seed=0)
    trained = time.perf_counter()
    evaluate(
        network,
        workplace.features,
        samples,
        device=workplace.device,
        precision=workplace.precision,
    )
    return trained - begun, time.perf_counter() - trained


def _multiply_adds(workplace: Workplace, subset: Subset) -> tuple[int, int]:
    """Of one sample: of a step of training, and of scoring it."""
    chain = workplace.chain
    step = step_multiply_adds(subset, chain.units, stages=chain.multiply_adds)
    return max(1, step), max(1, sum(chain.multiply_adds[first_tuned(chain, subset) :]))


def trial_seconds(
    parts: Components, rates: Rates, subset: Subset, recipe: Recipe, *, samples: int, scored: int
) -> float:
    """Of one training, features at hand.

    Args:
        parts: of the search.
        rates: of this machine.
        subset: that is tuned.
        recipe: its epochs and validations.
        samples: that it trains on.
        scored: samples that each validation scores.
    """
    chain = parts.chain
    first = first_tuned(chain, subset)
    step = step_multiply_adds(subset, chain.units, stages=chain.multiply_adds)
    forward = sum(chain.multiply_adds[first:])
    validations = sum(map(recipe.validates_after, range(recipe.epochs)))
    return recipe.epochs * samples * step * rates.training_from(
        first
    ) + validations * scored * forward * rates.scoring_from(first)


def _played(
    strategy: Strategy, parts: Components, rates: Rates, budgets: Budgets, workers: int
) -> tuple[tuple[Case, ...], str]:
    cases = list[Case]()
    for gains in _gains(len(parts.space.free)):
        proposals = list(islice(play(strategy, parts.space, gains=gains), _MOST_TRIALS + 1))
        name = f"if {gains} rounds gain" if gains != 1 else "if 1 round gains"
        case = _case(name, proposals[:_MOST_TRIALS], parts, rates, budgets, workers)
        if cases and replace(case, name=cases[-1].name) == cases[-1]:
            continue  # a budget, or a strategy without rounds
        cases.append(case)
    if len(cases) == 1:
        cases[0] = replace(cases[0], name="the search")
    most = max(case.trials for case in cases)
    return tuple(cases), f"at least {most} trials" if most >= _MOST_TRIALS else ""


def _gains(units: int) -> list[int]:
    return sorted({gains for gains in (0, 1, 2, 3, 5) if gains < units} | {units})


def play(strategy: Strategy, space: SearchSpace, *, gains: int) -> Iterator[Subset | Look]:
    """What a strategy asks for, one worker, if that many rounds gain and the next one does not.

    A round adds a unit or, backward, leaves one out.
    """
    chronicle = Chronicle()
    steps = _steps(strategy, len(space.free))
    while True:
        proposal = strategy.propose(History(chronicle=chronicle))
        if not isinstance(proposal, Subset | Look):
            assert isinstance(proposal, Done), "nothing runs, so there is nothing to wait for"
            return
        yield proposal
        look = proposal.epochs if isinstance(proposal, Look) else None
        subset = proposal.subset if isinstance(proposal, Look) else proposal
        taken = steps(subset)
        chronicle.add(
            TrialRecord(
                number=len(chronicle.ended),
                subset=subset,
                state=TrialState.COMPLETE if look is None else TrialState.PRUNED,
                score=0.5 + _STEP * (min(taken, gains) - max(0, taken - gains)),
                stderr=0.0,
                look=look,
            )
        )


def _steps(strategy: object, units: int) -> Callable[[Subset], int]:
    """How many rounds lead to a subset."""
    while isinstance(strategy, Queued | Race):
        strategy = strategy.strategy
    if isinstance(strategy, GreedyBothWays):
        return lambda subset: min(len(subset), units - len(subset))
    if isinstance(strategy, Greedy) and not strategy.forward:
        return lambda subset: units - len(subset)
    return len


def _sampled(
    parts: Components, rates: Rates, budgets: Budgets, workers: int
) -> tuple[tuple[Case, ...], str]:
    """A sampler's trials, at the mean cost of subsets drawn at random."""
    random = np.random.default_rng(0)
    drawn = [parts.space.sample(random) for _ in range(_SAMPLED)]
    endless: Sequence[Subset] = [drawn[i % _SAMPLED] for i in range(_MOST_TRIALS)]
    case = _case("the search", endless, parts, rates, budgets, workers)
    return (case,), "a sampler's subsets are not known before; their mean cost is assumed"


def _case(
    name: str,
    proposals: Sequence[Subset | Look],
    parts: Components,
    rates: Rates,
    budgets: Budgets,
    workers: int,
) -> Case:
    """What the proposals cost, as far as the budgets go."""
    data, recipe = parts.materials.data, parts.materials.recipe
    trials = looks = trainings = epochs = 0
    seconds = 0.0
    for proposal in proposals:
        look = isinstance(proposal, Look)
        subset = proposal.subset if isinstance(proposal, Look) else proposal
        own = replace(recipe, epochs=proposal.epochs) if isinstance(proposal, Look) else recipe
        more = sum(
            trial_seconds(
                parts, rates, subset, own, samples=len(fold.train), scored=len(fold.validation)
            )
            for fold in data.folds
        )
        over = (
            (budgets.trials is not None and trials >= budgets.trials)
            or (budgets.trainings is not None and trainings + len(data.folds) > budgets.trainings)
            or (
                budgets.epochs is not None
                and epochs + len(data.folds) * own.epochs > budgets.epochs
            )
            or (budgets.seconds is not None and seconds / workers >= budgets.seconds)
        )
        if over:
            break
        trials, looks, seconds = trials + 1, looks + look, seconds + more
        trainings, epochs = trainings + len(data.folds), epochs + len(data.folds) * own.epochs
    return Case(
        name=name,
        trials=trials,
        looks=looks,
        trainings=trainings,
        epochs=epochs,
        seconds=seconds / workers,
    )


def _retraining(prepared: Prepared, rates: Rates) -> Case:
    """The winner, of half the units, and the baselines, by one worker."""
    parts, final = prepared.parts, prepared.config.final
    units = [unit.name for unit in parts.space.units]
    field = contenders(
        Subset(units[len(units) // 2 :]),
        parts.materials.recipe,
        everything=Subset(units),
        baselines=final.baselines,
    )
    samples = len(parts.materials.data.final_train)
    seconds = sum(
        trial_seconds(parts, rates, one.subset, one.recipe, samples=samples, scored=0)
        for one in field
    )
    trainings = final.seeds * len(field)
    return Case(
        name="retraining at the end",
        trials=0,
        looks=0,
        trainings=trainings,
        epochs=trainings * parts.materials.recipe.epochs,
        seconds=final.seeds * seconds,
    )
