"""What a search by Ray Tune may be told, as plain values. No Ray is imported here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Which cluster runs the trials, and what each of them takes of it."""

    address: str | None = None  # 'auto' or 'host:port'; None: a Ray of this machine, for the search
    workers: int | None = None  # trials at once; None: as many as the cluster has room for
    cpus: float = 1.0  # a trial
    gpus: float | None = None  # a trial, may be a fraction; None: if there are any, see below
    trials_per_gpu: int = 1  # where `gpus` is None and the cluster has GPUs
    device: str | None = None  # of the trials, such as 'cpu'; None: the GPU that Ray gives, if any
    threads: int | None = None  # CPU threads a trial; None: its CPUs
    resource_timeout: float = 600.0  # seconds to wait for resources that nobody has or gives
    trial_timeout: float | None = None  # seconds that a trial may go without a report
    storage_path: str | None = None  # for trials that pause: a shared folder, or s3://…


@dataclass(frozen=True, kw_only=True)
class SchedulerOptions:
    """Which of Tune's schedulers ends hopeless trials early."""

    name: str = "fifo"  # fifo, asha, hyperband, median or 'package.module:callable'
    options: Mapping[str, Any] = field(default_factory=dict)
