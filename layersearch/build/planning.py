"""What a search will cost, told before it begins: trainings, epochs and time on this machine."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from layersearch.build.budgets import build_budgets
from layersearch.build.measuring import Rates, first_seconds, measure, training_seconds
from layersearch.build.playing import is_over, play, rounds_of, skips
from layersearch.build.preparing import Prepared
from layersearch.build.running import driver_devices
from layersearch.execution import Budgets
from layersearch.execution.budgets import Spending
from layersearch.report.wording import duration
from layersearch.space import History, Subset
from layersearch.strategies import Look
from layersearch.strategies.optuna_adapter import StrategySampler
from layersearch.subtuning import Contender, contenders

if TYPE_CHECKING:
    import pandas as pd

_MOST_TRIALS = 5_000  # that are played
_SAMPLED = 64  # subsets, for what a trial of a sampler costs on average
_BUSY = 1.3  # seconds by the clock for one of the processor's, from which it is said
NOTHING = History()


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a search costs if it goes so."""

    name: str  # 'if 2 rounds gain'
    trials: int
    looks: int  # of the trials
    trainings: int  # folds
    epochs: int  # over all folds
    seconds: float
    whole: bool = True  # whether it ends of itself, not by a budget


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search will cost, by how it may go."""

    study: str
    strategy: str
    cases: tuple[Case, ...]
    retraining: Case  # of the winner and the baselines, at the end
    measured: float  # seconds that measuring took
    workers: int
    done: Case | None = None  # what an existing study has; the cases are what is left
    choice: str = ""  # the protocol that a budget chose, and why
    notes: tuple[str, ...] = ()  # what the plan does not know

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps({"event": "plan", **asdict(self)})

    def to_frame(self) -> "pd.DataFrame":
        """A row a case, and one for the retraining, as a pandas table; it must be installed."""
        import pandas as pd

        return pd.DataFrame([asdict(case) for case in (*self.cases, self.retraining)])

    def __str__(self) -> str:
        """A table for people."""
        head = ("", "trials", "looks", "trainings", "epochs", "time")
        before = [replace(self.done, name="done already")] if self.done else []
        rows = [head, *(_row(case) for case in (*before, *self.cases, self.retraining))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if place == 0 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        many = f"{self.workers} worker{'s' if self.workers != 1 else ''}"
        what = "what is left of the search" if self.done else "what the search will cost"
        title = f"{self.study}: {what} ({self.strategy}, {many})"
        notes = [f"- {note}" for note in ((self.choice,) if self.choice else ()) + self.notes]
        return "\n".join([title, "", *lines, "", *notes]).rstrip()


def _row(case: Case) -> tuple[str, ...]:
    numbers = (case.trials, case.looks, case.trainings, case.epochs)
    shown = [str(number) if number else "-" for number in numbers]
    return (case.name, *shown, duration(case.seconds))


def plan(
    prepared: Prepared,
    *,
    past: History | None = None,
    driven: float = 0.0,
    rates: Rates | None = None,
    choice: str = "",
) -> Plan:
    """What the search will cost; trains a few batches to measure this machine.

    Args:
        prepared: the search.
        past: the trials of its study, if there is one.
        driven: seconds that the study was driven.
        rates: of this machine; None: they are measured.
        choice: what a budget chose, in words.

    Raises:
        LayersearchError: as the search would, before its first trial.
    """
    began = time.perf_counter()
    rates = rates or measure(prepared.parts, device=driver_devices(prepared.config)[0])
    measured = time.perf_counter() - began
    estimate = Estimate(prepared, rates, past=past or NOTHING, driven=driven)
    return Plan(
        study=prepared.config.study_name,
        strategy=prepared.proposing.name,
        cases=estimate.cases(),
        retraining=_retraining(prepared, rates),
        measured=round(measured, 2),
        workers=estimate.workers,
        done=None if past is None else _recorded(past, estimate.budgets, driven),
        choice=choice,
        notes=tuple(_notes(prepared, estimate)),
    )


class Estimate:
    """Plays a search and adds up what it asks for.

    Args:
        prepared: the search.
        rates: of this machine.
        past: the trials of its study.
        driven: seconds that the study was driven.
        bounded: whether budgets end it.
    """

    def __init__(
        self,
        prepared: Prepared,
        rates: Rates,
        *,
        past: History = NOTHING,
        driven: float = 0.0,
        bounded: bool = True,
    ) -> None:
        self.parts = prepared.parts
        self.rates = rates
        self.past = past
        self.sampler = prepared.proposing.sampler
        self.workers = max(1, prepared.config.execution.local_workers)
        self.epochs = mean_epochs(prepared.config.recipe.epochs)
        self.budgets = build_budgets(prepared.config, self.parts)
        self._driven = driven
        if not bounded:
            self.budgets = Budgets(
                trials=self.budgets.trials,
                trainings_per_trial=self.budgets.trainings_per_trial,
                epochs_per_trial=self.budgets.epochs_per_trial,
            )

    def cases(self) -> tuple[Case, ...]:
        """By the number of rounds that gain, or the one that there is."""
        if not isinstance(self.sampler, StrategySampler):
            return (self._add_up("the search", self._sampled()),)
        if len(self.past) and is_over(self.sampler.strategy, self.past):
            return (self._add_up("the search", ()),)
        cases = list[Case]()
        for gains in _gains(len(self.parts.space.free)):
            case = self.case(gains)
            if cases and replace(case, name=cases[-1].name) == cases[-1]:
                continue  # a budget, or a strategy without rounds
            cases.append(case)
        if rounds_of(self.sampler.strategy) is None:
            cases = [replace(cases[-1], name="the search")]
        elif len(cases) == 1:
            cases = [replace(cases[0], name="the search")]
        return tuple(cases)

    def case(self, gains: int) -> Case:
        """If so many (more) rounds gain."""
        assert isinstance(self.sampler, StrategySampler)
        more = "more " if len(self.past) else ""
        rounds = "round gains" if gains == 1 else "rounds gain"
        played = play(self.sampler.strategy, self.parts.space, gains=gains, past=self.past)
        return self._add_up(f"if {gains} {more}{rounds}", islice(played, _MOST_TRIALS))

    def _sampled(self) -> Iterator[Subset]:
        """A sampler's trials: subsets drawn at random."""
        random = np.random.default_rng(0)
        drawn = [self.parts.space.sample(random) for _ in range(_SAMPLED)]
        return (drawn[place % _SAMPLED] for place in range(_MOST_TRIALS))

    def _add_up(self, name: str, proposals: Iterator[Subset | Look] | Sequence[Subset]) -> Case:
        """What the proposals cost, as far as the budgets go."""
        data, budgets = self.parts.materials.data, self.budgets
        folds, used = len(data.folds), Spending(budgets).of(self.past)
        trials = looks = epochs = 0
        seconds, whole = 0.0, True
        start = first_seconds(self.parts, self.rates)
        for proposal in proposals:
            look = isinstance(proposal, Look)
            own = proposal.epochs if isinstance(proposal, Look) else self.epochs
            clock = self._driven + start + seconds / self.at_once
            if (
                _over(budgets.trials, used.trials + trials + 1)
                or _over(budgets.trainings, used.trainings + (trials + 1) * folds)
                or _over(budgets.epochs, used.epochs + epochs + folds * own)
                or (budgets.seconds is not None and clock >= budgets.seconds)
            ):
                whole = False
                break
            subset = proposal.subset if isinstance(proposal, Look) else proposal
            seconds += self.trial_seconds(subset, own)
            trials, looks, epochs = trials + 1, looks + look, epochs + round(folds * own)
        return Case(
            name=name,
            trials=trials,
            looks=looks,
            trainings=trials * folds,
            epochs=epochs,
            seconds=round(start + seconds / self.at_once, 2) if trials else 0.0,
            whole=whole,
        )

    @property
    def at_once(self) -> float:
        """Workers that do not wait for a processor."""
        return self.workers / max(1.0, self.rates.crowding)

    def trial_seconds(self, subset: Subset, epochs: float) -> float:
        """Of a trial by its worker."""
        recipe = replace(self.parts.materials.recipe, epochs=max(1, round(epochs)))
        return sum(
            training_seconds(
                self.parts,
                self.rates,
                subset,
                recipe,
                samples=len(fold.train),
                scored=len(fold.validation),
            )
            for fold in self.parts.materials.data.folds
        )


def _over(limit: float | None, wanted: float) -> bool:
    return limit is not None and wanted > limit


def _gains(units: int) -> list[int]:
    return sorted({gains for gains in (0, 1, 2, 3, 5) if gains < units} | {units})


def mean_epochs(epochs: Any) -> float:
    """Of a recipe's number, or of those that a sampler may choose from."""
    if isinstance(epochs, int):
        return epochs
    choices = getattr(epochs, "choices", None)
    return float(np.mean(choices or (epochs.low, epochs.high)))


def _recorded(past: History, budgets: Budgets, driven: float) -> Case:
    used = Spending(budgets).of(past)
    return Case(
        name="done already",
        trials=used.trials,
        looks=sum(record.look is not None for record in past),
        trainings=used.trainings,
        epochs=used.epochs,
        seconds=round(driven, 2),
    )


def _notes(prepared: Prepared, estimate: Estimate) -> Iterator[str]:
    config, sampler = prepared.config, estimate.sampler
    if estimate.rates.busy > _BUSY:
        yield (
            f"this machine is busy: what takes a second of the processor takes "
            f"{estimate.rates.busy:.1f} s by the clock now, and the times are for that"
        )
    if not isinstance(sampler, StrategySampler):
        yield "a sampler's subsets are not known before; their mean cost is assumed"
    elif skips(sampler.strategy):
        yield "rounds skip candidates that can hardly win: it may take fewer trials than that"
    if not isinstance(config.recipe.epochs, int):
        yield f"epochs are searched; {estimate.epochs:g} are assumed, the mean of their range"
    if config.strategy.pruner is not None or config.execution.scheduler is not None:
        yield "trials that are pruned take less"
    if config.execution.runner == "ray":
        workers = f"{estimate.workers} worker{'s' if estimate.workers != 1 else ''}"
        yield f"Ray: {workers} at once, as fast as this machine, are assumed"
    if estimate.budgets.seconds is not None:
        yield "a budget of time is for the search; retraining comes after it"
    if any(case.trials >= _MOST_TRIALS for case in estimate.cases()):
        yield f"it may take more than {_MOST_TRIALS} trials, which were not counted further"


def _retraining(prepared: Prepared, rates: Rates) -> Case:
    """The winner and the runner-up, of half the units, and the baselines, by one worker."""
    parts, final = prepared.parts, prepared.config.final
    epochs = max(1, round(mean_epochs(prepared.config.recipe.epochs)))
    recipe = replace(parts.materials.recipe, epochs=epochs, validate_every=epochs)
    units = [unit.name for unit in parts.space.units]
    half = Subset(units[len(units) // 2 :])
    field = contenders(
        half,
        recipe,
        everything=Subset(units),
        baselines=final.baselines,
        runner_up=Contender(name="runner_up", subset=half, recipe=recipe),
    )
    data = parts.materials.data
    samples, tested = len(data.final_train), len(data.test)
    seconds = sum(
        training_seconds(parts, rates, one.subset, one.recipe, samples=samples, scored=tested)
        for one in field
    )
    trainings = final.seeds * len(field)
    once = rates.head + (samples + tested) * rates.features
    return Case(
        name="retraining at the end",
        trials=0,
        looks=0,
        trainings=trainings,
        epochs=trainings * epochs,
        seconds=round(once + final.seeds * seconds, 2),
    )
