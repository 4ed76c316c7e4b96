"""A trial that runs in a thread of its worker, and waits there for what the driver decides."""

import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from layersearch.errors import TrialStopped
from layersearch.execution.jobs import describe, run_job
from layersearch.execution.messages import Failed, Finished, Stopped
from layersearch.space.trial import Job, Proposal, Report

_LINGER = 0.01  # seconds to wait for more of a trial that goes ahead: one message for several
_GO = object()

Said = Report | Finished | Stopped | Failed


@dataclass
class _Snapshot:
    """Asks the thread for the trial's state."""

    answer: "queue.SimpleQueue[bytes | BaseException | None]"


class TrialThread:
    """Runs one trial.

    Args:
        job: of this worker.
        proposal: the trial.
        ahead: whether the trial goes on without waiting for an answer to each report.
        after: the step of the last report that was passed on before the trial was paused; reports
            up to it are not passed on again. None: it is new.
    """

    def __init__(
        self, job: Job, proposal: Proposal, *, ahead: bool, after: int | None = None
    ) -> None:
        self._job = job
        self._proposal = proposal
        self._ahead = ahead
        self._after = after
        self._said: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self._orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stop: TrialStopped | None = None
        self._waits = False  # whether its last report has not been answered
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="trial", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._thread.is_alive()

    def next(self, *, timeout: float | None) -> list[Said]:
        """Lets the trial go on; what it says next: reports, and its end at the end.

        Raises:
            TimeoutError: it said nothing for `timeout` seconds.
        """
        if self._waits:
            self._waits = False
            self._orders.put(_GO)
        try:
            said = [self._said.get(timeout=timeout)]
        except queue.Empty:
            raise TimeoutError from None
        with contextlib.suppress(queue.Empty):
            while self._ahead and isinstance(said[-1], Report):
                said.append(self._said.get(timeout=_LINGER))
        self._waits = not self._ahead and isinstance(said[-1], Report)
        return said

    def snapshot(self) -> bytes | None:
        """The trial's state after its last report; None: its job offers none.

        Raises:
            Exception: what the job raised.
        """
        if not self._waits:
            return None
        request = _Snapshot(answer=queue.SimpleQueue())
        self._orders.put(request)
        answer = request.answer.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def end(self, stop: TrialStopped, *, seconds: float | None) -> bool:
        """Stops the trial at its report, or its next one; whether it ended in time."""
        self._stop = self._stop or stop
        self._orders.put(_GO)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._said.put(run_job(self._job, self._proposal, self._report))
        except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt is no reason to hang
            reason, traceback = describe(error)
            self._said.put(Failed(number=self._proposal.number, reason=reason, traceback=traceback))

    def _report(self, report: Report) -> None:
        if self._stop is None and (self._after is None or report.step > self._after):
            self._said.put(replace(report, snapshot=None))
            if not self._ahead:
                self._await_order(report)
        if self._stop is not None:
            raise self._stop  # a job that swallows it meets it again

    def _await_order(self, report: Report) -> None:
        while (order := self._orders.get()) is not _GO:
            order.answer.put(_attempt(report.snapshot))


def _attempt(snapshot: Callable[[], bytes] | None) -> bytes | BaseException | None:
    try:
        return None if snapshot is None else snapshot()
    except Exception as error:  # noqa: BLE001 - raised where it was asked for
        return error
