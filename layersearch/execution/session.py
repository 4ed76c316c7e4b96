"""What every driver of a search has: the study, what to run next, what to record, who is told."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import optuna

from layersearch.errors import SearchError, StudyError
from layersearch.execution.budgets import Budgets
from layersearch.execution.checkpoints import Checkpoints
from layersearch.execution.desk import NO_CHECKPOINTS, Desk
from layersearch.execution.observer import Observer, Observers
from layersearch.execution.proposals import End, Planner, Proposals
from layersearch.execution.statuses import Statuses
from layersearch.space.records import History, TrialState
from layersearch.space.subset import Subset
from layersearch.strategies.optuna_adapter import RECIPE, StrategySampler, claimed
from layersearch.strategies.protocol import Eliminates
from layersearch.study.opening import OpenStudy

UNLIMITED = Budgets()
_REAP = 10.0  # seconds between two looks for trials of other drivers that died


class Ending(Enum):
    """Why a search ended."""

    DONE = "done"  # nothing is left to train
    BUDGET = "budget"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class SearchRun:
    """How a search ended."""

    ending: Ending
    reason: str  # in words, with how to go on where there is more to do
    history: History
    trials: int  # that this run gave to its workers
    seconds: float  # that this run took, starting its workers included

    @property
    def interrupted(self) -> bool:
        """Whether the user stopped it."""
        return self.ending is Ending.INTERRUPTED


def sampled_recipe(trial: optuna.Trial) -> dict[str, Any]:
    """The recipe numbers among a trial's parameters."""
    return {
        name.removeprefix(RECIPE): value
        for name, value in trial.params.items()
        if name.startswith(RECIPE)
    }


class Session:
    """One run of a search, whoever runs its trials.

    Args: see `run_search`.

    Raises:
        SearchError: the search would never end.
    """

    def __init__(
        self,
        opened: OpenStudy,
        *,
        planner: Planner | None = None,
        claimed: Callable[[optuna.Trial], Subset | None] = claimed,
        recipe: Callable[[optuna.Trial], Mapping[str, Any]] = sampled_recipe,
        costs: Callable[[Subset], Mapping[str, float]] = lambda subset: {},  # noqa: ARG005
        why_not: Callable[[Subset], str | None] = lambda subset: None,  # noqa: ARG005
        budgets: Budgets = UNLIMITED,
        max_failures: int = 3,
        retrain: bool = False,
        waits: bool = True,
        smaller_batches: bool = False,
        checkpoints: Checkpoints = NO_CHECKPOINTS,
        observers: Sequence[Observer] = (),
    ) -> None:
        sampler = opened.study.sampler
        if planner is None and isinstance(sampler, Planner):
            planner = sampler
        if planner is None and not budgets.limited:
            raise SearchError(
                "strategy.trials: this sampler never ends by itself; set strategy.trials or "
                "execution.budget"
            )
        self.opened = opened
        self.audience = Observers(observers)
        self.desk = Desk(
            opened,
            self.audience,
            max_failures=max_failures,
            requeues=not isinstance(sampler, StrategySampler),
            smaller_batches=smaller_batches,
            checkpoints=checkpoints,
        )
        chief: object = planner
        if isinstance(chief, Eliminates):
            judge = chief.why_beaten
            self.desk.why_beaten = lambda part: judge(part, opened.history())
        self.proposals = Proposals(
            opened,
            self.desk,
            self.audience,
            planner=planner,
            claimed=claimed,
            recipe=recipe,
            costs=costs,
            why_not=why_not,
            budgets=budgets,
            retrain=retrain,
            waits=waits,
        )
        self.statuses = Statuses(opened, self.desk, self.audience, planner=planner, budgets=budgets)
        self.budgets = budgets
        self.checkpoints = checkpoints
        self._begun = time.monotonic()
        self._reaped = time.monotonic()

    def check_lease(self) -> None:
        """Raises StudyError if another driver has taken the study."""
        if self.opened.lease.lost:
            raise StudyError(
                f"study.name: another driver took over '{self.opened.name}', because this one "
                "gave no sign of life; it was not in vain: what ended is recorded"
            )

    def reap(self) -> None:
        """Fails the trials of drivers that died, now and then."""
        if time.monotonic() - self._reaped < _REAP:
            return
        self._reaped = time.monotonic()
        dead = self.opened.fail_orphans()
        if dead:
            self.desk.requeue()
            self.audience.message(f"trials {dead} of a driver that died will run again")

    def say_interrupted(self) -> None:
        """What the user is told at the first Ctrl-C."""
        self.audience.message(
            "interrupted: waiting for running trials to end their epoch and be recorded; "
            "press Ctrl-C again to stop at once"
        )

    def ended(self, end: End | None, *, trials: int) -> SearchRun:
        """How it ended.

        Args:
            end: why nothing more is to run; None: the user interrupted.
            trials: that this run gave to its workers.
        """
        if end is None:
            ending, reason = Ending.INTERRUPTED, self._how_to_resume()
        else:
            ending, reason = Ending.BUDGET if end.budget else Ending.DONE, end.reason
        history = self.opened.history()
        if ending is Ending.DONE and not any(r.state is TrialState.RUNNING for r in history):
            self.checkpoints.clear()  # what is left there belongs to nothing any more
        return SearchRun(
            ending=ending,
            reason=reason,
            history=history,
            trials=trials,
            seconds=time.monotonic() - self._begun,
        )

    def _how_to_resume(self) -> str:
        return (
            f"interrupted; all that ended is recorded in study '{self.opened.name}' "
            f"({self.opened.address}); run the same command again to go on"
        )
