"""What a display knows of a search: kept up to date by an observer's calls, drawn elsewhere."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from layersearch.execution.standing import Beginning, RetrainingNow, Status
from layersearch.space.records import TrialRecord
from layersearch.space.trial import Proposal, Report

SEARCHING = "searching"  # the phase in which trials run
_WINDOW = 60.0  # seconds over which epochs per second are averaged
_LAST = 200  # trials whose durations tell how long the next will take


@dataclass
class RunningTrial:
    """A trial that a worker has."""

    proposal: Proposal
    began: float
    report: Report | None = None
    folds: dict[int, list[float]] = field(default_factory=dict)  # scores, an epoch each
    replayed: int = 0  # epochs that an earlier trial has trained

    def share_done(self) -> float | None:
        """Of what this trial itself trains, between 0 and 1; None: not known."""
        if self.report is None or not self.report.epochs_total:
            return None
        left = self.report.epochs_total - self.replayed
        return (self.report.epochs_done - self.replayed) / left if left > 0 else 1.0


class Picture:
    """The state of a display; no drawing, no locks.

    Args:
        clock: seconds that only go up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.begun = clock()
        self.beginning: Beginning | None = None
        self.doing = ""  # besides trials
        self.status: Status | None = None
        self.status_at = clock()
        self.running: dict[int, RunningTrial] = {}
        self.done = 0  # trials that ended, of this process
        self.trained: deque[float] = deque(maxlen=_LAST)  # their seconds
        self.retraining: RetrainingNow | None = None
        self.retrained: list[float] = []  # seconds of each
        self.retraining_began = clock()
        self.last_pruned = ""
        self.last_failed = ""
        self._epochs: deque[float] = deque()  # when they ended

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return self.clock() - self.begun

    @property
    def searching(self) -> bool:
        """Whether trials are run, or may be: not before them, nor after."""
        return self.retraining is None and self.doing in ("", SEARCHING)

    def began(self, beginning: Beginning) -> None:
        """See Observer."""
        self.beginning = beginning

    def phase(self, text: str) -> None:
        """See Observer."""
        self.doing = text
        self.retraining = None

    def started(self, proposal: Proposal) -> None:
        """See Observer."""
        self.running[proposal.number] = RunningTrial(proposal=proposal, began=self.clock())

    def reported(self, proposal: Proposal, report: Report) -> None:
        """See Observer."""
        trial = self.running.get(proposal.number)
        if trial is None:
            trial = RunningTrial(proposal=proposal, began=self.clock())
            self.running[proposal.number] = trial
        trial.report = report
        trial.folds.setdefault(report.fold, []).append(float(report.score))
        now = self.clock()
        if report.replayed:
            trial.replayed = report.epochs_done
            return
        self._epochs.append(now)
        while self._epochs and now - self._epochs[0] > _WINDOW:
            self._epochs.popleft()

    def finished(self, proposal: Proposal, record: TrialRecord, value: float) -> None:  # noqa: ARG002
        """See Observer."""
        self._end(proposal, trained=record.attributes.get("memo_of") is None)

    def pruned(self, proposal: Proposal, reason: str) -> None:
        """See Observer."""
        self.last_pruned = f"trial {proposal.number}, {proposal.subset}: {reason}"
        self._end(proposal, trained=True)

    def failed(self, proposal: Proposal, reason: str, *, interrupted: bool) -> None:
        """See Observer."""
        if not interrupted:
            first = (reason.splitlines() or [""])[0]
            self.last_failed = f"trial {proposal.number}, {proposal.subset}: {first}"
        self._end(proposal, trained=False)

    def told(self, status: Status) -> None:
        """A status came."""
        self.status, self.status_at = status, self.clock()

    def retrains(self, now: RetrainingNow) -> None:
        """A retraining goes on."""
        if now.epoch == 0:
            self.retraining_began = self.clock()
        if now.score is not None and self.retraining is not None and self.retraining.epoch:
            self.retrained.append(self.clock() - self.retraining_began)
        self.retraining = now

    def epochs_per_second(self) -> float:
        """Over the last minute, by all workers of this process."""
        now = self.clock()
        recent = sum(now - when <= _WINDOW for when in self._epochs)
        return recent / max(1e-3, min(_WINDOW, now - self.begun))

    def _end(self, proposal: Proposal, *, trained: bool) -> None:
        self.done += 1
        trial = self.running.pop(proposal.number, None)
        if trial is not None and trained:
            self.trained.append(self.clock() - trial.began)
