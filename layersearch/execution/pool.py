"""The seam between the driver of a search and the workers that run its trials.

`tests/execution/test_pool_contract.py` holds for every pool.
"""

import os
from collections.abc import Callable, Sequence
from typing import Protocol

from layersearch.errors import TrialStopped
from layersearch.execution.messages import Event
from layersearch.execution.standing import WorkerNow
from layersearch.space.trial import JobFactory, Proposal, WorkerPlace

Handler = Callable[[Event], TrialStopped | None]
"""Takes an event; its answer to a `Reported` is None (go on) or why the trial shall stop."""


class Pool(Protocol):
    """Workers, each of which runs one trial at a time."""

    @property
    def places(self) -> tuple[WorkerPlace, ...]:
        """Where the workers run."""
        ...

    @property
    def free(self) -> int:
        """How many trials could be submitted now."""
        ...

    @property
    def crew(self) -> tuple[WorkerNow, ...]:
        """The workers and what each does now."""
        ...

    def start(self, factory: JobFactory) -> None:
        """Starts the workers and has each make its job.

        Raises:
            SearchError: a worker could not; with its traceback.
        """
        ...

    def submit(self, proposal: Proposal, *, answered: bool) -> None:
        """Gives a trial to a free worker.

        Args:
            proposal: the trial.
            answered: whether the trial waits for the handler's answer after each report; otherwise
                it goes on at once, and a stop reaches it one report later.
        """
        ...

    def wait(self, handle: Handler, *, seconds: float) -> None:
        """Hands over what happened, waiting up to `seconds` for something to happen.

        Every submitted trial ends in exactly one of Finished, Stopped, Failed and Lost.

        Raises:
            SearchError: workers keep dying.
        """
        ...

    def stop(self, stop: TrialStopped) -> None:
        """Asks all running trials to end at their next report."""
        ...

    def close(self, *, now: bool = False) -> None:
        """Ends the workers; may be called more than once.

        Args:
            now: kill them, whatever they do.
        """
        ...


def make_places(
    workers: int, *, devices: Sequence[str] = ("cpu",), threads: int | None = None
) -> tuple[WorkerPlace, ...]:
    """Where `workers` workers of this machine run: devices in turn, CPU threads divided.

    Args:
        workers: how many, at least 1.
        devices: such as ('cuda:0', 'cuda:1'); several workers share one if there are more workers.
        threads: CPU threads a worker; None: the cores this process may use, divided.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    each = threads or max(1, (cores or 1) // workers)
    names = [devices[number % len(devices)] for number in range(workers)]
    return tuple(
        WorkerPlace(
            number=number,
            device=name,
            threads=each,
            workers_on_node=workers,
            workers_on_device=names.count(name),
        )
        for number, name in enumerate(names)
    )
