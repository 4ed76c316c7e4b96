"""Who watches a search: callbacks about its trials, for progress displays and users' own code."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from layersearch.space.records import TrialRecord
from layersearch.space.subset import Subset
from layersearch.space.trial import Proposal, Report


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a search stands."""

    done: int  # trials that ended, in this study
    running: int
    workers: int
    phase: str = ""  # of the strategy, in words
    remaining: int | None = None  # candidates left in this phase; None: not known
    best: Subset | None = None
    best_score: float | None = None  # in the study's own direction


class Observer(Protocol):
    """Callbacks in the driver's process; one that raises is dropped with a warning.

    An observer may leave out what it does not care for.
    """

    def started(self, proposal: Proposal) -> None:
        """A trial was given to a worker."""

    def reported(self, proposal: Proposal, report: Report) -> None:
        """A trial finished an epoch."""

    def finished(self, proposal: Proposal, record: TrialRecord, value: float) -> None:
        """A trial has a score, trained or known from before (`record.attributes['memo_of']`).

        `value`: of the first objective, in the study's own direction.
        """

    def pruned(self, proposal: Proposal, reason: str) -> None:
        """A trial was stopped by evidence, or ruled out before training."""

    def failed(self, proposal: Proposal, reason: str, *, interrupted: bool) -> None:
        """A trial failed; `interrupted`: not of itself."""

    def status(self, status: Status) -> None:
        """Comes whenever a trial begins or ends."""

    def message(self, text: str) -> None:
        """Something the user should know."""


class Observers:
    """Hands every call to several observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)

    def started(self, proposal: Proposal) -> None:
        """See Observer."""
        self._each("started", proposal)

    def reported(self, proposal: Proposal, report: Report) -> None:
        """See Observer."""
        self._each("reported", proposal, report)

    def finished(self, proposal: Proposal, record: TrialRecord, value: float) -> None:
        """See Observer."""
        self._each("finished", proposal, record, value)

    def pruned(self, proposal: Proposal, reason: str) -> None:
        """See Observer."""
        self._each("pruned", proposal, reason)

    def failed(self, proposal: Proposal, reason: str, *, interrupted: bool) -> None:
        """See Observer."""
        self._each("failed", proposal, reason, interrupted=interrupted)

    def status(self, status: Status) -> None:
        """See Observer."""
        self._each("status", status)

    def message(self, text: str) -> None:
        """See Observer."""
        self._each("message", text)

    def _each(self, name: str, *args: Any, **kwargs: Any) -> None:
        for observer in list(self._observers):
            try:
                called = getattr(observer, name, None)  # it need not listen to everything
                if called is not None:
                    called(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - a display must not end a search of hours
                self._observers.remove(observer)
                warnings.warn(
                    f"{type(observer).__name__} raised {error!r} and is not called any more",
                    stacklevel=3,
                )
