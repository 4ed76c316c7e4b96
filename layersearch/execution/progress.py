"""Shows a search while it runs: an Observer that draws, prints lines, or writes JSON lines.

On a terminal: a block of lines that is redrawn. Elsewhere (a log file, a pipe): a line a trial.
"""

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self, TextIO

from rich.console import Console

from layersearch.execution.standing import Beginning, Ended, RetrainingNow, Status
from layersearch.execution.watching import JsonLines, Picture, PlainLines, Terminal
from layersearch.execution.watching.plain_lines import HEARTBEAT, about
from layersearch.execution.watching.wording import finished, first_line
from layersearch.space.records import TrialRecord
from layersearch.space.trial import Proposal, Report

Mode = Literal["auto", "plain", "json", "quiet"]


class SearchProgress:
    """An Observer for people and logs; a context manager.

    Args:
        console: where to write; None: standard error.
        quiet: whether only messages are shown; the same as mode 'quiet'.
        mode: 'auto': a live view on a terminal, lines elsewhere; 'plain': lines; 'json': JSON lines
            on `stream`; 'quiet': messages only.
        stream: for JSON lines; None: standard output.
        heartbeat: seconds without a line until there is one, where lines are printed.
        clock: seconds that only go up.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        quiet: bool = False,
        mode: Mode = "auto",
        stream: TextIO | None = None,
        heartbeat: float = HEARTBEAT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._quiet = quiet or mode == "quiet"
        self._lock = threading.RLock()
        self.picture = Picture(clock)
        self._json: JsonLines | None = None
        self._terminal: Terminal | None = None
        self._lines: PlainLines | None = None
        if mode == "json":
            self._json = JsonLines(stream or sys.stdout, self.picture)
        elif mode == "auto" and not self._quiet and _can_redraw(self._console):
            self._terminal = Terminal(self._console, self.picture, self._lock)
        else:
            self._lines = PlainLines(self._console, self.picture, self._lock, heartbeat=heartbeat)

    def __enter__(self) -> Self:
        if self._terminal is not None:
            self._terminal.start()
        elif self._lines is not None and not self._quiet:
            self._lines.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._terminal is not None:
            self._terminal.stop()
        if self._lines is not None:
            self._lines.stop()

    # --- Observer ---------------------------------------------------------------------------------

    def began(self, beginning: Beginning) -> None:
        """See Observer."""
        with self._lock:
            self.picture.began(beginning)
            if self._json is not None:
                self._json.began(beginning)
            elif not self._quiet:
                self._print(about(beginning))

    def phase(self, text: str) -> None:
        """See Observer."""
        with self._lock:
            self.picture.phase(text)
            if self._json is not None:
                self._json.phase(text)
        self._draw()

    def started(self, proposal: Proposal) -> None:
        """See Observer."""
        with self._lock:
            self.picture.started(proposal)
            if self._json is not None:
                self._json.started(proposal)

    def reported(self, proposal: Proposal, report: Report) -> None:
        """See Observer."""
        with self._lock:
            self.picture.reported(proposal, report)
            if self._json is not None:
                self._json.reported(proposal, report)

    def finished(self, proposal: Proposal, record: TrialRecord, value: float) -> None:
        """See Observer."""
        with self._lock:
            self.picture.finished(proposal, record, value)
            if self._json is not None:
                self._json.finished(proposal, record, value)
            self._end(proposal, finished(record, value))

    def pruned(self, proposal: Proposal, reason: str) -> None:
        """See Observer."""
        with self._lock:
            self.picture.pruned(proposal, reason)
            if self._json is not None:
                self._json.pruned(proposal, reason)
            self._end(proposal, reason)

    def failed(self, proposal: Proposal, reason: str, *, interrupted: bool) -> None:
        """See Observer."""
        with self._lock:
            self.picture.failed(proposal, reason, interrupted=interrupted)
            if self._json is not None:
                self._json.failed(proposal, reason, interrupted=interrupted)
            first = first_line(reason)
            self._end(proposal, first if interrupted else f"failed: {first}")

    def status(self, status: Status) -> None:
        """See Observer."""
        with self._lock:
            self.picture.told(status)
            if self._json is not None:
                self._json.status(status)

    def message(self, text: str) -> None:
        """See Observer."""
        with self._lock:
            if self._json is not None:
                self._json.message(text)
            else:
                self._print(text)

    def retraining(self, now: RetrainingNow) -> None:
        """See Observer."""
        with self._lock:
            self.picture.retrains(now)
            if self._json is not None:
                self._json.retraining(now)

    def ended(self, ended: Ended) -> None:
        """See Observer."""
        with self._lock:
            if self._json is not None:
                self._json.ended(ended)

    def _end(self, proposal: Proposal, what: str) -> None:
        text = f"trial {proposal.number}  {proposal.subset}  {what}"
        if self._terminal is not None:
            self._terminal.line(text)
        elif self._lines is not None and not self._quiet:
            self._lines.ended_trial(text)

    def _print(self, text: str) -> None:
        if self._terminal is not None:
            self._terminal.line(text)
        elif self._lines is not None:
            self._lines.line(text)

    def _draw(self) -> None:
        if self._terminal is not None:
            self._terminal.draw()


def _can_redraw(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal and not console.is_jupyter
