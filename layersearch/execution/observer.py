"""Who watches a search: callbacks about its trials, for progress displays and users' own code."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from layersearch.execution.standing import Beginning, Ended, RetrainingNow, Status
from layersearch.space.records import TrialRecord
from layersearch.space.trial import Proposal, Report
from layersearch.study.storages import masked

__all__ = ["Beginning", "Ended", "Observer", "Observers", "RetrainingNow", "Status"]


class Observer(Protocol):
    """Callbacks in the driver's process; one that raises is dropped with a warning.

    An observer may leave out what it does not care for. In the order in which they come: `phase`
    may come first, then `began`; the trials; `retraining`; `ended` is the last.
    """

    def began(self, beginning: Beginning) -> None:
        """The study is open and all that was described is checked; nothing has been trained."""

    def phase(self, text: str) -> None:
        """What this process does besides trials, in words."""

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
        """Comes soon after a trial begins or ends, at most twice a second."""

    def message(self, text: str) -> None:
        """Something the user should know; may come from another thread."""

    def retraining(self, now: RetrainingNow) -> None:
        """The winner or a baseline is retrained: at its start, each epoch, and its end."""

    def ended(self, ended: Ended) -> None:
        """Nothing comes after it; also where the search failed."""


class Observers:
    """Hands every call to several observers; is one itself. What it hands on holds no password."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)

    def join(self, observers: Sequence[Observer]) -> None:
        """Has more of them told, from now on."""
        self._observers.extend(observers)

    def began(self, beginning: Beginning) -> None:
        """See Observer."""
        self._each("began", beginning)

    def phase(self, text: str) -> None:
        """See Observer."""
        self._each("phase", _masked(text))

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
        self._each("pruned", proposal, _masked(reason))

    def failed(self, proposal: Proposal, reason: str, *, interrupted: bool) -> None:
        """See Observer."""
        self._each("failed", proposal, _masked(reason), interrupted=interrupted)

    def status(self, status: Status) -> None:
        """See Observer."""
        self._each("status", status)

    def message(self, text: str) -> None:
        """See Observer."""
        self._each("message", _masked(text))

    def retraining(self, now: RetrainingNow) -> None:
        """See Observer."""
        self._each("retraining", now)

    def ended(self, ended: Ended) -> None:
        """See Observer."""
        self._each("ended", replace(ended, reason=_masked(ended.reason)))

    def _each(self, name: str, *args: Any, **kwargs: Any) -> None:
        for observer in list(self._observers):
            try:
                called = getattr(observer, name, None)  # it need not listen to everything
                if called is not None:
                    called(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - a display must not end a search of hours
                self._observers.remove(observer)
                warnings.warn(
                    f"{type(observer).__name__} raised {_masked(repr(error))} "
                    "and is not called any more",
                    stacklevel=3,
                )


def _masked(text: str) -> str:
    """A text without the passwords of addresses in it: errors of libraries may name them."""
    return "\n".join(masked(line) if "://" in line else line for line in text.split("\n"))
