"""The desk: trials that are running, and what is recorded of them as events come in."""

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna
from optuna.pruners import NopPruner
from optuna.trial import FrozenTrial

from layersearch.errors import SearchError, StudyError, TrialStopped
from layersearch.execution.checkpoints import Checkpoints
from layersearch.execution.messages import Event, Failed, Finished, Lost, Reported, Stopped
from layersearch.execution.observer import Observers
from layersearch.space.records import PartOfTrial, TrialState
from layersearch.space.subset import Subset
from layersearch.space.trial import Proposal, Report, SoFar, TrialResult, unpack_correct
from layersearch.study import attributes as names
from layersearch.study.history import signs_of, trial_record
from layersearch.study.opening import OpenStudy
from layersearch.study.orphans import requeue_interrupted
from layersearch.study.recording import (
    record_failure,
    record_look,
    record_memo,
    record_pruned,
    record_report,
    record_result,
    why_no_number,
    why_unusable,
)

MAX_LOST = 3  # workers that one subset may take with it before it counts as failing of itself
NO_CHECKPOINTS = Checkpoints(None)
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
    replayed_folds: set[int] = field(default_factory=set)  # of those, begun by an earlier trial
    replayed_epochs: int = 0
    spoiled: str = ""  # why its scores are of no use
    dismissed: str = ""  # why the search needs it no more
    twins: list[tuple[optuna.Trial, Proposal]] = field(default_factory=list)  # wait for its score


class Desk:
    """Records the events of running trials in the study, and decides whether each goes on.

    Args:
        opened: the study.
        audience: is told.
        max_failures: subsets that may fail of themselves, one after another.
        requeues: whether interrupted trials are enqueued again, for samplers that would not propose
            them again.
        smaller_batches: whether a trial that ran out of memory runs again with fewer samples at a
            time; otherwise it fails.
        checkpoints: of trials that have ended for good are removed.
    """

    def __init__(
        self,
        opened: OpenStudy,
        audience: Observers,
        *,
        max_failures: int,
        requeues: bool,
        smaller_batches: bool = False,
        checkpoints: Checkpoints = NO_CHECKPOINTS,
    ) -> None:
        self._opened = opened
        self._study = opened.study
        self._audience = audience
        self._max_failures = max_failures
        self._requeues = requeues
        self._smaller_batches = smaller_batches
        self._checkpoints = checkpoints
        self._batch_parts: dict[tuple[Subset, str], int] = {}  # of subset and recipe; else 1
        self._noted: set[str] = set()
        self._failed: set[Subset] = set()
        self._in_a_row = 0
        self._first_failure = ""
        self._signs = signs_of(self._study)
        self._several = len(self._study.directions) > 1
        self.interrupted: Callable[[], bool] = lambda: False
        # Why a trial cannot win any more, '' if it may.
        self.why_beaten: Callable[[PartOfTrial], str] = lambda _: ""
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
        for record in self._opened.history():
            parts = record.attributes.get(names.BATCH_PARTS)
            if parts and record.subset is not None:
                self._batch_parts[record.subset, names.canonical(record.recipe)] = parts
        self.requeue()

    def fit(self, proposal: Proposal) -> Proposal:
        """The proposal, its batches in as many parts as memory was found to need."""
        return replace(proposal, batch_parts=self._batch_parts.get(_key(proposal), 1))

    def open(self, trial: optuna.Trial, proposal: Proposal) -> None:
        """A worker has the trial now."""
        self.running[proposal.number] = RunningTrial(trial=trial, proposal=proposal)
        self._audience.started(proposal)

    def dismiss(self, subsets: Collection[Subset], reason: str) -> None:
        """Has the running trials of these subsets end at their next report, as interrupted."""
        for running in self.running.values():
            if running.proposal.subset in subsets:
                running.dismissed = reason

    def requeue(self) -> None:
        """Enqueues interrupted trials again, where the sampler needs it."""
        if self._requeues:
            requeue_interrupted(self._study)

    def abandon(self) -> None:
        """Fails all running trials as interrupted; their workers are gone."""
        # Where the storage is away, what ended the search shall be told, and the next one sees to
        # what is left running.
        with contextlib.suppress(StudyError):
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
            self._lose(running, event)
        elif event.out_of_memory:
            self._run_out(running, event)
        else:
            self._fail_of_itself(running, event)
        return None

    # --- Reports ----------------------------------------------------------------------------------

    def _report(self, running: RunningTrial, report: Report) -> TrialStopped | None:
        # Not every epoch is reported: a recipe may validate more rarely.
        running.epochs = max(running.epochs + 1, report.epochs_done)
        running.folds.add(report.fold)
        if report.replayed:
            running.replayed_epochs = running.epochs
            running.replayed_folds.add(report.fold)
        for note in report.notes:
            if note not in self._noted:  # every worker may meet the same full disk
                self._noted.add(note)
                self._audience.message(note)
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
        if running.dismissed:
            return TrialStopped(running.dismissed, pruned=False)
        if self.interrupted():
            return TrialStopped("interrupted", pruned=False)
        if self.prunes and running.proposal.look is None and running.trial.should_prune():
            return TrialStopped(f"pruned after epoch {report.epoch} of fold {report.fold}")
        if report.so_far is not None:
            reason = self.why_beaten(_part(running.proposal, report.so_far))
            return TrialStopped(reason) if reason else None
        return None

    # --- Ends -------------------------------------------------------------------------------------

    def _finish(self, running: RunningTrial, result: TrialResult) -> None:
        values = why_unusable(result.values, objectives=len(self._study.directions))
        reason = running.spoiled or values or _why_no_constraints(result)
        if reason:
            self._fail_of_itself(running, Failed(number=running.proposal.number, reason=reason))
            return
        self._take(running)
        extra = self._extra(running)
        if running.proposal.look is not None:
            ended = record_look(self._study, running.trial, result, extra=extra)
            if ended is not None:
                self._audience.pruned(running.proposal, ended.user_attrs[names.REASON])
        else:
            ended = record_result(self._study, running.trial, result, extra=extra)
            if ended is not None:
                self._tell_finished(running.proposal, ended)
        if ended is not None:
            self._in_a_row = 0
        self._checkpoints.remove(running.proposal)
        self._settle_twins(running)

    def _stop(self, running: RunningTrial, stop: TrialStopped) -> None:
        number = running.proposal.number
        if running.spoiled:
            self._fail_of_itself(running, Failed(number=number, reason=stop.reason))
        elif not stop.pruned:
            self._fail(number, stop.reason, interrupted=True)
            if running.dismissed:
                self._checkpoints.remove(running.proposal)
        else:
            self._take(running)
            self._in_a_row = 0
            if record_pruned(self._study, running.trial, stop.reason, extra=self._extra(running)):
                self._audience.pruned(running.proposal, stop.reason)
            self._checkpoints.remove(running.proposal)
            self._settle_twins(running)

    def _lose(self, running: RunningTrial, event: Lost) -> None:
        number, subset = running.proposal.number, running.proposal.subset
        extra: dict[str, Any] = {names.LOST: True}
        reason = event.reason
        if event.out_of_memory:
            reason = f"{reason}; the kernel killed a process for want of memory"
            if self._smaller_batches:
                extra |= self._split(running.proposal)
        before = sum(
            record.subset == subset and bool(record.attributes.get(names.LOST))
            for record in self._opened.history()
        )
        if before + 1 >= MAX_LOST:
            text = (
                f"{reason}\nworkers died in {before + 1} trials of {subset}: it is not tried again"
            )
            self._fail_of_itself(running, Failed(number=number, reason=text), extra=extra)
            return
        self._fail(number, f"interrupted: {reason}", interrupted=True, extra=extra)
        self.requeue()

    def _run_out(self, running: RunningTrial, event: Failed) -> None:
        if not event.splittable:
            self._fail_of_itself(running, event)
        elif not self._smaller_batches:
            remedy = "set execution.out_of_memory to smaller_batch, or lower recipe.batch_size"
            self._fail_of_itself(running, replace(event, reason=f"{event.reason}; {remedy}"))
        else:
            reason = f"{event.reason}; it will run again with half as many"
            extra = self._split(running.proposal)
            self._fail(event.number, reason, interrupted=True, extra=extra)
            self.requeue()

    def _split(self, proposal: Proposal) -> dict[str, Any]:
        """Has the subset's next trial train its batches in twice as many parts."""
        parts = 2 * proposal.batch_parts
        self._batch_parts[_key(proposal)] = parts
        return {names.BATCH_PARTS: parts}

    def _fail_of_itself(
        self, running: RunningTrial, event: Failed, *, extra: Mapping[str, Any] | None = None
    ) -> None:
        self._fail(event.number, event.reason, traceback=event.traceback, extra=extra)
        self._checkpoints.remove(running.proposal)
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
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        running = self.running[number]
        self._take(running)
        if record_failure(
            self._study,
            running.trial,
            reason,
            traceback=traceback,
            interrupted=interrupted,
            extra={**self._extra(running), **(extra or {})},
        ):
            self._audience.failed(running.proposal, reason, interrupted=interrupted)
        self._settle_twins(running)

    def _take(self, running: RunningTrial) -> None:
        del self.running[running.proposal.number]
        _write_reports(running)

    def _extra(self, running: RunningTrial) -> dict[str, Any]:
        epochs, trainings = self._counted_before(running)
        extra: dict[str, Any] = {
            names.SECONDS: round(time.monotonic() - running.began, 4),
            names.EPOCHS: running.epochs - epochs,
            names.TRAININGS: len(running.folds) - trainings,
        }
        if self._several and running.curve:
            extra[names.CURVE] = running.curve
        return extra

    def _counted_before(self, running: RunningTrial) -> tuple[int, int]:
        """Epochs and trainings that a resumed trial repeats and the study has counted already.

        It has not where the driver died with the trial: then they are counted now.
        """
        if not running.replayed_epochs:
            return 0, 0
        key = _key(running.proposal)
        earlier = [
            record.attributes
            for record in self._opened.history()
            if record.attributes.get(names.INTERRUPTED)
            and (record.subset, names.canonical(record.recipe)) == key
        ]
        epochs = sum(attributes.get(names.EPOCHS, 0) for attributes in earlier)
        trainings = sum(attributes.get(names.TRAININGS, 0) for attributes in earlier)
        return min(running.replayed_epochs, epochs), min(len(running.replayed_folds), trainings)

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
            same = running.proposal.subset == subset and running.proposal.look is None
            if same and names.canonical(running.proposal.recipe) == recipe:
                return running
        return None

    def _settle_twins(self, running: RunningTrial) -> None:
        if not running.twins:
            return
        number = running.proposal.number
        trials = self._study.get_trials(deepcopy=False)
        record = trial_record(trials[number], signs=self._signs)
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
        record = trial_record(ended, signs=self._signs)
        assert record.score is not None
        self._audience.finished(proposal, record, self._signs[0] * record.score)


def _key(proposal: Proposal) -> tuple[Subset, str]:
    return proposal.subset, names.canonical(proposal.recipe)


def _part(proposal: Proposal, so_far: SoFar) -> PartOfTrial:
    places = np.flatnonzero(unpack_correct(so_far.known, so_far.count))
    correct = unpack_correct(so_far.correct, so_far.count)[places]
    return PartOfTrial(subset=proposal.subset, correct=correct, places=places, look=proposal.look)


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
