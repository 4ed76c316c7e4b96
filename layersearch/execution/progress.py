"""Shows a search on the terminal: what is done, the best so far, what runs, how long it will take.

On a terminal: a block of lines that is redrawn. Elsewhere (a log file, a pipe): a line a trial.
"""

import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from layersearch.execution.observer import Beginning, Ended, RetrainingNow, Status
from layersearch.space.records import TrialRecord
from layersearch.space.trial import Proposal, Report

_WINDOW = 60.0  # seconds over which epochs per second are averaged


class SearchProgress:
    """An Observer for the terminal; a context manager.

    Args:
        console: where to write; None: standard error.
        quiet: whether only messages are shown.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self._console = console or Console(stderr=True)
        self._quiet = quiet
        self._live: Live | None = None
        self._status: Status | None = None
        self._running: dict[int, tuple[Proposal, Report | None]] = {}
        self._epochs: deque[float] = deque()  # when they ended
        self._begun = time.monotonic()
        self._trained = 0
        self._trained_seconds = 0.0
        self._done = 0

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            self._live = Live(
                get_renderable=self.render,
                console=self._console,
                refresh_per_second=4,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    # --- Observer ---------------------------------------------------------------------------------

    def began(self, beginning: Beginning) -> None:
        """See Observer."""

    def phase(self, text: str) -> None:
        """See Observer."""

    def retraining(self, now: RetrainingNow) -> None:
        """See Observer."""

    def ended(self, ended: Ended) -> None:
        """See Observer."""

    def started(self, proposal: Proposal) -> None:
        """See Observer."""
        self._running[proposal.number] = (proposal, None)

    def reported(self, proposal: Proposal, report: Report) -> None:
        """See Observer."""
        now = time.monotonic()
        self._running[proposal.number] = (proposal, report)
        if report.replayed:
            return
        self._epochs.append(now)
        while self._epochs and now - self._epochs[0] > _WINDOW:
            self._epochs.popleft()

    def finished(self, proposal: Proposal, record: TrialRecord, value: float) -> None:
        """See Observer."""
        stderr = f" ± {record.stderr:.4f}" if record.stderr is not None else ""
        memo = record.attributes.get("memo_of")
        known = "" if memo is None else f", known from trial {memo}"
        if memo is None:
            self._trained += 1
            self._trained_seconds += record.attributes.get("seconds", 0.0)
        self._end(proposal, f"{value:.4f}{stderr}{known}")

    def pruned(self, proposal: Proposal, reason: str) -> None:
        """See Observer."""
        self._end(proposal, reason)

    def failed(self, proposal: Proposal, reason: str, *, interrupted: bool) -> None:
        """See Observer."""
        first = (reason.splitlines() or [""])[0]
        self._end(proposal, first if interrupted else f"failed: {first}")

    def status(self, status: Status) -> None:
        """See Observer."""
        self._status = status

    def message(self, text: str) -> None:
        """See Observer."""
        self._console.print(Text(text))

    # --- What it looks like -----------------------------------------------------------------------

    def render(self) -> RenderableType:
        """The block of lines on a terminal."""
        lines = [Text(self.summary())]
        if self._status is not None and self._status.best is not None:
            score = self._status.best_score
            lines.append(Text(f"best so far  {self._status.best}  {score:.4f}", style="bold"))
        for proposal, report in list(self._running.values()):
            lines.append(Text(f"  trial {proposal.number}  {proposal.subset}  {_epochs(report)}"))
        return Group(*lines)

    def summary(self) -> str:
        """One line: trials done and running, epochs per second, time left."""
        parts = []
        if self._status is not None and self._status.phase:
            parts.append(self._status.phase)
        parts.append(f"{self._done} trials done")
        if self._running:
            parts.append(f"{len(self._running)} running")
        if self._status is not None and self._status.remaining is not None:
            parts.append(f"{self._status.remaining} to begin")
        rate = self.epochs_per_second()
        if rate:
            parts.append(f"{rate:.1f} epochs/s")
        left = self.seconds_left()
        if left is not None:
            parts.append(f"about {_duration(left)} left")
        parts.append(_duration(time.monotonic() - self._begun))
        return " · ".join(parts)

    def epochs_per_second(self) -> float:
        """Over the last minute, by all workers."""
        if not self._epochs:
            return 0.0
        now = time.monotonic()
        recent = sum(now - when <= _WINDOW for when in list(self._epochs))
        return recent / max(1e-3, min(_WINDOW, now - self._begun))

    def seconds_left(self) -> float | None:
        """Until what can be foreseen is trained; None where it cannot be."""
        status = self._status
        if status is None or status.remaining is None or not self._trained:
            return None
        each = self._trained_seconds / self._trained
        # Those that run are on average half done.
        return (status.remaining + len(self._running) / 2) * each / max(1, status.workers)

    def _end(self, proposal: Proposal, what: str) -> None:
        self._done += 1
        self._running.pop(proposal.number, None)
        if self._quiet:
            return
        line = f"trial {proposal.number}  {proposal.subset}  {what}"
        if self._live is None:
            line = f"{line}  ({self.summary()})"
        self._console.print(Text(line), soft_wrap=True)


def _epochs(report: Report | None) -> str:
    if report is None:
        return "begins"
    of = f"/{report.epochs_total}" if report.epochs_total else ""
    return f"epoch {report.epochs_done}{of}  fold {report.fold}  {report.score:.4f}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
