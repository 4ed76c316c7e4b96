"""Runs a search: asks for trials, has workers run them, records what they find.

The driver alone talks to the study; workers see proposals and answer with reports and results. What
is recorded is the whole state: a driver that dies is replaced by running the same search again.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import optuna

from layersearch.errors import SearchError, StudyError, TrialStopped
from layersearch.execution.budgets import Budgets
from layersearch.execution.desk import Desk
from layersearch.execution.observer import Observer, Observers
from layersearch.execution.pool import Pool
from layersearch.execution.proposals import Ask, End, Planner, Proposals, Rest
from layersearch.execution.signals import Interrupts
from layersearch.space.records import History
from layersearch.space.subset import Subset
from layersearch.space.trial import JobFactory
from layersearch.strategies.optuna_adapter import RECIPE, StrategySampler, claimed
from layersearch.study.opening import OpenStudy

UNLIMITED = Budgets()
_WAIT = 0.5  # seconds between two looks at what other drivers did, and at interruptions
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


def run_search(
    opened: OpenStudy,
    job_factory: JobFactory,
    *,
    pool: Pool,
    planner: Planner | None = None,
    claimed: Callable[[optuna.Trial], Subset | None] = claimed,
    recipe: Callable[[optuna.Trial], Mapping[str, Any]] = sampled_recipe,
    costs: Callable[[Subset], Mapping[str, float]] = lambda subset: {},  # noqa: ARG005
    why_not: Callable[[Subset], str | None] = lambda subset: None,  # noqa: ARG005
    budgets: Budgets = UNLIMITED,
    max_failures: int = 3,
    retrain: bool = False,
    waits: bool = True,
    observers: Sequence[Observer] = (),
) -> SearchRun:
    """Runs trials until the strategy is done, a budget is used up, or the user interrupts.

    Args:
        opened: the study; its sampler proposes, and is asked for the parameters that it names in
            `distributions`, if it does.
        job_factory: called once in each worker.
        pool: not started; closed at the end, whatever happens.
        planner: is asked whether there is more to train; None: the study's sampler, if it can say.
        claimed: the subset that the sampler chose for a trial.
        recipe: suggests sampled recipe numbers for a trial.
        costs: of a subset, known before training: {'trainable_parameters': …}.
        why_not: the limit that a subset breaks, in words; it is recorded and not trained. The
            linear probe is always allowed.
        budgets: of the study, over all workers and resumptions.
        max_failures: subsets that may fail of themselves, one after another.
        retrain: train subsets again that have a score.
        waits: whether it ends only when the trials of other drivers have ended too.
        observers: are told what happens.

    Raises:
        SearchError: workers cannot start or keep dying, or too many trials failed; with the first
            traceback. What ended before is recorded.
        StudyError: another driver took the study, because this one seemed dead.
        KeyboardInterrupt: the user interrupted twice.
    """
    sampler = opened.study.sampler
    if planner is None and isinstance(sampler, Planner):
        planner = sampler
    if planner is None and not budgets.limited:
        raise SearchError(
            "strategy.trials: this sampler never ends by itself; set strategy.trials or "
            "execution.budget"
        )
    audience = Observers(observers)
    desk = Desk(
        opened,
        audience,
        max_failures=max_failures,
        requeues=not isinstance(sampler, StrategySampler),
    )
    proposals = Proposals(
        opened,
        desk,
        audience,
        planner=planner,
        claimed=claimed,
        recipe=recipe,
        costs=costs,
        why_not=why_not,
        budgets=budgets,
        retrain=retrain,
        waits=waits,
    )
    return _Driver(opened, pool, desk, proposals, audience).run(job_factory)


class _Driver:
    """The loop between proposals, workers and the desk that records."""

    def __init__(
        self,
        opened: OpenStudy,
        pool: Pool,
        desk: Desk,
        proposals: Proposals,
        audience: Observers,
    ) -> None:
        self._opened = opened
        self._pool = pool
        self._desk = desk
        self._proposals = proposals
        self._audience = audience
        self._trials = 0
        self._reaped = time.monotonic()
        self._begun = time.monotonic()

    def run(self, job_factory: JobFactory) -> SearchRun:
        """See run_search."""
        with Interrupts(self._say_interrupted) as interrupts:
            self._desk.interrupted = lambda: interrupts.count > 0
            try:
                self._pool.start(job_factory)
                self._desk.begin()
                end = self._loop(interrupts)
            except BaseException:
                self._pool.close(now=True)  # nobody reports any more
                self._desk.abandon()
                raise
            self._pool.close()
        return SearchRun(
            ending=end.ending,
            reason=end.reason,
            history=self._opened.history(),
            trials=self._trials,
            seconds=time.monotonic() - self._begun,
        )

    def _loop(self, interrupts: Interrupts) -> "_Ended":
        while True:
            if self._opened.lease.lost:
                raise StudyError(
                    f"study.name: another driver took over '{self._opened.name}', because this one "
                    "gave no sign of life; it was not in vain: what ended is recorded"
                )
            if interrupts.count:
                self._pool.stop(TrialStopped("interrupted", pruned=False))
                while self._desk.running:
                    self._pool.wait(self._desk.handle, seconds=_WAIT)
                return _Ended(ending=Ending.INTERRUPTED, reason=self._how_to_resume())
            verdict = self._fill()
            if isinstance(verdict, End) and not self._desk.running:
                ending = Ending.BUDGET if verdict.budget else Ending.DONE
                return _Ended(ending=ending, reason=verdict.reason)
            self._check_deadlock(verdict)
            self._pool.wait(self._desk.handle, seconds=_WAIT)
            self._reap()

    def _fill(self) -> Ask | Rest | End | None:
        """Gives every free worker a trial; why it could not, or None."""
        verdict: Ask | Rest | End | None = None
        while self._pool.free > 0:
            verdict = self._proposals.next()
            if not isinstance(verdict, Ask):
                break
            self._desk.open(verdict.trial, verdict.proposal)
            self._pool.submit(verdict.proposal, answered=self._desk.prunes)
            self._trials += 1
            self._proposals.tell_status(workers=len(self._pool.places))
            verdict = None
        return verdict

    def _check_deadlock(self, verdict: Ask | Rest | End | None) -> None:
        if isinstance(verdict, Rest) and not self._desk.running and not verdict.others:
            raise SearchError(f"strategy.name: it waits, but nothing is running: {verdict.reason}")

    def _reap(self) -> None:
        if time.monotonic() - self._reaped < _REAP:
            return
        self._reaped = time.monotonic()
        dead = self._opened.fail_orphans()
        if dead:
            self._desk.requeue()
            self._audience.message(f"trials {dead} of a driver that died will run again")

    def _say_interrupted(self) -> None:
        self._audience.message(
            "interrupted: waiting for running trials to end their epoch and be recorded; "
            "press Ctrl-C again to stop at once"
        )

    def _how_to_resume(self) -> str:
        return (
            f"interrupted; all that ended is recorded in study '{self._opened.name}' "
            f"({self._opened.address}); run the same command again to go on"
        )


@dataclass(frozen=True, kw_only=True)
class _Ended:
    ending: Ending
    reason: str
