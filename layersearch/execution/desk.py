"""The desk: trials that are running, and what is recorded of them as events come in."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.pruners import NopPruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from layersearch.errors import SearchError, TrialStopped
from layersearch.execution.messages import Event, Failed, Finished, Lost, Reported, Stopped
from layersearch.execution.observer import Observers
from layersearch.space.records import TrialState
from layersearch.space.subset import Subset
from layersearch.space.trial import Proposal, Report, TrialResult
from layersearch.study import attributes as names
from layersearch.study.history import trial_record
from layersearch.study.opening import OpenStudy
from layersearch.study.orphans import requeue_interrupted
from layersearch.study.recording import (
    record_failure,
    record_memo,
    record_pruned,
    record_report,
    record_result,
    why_no_number,
    why_unusable,
)

MAX_LOST = 3  # workers that one subset may take with it before it counts as failing of itself
_FLUSH = 1.0  # seconds that reports may wait to be written where nothing is pruned


@dataclass(kw_only=True)
class RunningTrial:
    """A trial that a worker has, and what it has said."""

    trial: optuna.Trial
    proposal: Proposal
    began: float = field(default_factory=time.monotonic)
    written: float = field(default_factory=time.monotonic)
    unwritten: list[Report] = field(default_factory=list)
    curve: dict[int, float] = field(default_factory=dict)
    folds: set[int] = field(default_factory=set)
    epochs: int = 0
    spoiled: str = ""  # why its scores are of no use
    twins: list[tuple[optuna.Trial, Proposal]] = field(default_factory=list)  # wait for its score


class Desk:
    """Records the events of running trials in the study, and decides whether each goes on.

    Args:
        opened: the study.
        audience: is told.
        max_failures: subsets that may fail of themselves, one after another.
        requeues: whether interrupted trials are enqueued again, for samplers that would not propose
            them again.
    """

    def __init__(
        self, opened: OpenStudy, audience: Observers, *, max_failures: int, requeues: bool
    ) -> None:
        self._opened = opened
        self._study = opened.study
        self._audience = audience
        self._max_failures = max_failures
        self._requeues = requeues
        self._failed: set[Subset] = set()
        self._in_a_row = 0
        self._first_failure = ""
        minimised = self._study.directions[0] is StudyDirection.MINIMIZE
        self._sign = -1.0 if minimised else 1.0  # makes higher better
        self._several = len(self._study.directions) > 1
        self.interrupted: Callable[[], bool] = lambda: False
        self.running: dict[int, RunningTrial] = {}

    @property
    def prunes(self) -> bool:
        """Whether reports may end a trial, so that it waits for the answer."""
        return not self._several and not isinstance(self._study.pruner, NopPruner)

    def begin(self) -> None:
        """Sees to what an earlier driver left behind."""
        if self._opened.orphans:
            self._audience.message(
                f"{len(self._opened.orphans)} trials were interrupted; their subsets will run again"
            )
        self.requeue()

    def open(self, trial: optuna.Trial, proposal: Proposal) -> None:
        """A worker has the trial now."""
        self.running[proposal.number] = RunningTrial(trial=trial, proposal=proposal)
        self._audience.started(proposal)

    def requeue(self) -> None:
        """Enqueues interrupted trials again, where the sampler needs it."""
        if self._requeues:
            requeue_interrupted(self._study)

    def abandon(self) -> None:
        """Fails all running trials as interrupted; their workers are gone."""
        for number in list(self.running):
            self._fail(number, "interrupted", interrupted=True)
        self._opened.fail_orphans()  # one whose `ask` was cut short

    def handle(self, event: Event) -> TrialStopped | None:
        """Records an event; the answer to a report."""
        running = self.running.get(event.number)
        if running is None:
            return None  # late news of a trial that has ended
        if isinstance(event, Reported):
            return self._report(running, event.report)
        if isinstance(event, Finished):
            self._finish(running, event.result)
        elif isinstance(event, Stopped):
            self._stop(running, event.stop)
        elif isinstance(event, Lost):
            self._lose(running, event.reason)
        else:
            self._fail_of_itself(running, event)
        return None

    # --- Reports ----------------------------------------------------------------------------------

    def _report(self, running: RunningTrial, report: Report) -> TrialStopped | None:
        # Not every epoch is reported: a recipe may validate more rarely.
        running.epochs = max(running.epochs + 1, report.epochs_done)
        running.folds.add(report.fold)
        reason = why_no_number(report.score)
        if reason and not running.spoiled:
            running.spoiled = f"{reason}, after epoch {report.epoch} of fold {report.fold}"
        if running.spoiled:
            return TrialStopped(running.spoiled, pruned=False)
        running.curve[report.step] = float(report.score)
        if not self._several:
            running.unwritten.append(report)
            if self.prunes or time.monotonic() - running.written > _FLUSH:
                _write_reports(running)
        self._audience.reported(running.proposal, report)
        if self.interrupted():
            return TrialStopped("interrupted", pruned=False)
        if self.prunes and running.trial.should_prune():
            return TrialStopped(f"pruned after epoch {report.epoch} of fold {report.fold}")
        return None

    # --- Ends -------------------------------------------------------------------------------------

    def _finish(self, running: RunningTrial, result: TrialResult) -> None:
        values = why_unusable(result.values, objectives=len(self._study.directions))
        reason = running.spoiled or values or _why_no_constraints(result)
        if reason:
            self._fail_of_itself(running, Failed(number=running.proposal.number, reason=reason))
            return
        self._take(running)
        ended = record_result(self._study, running.trial, result, extra=self._extra(running))
        if ended is not None:
            self._tell_finished(running.proposal, ended)
            self._in_a_row = 0
        self._settle_twins(running)

    def _stop(self, running: RunningTrial, stop: TrialStopped) -> None:
        number = running.proposal.number
        if running.spoiled:
            self._fail_of_itself(running, Failed(number=number, reason=stop.reason))
        elif not stop.pruned:
            self._fail(number, stop.reason, interrupted=True)
        else:
            self._take(running)
            self._in_a_row = 0
            if record_pruned(self._study, running.trial, stop.reason, extra=self._extra(running)):
                self._audience.pruned(running.proposal, stop.reason)
            self._settle_twins(running)

    def _lose(self, running: RunningTrial, reason: str) -> None:
        number, subset = running.proposal.number, running.proposal.subset
        before = sum(
            record.subset == subset and bool(record.attributes.get(names.LOST))
            for record in self._opened.history()
        )
        if before + 1 >= MAX_LOST:
            text = (
                f"{reason}\nworkers died in {before + 1} trials of {subset}: it is not tried again"
            )
            self._fail_of_itself(running, Failed(number=number, reason=text), lost=True)
            return
        self._fail(number, f"interrupted: {reason}", interrupted=True, lost=True)
        self.requeue()

    def _fail_of_itself(self, running: RunningTrial, event: Failed, *, lost: bool = False) -> None:
        self._fail(event.number, event.reason, traceback=event.traceback, lost=lost)
        # A second try of the same subset says nothing new about the job.
        if running.proposal.subset in self._failed:
            return
        self._failed.add(running.proposal.subset)
        if self._in_a_row == 0:
            self._first_failure = f"trial {event.number}, {running.proposal.subset}: " + (
                event.traceback or event.reason
            )
        self._in_a_row += 1
        if self._in_a_row >= self._max_failures:
            raise SearchError(
                f"{self._in_a_row} subsets failed one after another (execution.max_failures); the "
                f"first:\n{self._first_failure}"
            )

    def _fail(
        self,
        number: int,
        reason: str,
        *,
        traceback: str = "",
        interrupted: bool = False,
        lost: bool = False,
    ) -> None:
        running = self.running[number]
        self._take(running)
        extra = self._extra(running) | ({names.LOST: True} if lost else {})
        if record_failure(
            self._study,
            running.trial,
            reason,
            traceback=traceback,
            interrupted=interrupted,
            extra=extra,
        ):
            self._audience.failed(running.proposal, reason, interrupted=interrupted)
        self._settle_twins(running)

    def _take(self, running: RunningTrial) -> None:
        del self.running[running.proposal.number]
        _write_reports(running)

    def _extra(self, running: RunningTrial) -> dict[str, Any]:
        extra: dict[str, Any] = {
            names.SECONDS: round(time.monotonic() - running.began, 4),
            names.EPOCHS: running.epochs,
            names.TRAININGS: len(running.folds),
        }
        if self._several and running.curve:
            extra[names.CURVE] = running.curve
        return extra

    # --- Scores known already ---------------------------------------------------------------------

    def repeat(self, trial: optuna.Trial, proposal: Proposal, *, source: int) -> None:
        """Gives the trial the score that trial `source` of the same subset and recipe has."""
        frozen = self._study.get_trials(deepcopy=False)[source]
        ended = record_memo(self._study, trial, frozen)
        if ended is not None:
            self._tell_finished(proposal, ended)

    def twin(self, subset: Subset, recipe: str) -> RunningTrial | None:
        """The running trial of the same subset and recipe, if there is one."""
        for running in self.running.values():
            same = running.proposal.subset == subset
            if same and names.canonical(running.proposal.recipe) == recipe:
                return running
        return None

    def _settle_twins(self, running: RunningTrial) -> None:
        if not running.twins:
            return
        number = running.proposal.number
        trials = self._study.get_trials(deepcopy=False)
        record = trial_record(trials[number], sign=self._sign)
        for trial, proposal in running.twins:
            if record.state is TrialState.COMPLETE or record.score is not None:
                self.repeat(trial, proposal, source=number)
            elif record.state is TrialState.PRUNED:
                reason = f"pruned with trial {number} of the same subset"
                record_pruned(self._study, trial, reason, extra={})
                self._audience.pruned(proposal, reason)
            else:
                reason = f"trial {number} of the same subset failed"
                record_failure(self._study, trial, reason, interrupted=True)
                self._audience.failed(proposal, reason, interrupted=True)

    def _tell_finished(self, proposal: Proposal, ended: FrozenTrial) -> None:
        record = trial_record(ended, sign=self._sign)
        assert record.score is not None
        self._audience.finished(proposal, record, self._sign * record.score)


def _write_reports(running: RunningTrial) -> None:
    for report in running.unwritten:
        record_report(running.trial, report)
    running.unwritten.clear()
    running.written = time.monotonic()


def _why_no_constraints(result: TrialResult) -> str:
    for name, value in result.constraints.items():
        reason = why_no_number(value)
        if reason:
            return f"constraint {name}: {reason}"
    return ""
