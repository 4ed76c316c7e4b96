"""Budgets: how much a search may spend, by all workers and over all its resumptions together.

They decide only whether another trial begins; trials that run are left to finish. What a trial will
spend is reserved when it begins, so N workers do not overshoot by N trials. A race, moreover,
keeps what its finalists will spend: it ends its looks while there is enough left for them.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil, inf

import numpy as np

from layersearch.space.records import Follower, History, TrialRecord, TrialState
from layersearch.study import attributes as names

_SLOWER = 75.0  # percentile of seconds an epoch that a finalist is expected to take


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """Limits of a search; None: no limit."""

    trials: int | None = None  # in the study, ended well or not; interrupted ones do not count
    seconds: float | None = None  # in which at least one driver worked on the study
    trainings: int | None = None  # folds trained
    epochs: int | None = None  # trained, over all folds
    trainings_per_trial: int = 1  # folds
    epochs_per_trial: int = 0  # folds * epochs, the most; 0: not known beforehand

    @property
    def limited(self) -> bool:
        """Whether anything is limited."""
        limits = (self.trials, self.seconds, self.trainings, self.epochs)
        return any(limit is not None for limit in limits)

    def epochs_of(self, epochs: int | None) -> int:
        """Epochs that a trial trains over its folds.

        Args:
            epochs: of each of its trainings; None: as the recipe says.
        """
        return self.epochs_per_trial if epochs is None else epochs * self.trainings_per_trial


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What the trials of a study have spent, or will when they end."""

    trials: int = 0
    trainings: int = 0
    epochs: int = 0


class Spending:
    """What a study has spent; its trials that ended are added up once.

    Args:
        budgets: say what a running trial will spend.
    """

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._ended = Follower(Counter[str], _add)

    def of(self, history: History, *, unclaimed: bool = True) -> Spent:
        """What these trials have spent; a running trial counts as one that runs to its end.

        Args:
            history: all trials of the study.
            unclaimed: whether trials count that have no subset yet.
        """
        ended = self._ended.of(history)
        active = [r for r in history.active if unclaimed or r.subset is not None]
        return Spent(
            trials=ended["trials"] + len(active),
            trainings=ended["trainings"] + len(active) * self._budgets.trainings_per_trial,
            epochs=ended["epochs"] + sum(map(self._reserved, active)),
        )

    def _reserved(self, record: TrialRecord) -> int:
        own = record.look if record.look is not None else record.recipe.get("epochs")
        return self._budgets.epochs_of(own)


def _add(total: Counter[str], record: TrialRecord) -> None:
    found = record.attributes
    total["trials"] += not found.get(names.INTERRUPTED, False)
    total["trainings"] += found.get(names.TRAININGS, 0)
    total["epochs"] += found.get(names.EPOCHS, 0)


def spent(records: Iterable[TrialRecord], budgets: Budgets) -> Spent:
    """What `records` have spent; a running trial counts as one that runs to its end."""
    return Spending(budgets).of(History(records))


def used_up(budgets: Budgets, used: Spent, *, seconds: float, epochs: int | None = None) -> str:
    """Which budget forbids another trial, in words; '' if none does.

    Args:
        budgets: of the study.
        used: by its trials.
        seconds: that it was driven.
        epochs: of each training of the trial, where it is known not to be the recipe's.
    """
    if budgets.trials is not None and used.trials >= budgets.trials:
        return f"the budget of {budgets.trials} trials is used up"
    if budgets.seconds is not None and seconds >= budgets.seconds:
        return f"the budget of {budgets.seconds:g} seconds is used up"
    each = (
        ("trainings", budgets.trainings, used.trainings, budgets.trainings_per_trial),
        ("epochs", budgets.epochs, used.epochs, budgets.epochs_of(epochs)),
    )
    for name, limit, so_far, per_trial in each:
        if limit is not None and so_far + max(1, per_trial) > limit:
            return f"the budget of {limit} {name} is used up ({so_far} done, {per_trial} a trial)"
    return ""


class _Race:
    """What is known of a race from its trials that have ended, kept up to date."""

    def __init__(self) -> None:
        self.first_look = inf  # its number
        self.whole: list[int] = []  # numbers of trials of the whole schedule that ended well
        self.rates: list[float] = []  # seconds an epoch

    def add(self, record: TrialRecord) -> None:
        """Takes in one more."""
        if record.look is not None:
            self.first_look = min(record.number, self.first_look)
        elif record.subset is not None and record.state is TrialState.COMPLETE:
            self.whole.append(record.number)
        seconds = record.attributes.get(names.SECONDS)
        epochs = record.attributes.get(names.EPOCHS)
        if record.score is not None and seconds and epochs:
            self.rates.append(seconds / epochs)

    def finalists(self, active: Iterable[TrialRecord]) -> int:
        """Trials of the whole schedule after the first look; those before it were enqueued."""
        running = list(active)
        first = min([self.first_look, *(r.number for r in running if r.look is not None)])
        begun = [r.number for r in running if r.look is None and r.subset is not None]
        return sum(number > first for number in (*self.whole, *begun))

    @property
    def seconds_an_epoch(self) -> float | None:
        """Of the slower trials so far; None before one has ended."""
        # The first trial of a worker makes features; it must not speak for all.
        return float(np.percentile(self.rates, _SLOWER)) if self.rates else None


class Reserve:
    """What a race keeps of its budgets for the whole trainings at its end.

    Finalists may take half of a budget, and more only where not even one fits into that.

    Args:
        budgets: of the study.
        look: epochs of a look.
        finalists: of the race, at most.
        workers: that train at once.
        seconds: how long the study has been driven.
    """

    def __init__(
        self,
        budgets: Budgets,
        *,
        look: int,
        finalists: int,
        workers: int = 1,
        seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._budgets = budgets
        self._look = look
        self._finalists = finalists
        self._workers = workers
        self._seconds = seconds
        self._spending = Spending(budgets)
        self._race = Follower(_Race, _Race.add)

    def why_no_look(self, history: History) -> str:
        """Which budget another look would take from the finalists, in words; '' if none."""
        # The trial that asks for a subset is there already, and is none of its competitors.
        budgets, used = self._budgets, self._spending.of(history, unclaimed=False)
        look, whole = budgets.epochs_of(self._look), budgets.epochs_per_trial
        folds = budgets.trainings_per_trial
        bounds: tuple[tuple[str, float | None, float, float, float], ...] = (
            ("trials", budgets.trials, used.trials, 1, 1),
            ("trainings", budgets.trainings, used.trainings, folds, folds),
            ("epochs", budgets.epochs, used.epochs, look, whole),
        )
        race = self._race.of(history)
        done = race.finalists(history.active)
        for name, limit, so_far, of_look, of_whole in bounds:
            if limit is not None:
                left = max(0, self._most(limit, of_look, of_whole) - done)
                if so_far + of_look + left * of_whole > limit:
                    return self._words(f"{limit:g} {name}", left)
        return self._why_no_time(race, done)

    def _why_no_time(self, race: _Race, done: int) -> str:
        limit = self._budgets.seconds
        rate = None if limit is None else race.seconds_an_epoch
        if limit is None or rate is None:
            return ""
        look = rate * self._budgets.epochs_of(self._look)
        whole = rate * self._budgets.epochs_per_trial
        left = max(0, self._most(limit * self._workers, look, whole) - done)
        if self._seconds() + look + ceil(left / self._workers) * whole > limit:
            return self._words(f"{limit:g} seconds", left)
        return ""

    def _most(self, limit: float, look: float, whole: float) -> int:
        """Finalists that are reserved for, those that have begun included."""
        if limit < look + whole:
            return 0
        return min(self._finalists, max(1, int(limit / 2 // max(whole, 1e-9))))

    @staticmethod
    def _words(budget: str, left: int) -> str:
        kept = f", {left} finalist{'s' * (left != 1)} kept" if left else ""
        return f"the budget of {budget} allows no further look{kept}"
