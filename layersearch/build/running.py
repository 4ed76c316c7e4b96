"""Chooses who runs a search's trials: worker processes of this machine, or Ray."""

import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from layersearch.build.components import Components, worker_devices
from layersearch.config import SearchConfig
from layersearch.execution import (
    Budgets,
    ClusterOptions,
    Observer,
    SchedulerOptions,
    SearchRun,
    local_pool,
    run_search,
)
from layersearch.execution.checkpoints import Checkpoints
from layersearch.space.trial import Proposal, Reporter, TrialResult, WorkerPlace
from layersearch.strategies.optuna_adapter import claimed, recipe_numbers
from layersearch.study import OpenStudy
from layersearch.subtuning import JobFactory, Materials, remove_leftovers

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def driver_devices(config: SearchConfig) -> list[str]:
    """The devices of this machine that the search uses; under Ray, to retrain the winner on.

    Raises:
        ConfigError: a device that this machine does not have, or too few of them.
    """
    if config.execution.runner == "local":
        return worker_devices(config)
    kind = config.execution.device[0]
    if kind in ("auto", "cuda"):
        return ["cuda:0" if torch.cuda.is_available() else "cpu"]
    return [kind]


def run_trials(
    config: SearchConfig,
    parts: Components,
    opened: OpenStudy,
    *,
    factory: JobFactory,
    budgets: Budgets,
    checkpoints: Checkpoints,
    devices: Sequence[str],
    folder: Path,
    waits: bool = True,
    observers: Sequence[Observer],
) -> SearchRun:
    """Runs the trials of a search to its end.

    Args:
        config: its section `execution` says by whom.
        parts: of the search.
        opened: its study.
        factory: makes the job of a worker.
        budgets: of the study.
        checkpoints: of its trials.
        devices: of this machine, for local workers.
        folder: of the study, or where else local workers keep what they print.
        waits: whether it ends only when the trials of other drivers have ended too.
        observers: are told what happens.

    Raises:
        LayersearchError: as `layersearch.execution.run_search` and `run_ray_search`.
    """
    options: dict[str, Any] = {
        "claimed": claimed,
        "recipe": recipe_numbers,
        "costs": parts.space.costs,
        # Subsets to try first may lie outside the bounds, never over a limit.
        "why_not": parts.space.why_over,
        "budgets": budgets,
        "max_failures": config.execution.max_failures,
        "smaller_batches": config.execution.out_of_memory == "smaller_batch",
        "checkpoints": checkpoints,
        "waits": waits,
        "observers": observers,
    }
    if config.execution.runner == "ray":
        from layersearch.execution import run_ray_search  # it imports ray

        shipped, clean = _shipped(factory)
        return run_ray_search(
            opened,
            shipped,
            cluster=_cluster(config),
            scheduler=_scheduler(config),
            at_end=clean,
            **options,
        )
    pool = local_pool(
        config.execution.local_workers,
        devices=devices,
        threads=config.execution.threads,
        trial_timeout=config.execution.trial_timeout,
        log_directory=folder,
    )
    return run_search(opened, factory, pool=pool, **options)


def _cluster(config: SearchConfig) -> ClusterOptions:
    section = config.execution
    device = None if section.device[0] in ("auto", "cuda") else section.device[0]
    gpus = section.gpus_per_trial
    if gpus is None and section.device == ("cuda",):
        gpus = 1.0 / section.workers_per_device  # wait for one rather than do without
    return ClusterOptions(
        address=section.address,
        workers=section.workers,
        cpus=section.cpus_per_trial,
        gpus=gpus,
        trials_per_gpu=section.workers_per_device,
        device=device,
        threads=section.threads,
        resource_timeout=section.resource_timeout,
        trial_timeout=section.trial_timeout,
        storage_path=_absolute(section.storage_path),
    )


def _scheduler(config: SearchConfig) -> SchedulerOptions:
    section = config.execution.scheduler
    if section is None:
        return SchedulerOptions()
    return SchedulerOptions(name=section.name, options=section.options)


def _absolute(path: str | None) -> str | None:
    """As workers see it, whose folder is another."""
    return path if path is None or "://" in path else str(Path(path).expanduser().absolute())


def _shipped(factory: JobFactory) -> tuple["AnywhereFactory", Callable[[], object]]:
    """The factory for workers on any machine, and what cleans up after them on each."""
    materials = factory.materials
    if materials.cache_directory is not None:
        materials = replace(materials, cache_directory=materials.cache_directory.absolute())
    shipped = AnywhereFactory(materials=materials, driver=_machine())
    return shipped, partial(_clean, shipped.cache_directory_elsewhere, driver=_machine())


@dataclass(frozen=True, kw_only=True, eq=False)
class AnywhereFactory:
    """Makes jobs on any machine; features are kept where its own workers share them."""

    materials: Materials
    driver: str  # its machine

    @property
    def cache_directory_elsewhere(self) -> Path | None:
        """Where other machines than the driver's keep features: on a disk of their own."""
        if self.materials.cache_directory is None:
            return None
        return Path("layersearch") / (self.materials.cache_key or "features")

    def __call__(self, place: WorkerPlace) -> Callable[[Proposal, Reporter], TrialResult]:
        """Loads everything onto the worker's place."""
        materials, elsewhere = self.materials, self.cache_directory_elsewhere
        if elsewhere is not None and _machine() != self.driver:
            materials = replace(materials, cache_directory=Path(tempfile.gettempdir()) / elsewhere)
        return JobFactory(materials)(place)


def _clean(elsewhere: Path | None, *, driver: str) -> None:
    """Removes the features of a search that has ended, on another machine than the driver's."""
    if elsewhere is not None and _machine() != driver:
        remove_leftovers(Path(tempfile.gettempdir()) / elsewhere)


def _machine() -> str:
    """What tells this machine from others that may have the same name."""
    boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
    return f"{socket.gethostname()} {boot}"
