"""Budgets: how much a search may spend, by all workers and over all its resumptions together.

They decide only whether another trial begins; trials that run are left to finish. What a trial will
spend is reserved when it begins, so N workers do not overshoot by N trials.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from layersearch.space.records import Follower, History, TrialRecord
from layersearch.study import attributes as names


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """Limits of a search; None: no limit."""

    trials: int | None = None  # in the study, ended well or not; interrupted ones do not count
    seconds: float | None = None  # in which at least one driver worked on the study
    trainings: int | None = None  # folds trained
    epochs: int | None = None  # trained, over all folds
    trainings_per_trial: int = 1  # folds
    epochs_per_trial: int = 0  # folds * epochs; 0: not known beforehand

    @property
    def limited(self) -> bool:
        """Whether anything is limited."""
        limits = (self.trials, self.seconds, self.trainings, self.epochs)
        return any(limit is not None for limit in limits)


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

    def of(self, history: History) -> Spent:
        """What these trials have spent; a running trial counts as one that runs to its end."""
        ended, running = self._ended.of(history), len(history.active)
        return Spent(
            trials=ended["trials"] + running,
            trainings=ended["trainings"] + running * self._budgets.trainings_per_trial,
            epochs=ended["epochs"] + running * self._budgets.epochs_per_trial,
        )


def _add(total: Counter[str], record: TrialRecord) -> None:
    found = record.attributes
    total["trials"] += not found.get(names.INTERRUPTED, False)
    total["trainings"] += found.get(names.TRAININGS, 0)
    total["epochs"] += found.get(names.EPOCHS, 0)


def spent(records: Iterable[TrialRecord], budgets: Budgets) -> Spent:
    """What `records` have spent; a running trial counts as one that runs to its end."""
    return Spending(budgets).of(History(records))


def used_up(budgets: Budgets, used: Spent, *, seconds: float) -> str:
    """Which budget forbids another trial, in words; '' if none does."""
    if budgets.trials is not None and used.trials >= budgets.trials:
        return f"the budget of {budgets.trials} trials is used up"
    if budgets.seconds is not None and seconds >= budgets.seconds:
        return f"the budget of {budgets.seconds:g} seconds is used up"
    each = (
        ("trainings", budgets.trainings, used.trainings, budgets.trainings_per_trial),
        ("epochs", budgets.epochs, used.epochs, budgets.epochs_per_trial),
    )
    for name, limit, so_far, per_trial in each:
        if limit is not None and so_far + max(1, per_trial) > limit:
            return f"the budget of {limit} {name} is used up ({so_far} done, {per_trial} a trial)"
    return ""
