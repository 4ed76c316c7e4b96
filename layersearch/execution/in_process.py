"""Runs trials in the driver's own process, one after another: for notebooks and debuggers.

Classes defined in a notebook just work, and nothing is started. A trial that hangs cannot be
killed.
"""

import gc
import time
from dataclasses import replace

from layersearch.errors import SearchError, TrialStopped
from layersearch.execution.jobs import describe, run_job
from layersearch.execution.messages import Failed, Reported
from layersearch.execution.pool import Handler
from layersearch.execution.standing import WorkerNow
from layersearch.space.trial import Job, JobFactory, Proposal, Report, WorkerPlace


class InProcessPool:
    """One worker: this process."""

    def __init__(self, place: WorkerPlace | None = None) -> None:
        self._place = place or WorkerPlace(number=0)
        self._factory: JobFactory | None = None
        self._job: Job | None = None
        self._pending: Proposal | None = None
        self._stop: TrialStopped | None = None

    @property
    def places(self) -> tuple[WorkerPlace, ...]:
        """This process."""
        return (self._place,)

    @property
    def free(self) -> int:
        """1, if no trial waits to be run."""
        return int(self._job is not None and self._pending is None)

    @property
    def crew(self) -> tuple[WorkerNow, ...]:
        """This process."""
        trial = None if self._pending is None else self._pending.number
        return (
            WorkerNow(
                name=str(self._place.number),
                doing="idle" if trial is None else "trains",
                device=self._place.device,
                trial=trial,
            ),
        )

    def start(self, factory: JobFactory) -> None:
        """Makes the job."""
        self._factory = factory
        try:
            self._job = factory(self._place)
        except Exception as error:
            _, traceback = describe(error)
            raise SearchError(f"the job could not be made:\n{traceback}") from error

    def submit(self, proposal: Proposal, *, answered: bool) -> None:  # noqa: ARG002
        """Keeps the trial for the next `wait`; its reports are always answered."""
        assert self.free
        self._pending = proposal
        self._stop = None

    def wait(self, handle: Handler, *, seconds: float) -> None:
        """Runs the trial that was submitted, to its end."""
        if self._job is None or self._pending is None:
            time.sleep(seconds)
            return
        proposal = self._pending

        def report(said: Report) -> None:
            plain = replace(said, snapshot=None)
            stop = handle(Reported(number=proposal.number, report=plain)) or self._stop
            if stop is not None:
                self._stop = stop  # a job that swallows it meets it again
                raise stop

        event = run_job(self._job, proposal, report)
        self._pending = None
        handle(event)
        if isinstance(event, Failed) and event.out_of_memory:
            self._make_anew()

    def stop(self, stop: TrialStopped) -> None:
        """Ends the trial at its next report."""
        self._stop = stop

    def close(self, *, now: bool = False) -> None:  # noqa: ARG002
        """Lets go of the job and what it holds."""
        self._job = None
        self._pending = None

    def _make_anew(self) -> None:
        """Lets go of all that the job holds before another is made."""
        assert self._factory is not None
        self._job = None
        gc.collect()
        self.start(self._factory)
