"""Runs a search: asks for trials, has workers run them, records what they find.

The driver alone talks to the study; workers see proposals and answer with reports and results. What
is recorded is the whole state: a driver that dies is replaced by running the same search again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna

from layersearch.errors import SearchError, TrialStopped
from layersearch.execution.budgets import Budgets
from layersearch.execution.checkpoints import Checkpoints
from layersearch.execution.desk import NO_CHECKPOINTS
from layersearch.execution.observer import Observer
from layersearch.execution.pool import Pool
from layersearch.execution.proposals import Ask, End, Planner, Rest
from layersearch.execution.session import UNLIMITED, SearchRun, Session, sampled_recipe
from layersearch.execution.signals import Interrupts
from layersearch.space.subset import Subset
from layersearch.space.trial import JobFactory
from layersearch.strategies.optuna_adapter import claimed
from layersearch.study.opening import OpenStudy

_WAIT = 0.5  # seconds between two looks at what other drivers did, and at interruptions


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
    smaller_batches: bool = False,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
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
        why_not: the limit that a subset breaks, in words; it is recorded and not trained.
        budgets: of the study, over all workers and resumptions.
        max_failures: subsets that may fail of themselves, one after another.
        retrain: train subsets again that have a score.
        waits: whether it ends only when the trials of other drivers have ended too.
        smaller_batches: whether a trial that runs out of memory is tried again with fewer samples
            at a time; otherwise it fails.
        checkpoints: where trials keep their state, and find it when they are interrupted.
        observers: are told what happens.

    Raises:
        SearchError: workers cannot start or keep dying, or too many trials failed; with the first
            traceback. What ended before is recorded.
        StudyError: another driver took the study, because this one seemed dead.
        KeyboardInterrupt: the user interrupted twice.
    """
    session = Session(
        opened,
        planner=planner,
        claimed=claimed,
        recipe=recipe,
        costs=costs,
        why_not=why_not,
        budgets=budgets,
        max_failures=max_failures,
        retrain=retrain,
        waits=waits,
        smaller_batches=smaller_batches,
        checkpoints=checkpoints,
        observers=observers,
    )
    return _Driver(session, pool).run(checkpoints.wrap(job_factory))


class _Driver:
    """The loop between proposals, workers and the desk that records."""

    def __init__(self, session: Session, pool: Pool) -> None:
        self._session = session
        self._pool = pool
        self._desk = session.desk
        self._proposals = session.proposals
        self._trials = 0

    def run(self, job_factory: JobFactory) -> SearchRun:
        """See run_search."""
        with Interrupts(self._session.say_interrupted) as interrupts:
            self._desk.interrupted = lambda: interrupts.count > 0
            try:
                self._session.audience.phase(_starting(len(self._pool.places)))
                self._pool.start(job_factory)
                self._desk.begin()
                self._session.audience.phase("searching")
                end = self._loop(interrupts)
                self._session.statuses.tell(self._pool.crew, now=True)
            except BaseException:
                self._pool.close(now=True)  # nobody reports any more
                self._desk.abandon()
                raise
            self._pool.close()
        return self._session.ended(end, trials=self._trials)

    def _loop(self, interrupts: Interrupts) -> End | None:
        """Runs trials; why nothing more is to run, None: the user interrupted."""
        while True:
            self._session.check_lease()
            if interrupts.count:
                self._pool.stop(TrialStopped("interrupted", pruned=False))
                while self._desk.running:
                    self._pool.wait(self._desk.handle, seconds=_WAIT)
                return None
            verdict = self._fill()
            self._session.statuses.tell(self._pool.crew)
            if isinstance(verdict, End) and not self._desk.running:
                return verdict
            self._check_deadlock(verdict)
            self._pool.wait(self._desk.handle, seconds=_WAIT)
            self._session.reap()

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
            verdict = None
        return verdict

    def _check_deadlock(self, verdict: Ask | Rest | End | None) -> None:
        if isinstance(verdict, Rest) and not self._desk.running and not verdict.others:
            raise SearchError(f"strategy.name: it waits, but nothing is running: {verdict.reason}")


def _starting(workers: int) -> str:
    return f"starting {workers} workers" if workers > 1 else "preparing the worker"
