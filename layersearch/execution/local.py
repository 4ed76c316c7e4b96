"""The pool for searches on one machine."""

from collections.abc import Sequence
from pathlib import Path

from layersearch.execution.in_process import InProcessPool
from layersearch.execution.pool import Pool, make_places
from layersearch.execution.process_pool import ProcessPool


def local_pool(
    workers: int = 1,
    *,
    devices: Sequence[str] = ("cpu",),
    threads: int | None = None,
    trial_timeout: float | None = None,
    in_process: bool | None = None,
    log_directory: Path | None = None,
) -> Pool:
    """This process for one worker, worker processes for more.

    Args:
        workers: how many trials run at the same time, at least 1.
        devices: see `make_places`.
        threads: CPU threads a worker; None: the cores this process may use, divided.
        trial_timeout: seconds that a trial may go without a report; needs a worker process, which
            can be killed.
        in_process: whether to run trials in this process; None: if there is one worker and no
            timeout.
        log_directory: where worker processes keep what they print; None: nowhere.
    """
    places = make_places(workers, devices=devices, threads=threads)
    if in_process is None:
        in_process = workers == 1 and trial_timeout is None
    if in_process:
        return InProcessPool(places[0])
    return ProcessPool(places, trial_timeout=trial_timeout, log_directory=log_directory)
