"""Which tiers a store has: from its budget, its device and whether it shares files."""

import hashlib
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from layersearch.subtuning.features.file_tier import FileTier
from layersearch.subtuning.features.files import remove_all_unused, remove_if_empty
from layersearch.subtuning.features.tiers import Budget, MemoryTier, Tier, TierName
from layersearch.subtuning.features.warnings_once import warn_once

_log = logging.getLogger(__name__)
_MEMORY_FILES = Path("/dev/shm")  # Linux's memory file system


def open_tiers(
    budget: Budget,
    *,
    device: torch.device,
    directory: Path | None,
    memory_directory: Path | None,
    identity: Mapping[str, Any],
) -> list[Tier]:
    """The tiers of a store, the first one to try first.

    Without a directory, blocks are in the memory of this process alone. With one, processes share
    them: host memory is then files on a memory file system. On a GPU the shared files come first,
    so that what one worker built the others only copy; on a CPU the device is host memory, and
    sharing it is better than a copy in every worker, so there is no device tier.

    Args:
        budget: bytes of each tier; a tier without any is left out.
        device: where loaded values are wanted.
        directory: of the files on a disk.
        memory_directory: of the files in host memory; None: one under /dev/shm that goes with
            `directory`.
        identity: everything that decides the numbers, as JSON.
    """
    cpu = torch.device("cpu")
    if directory is None:
        _own_memory()  # which also frees what killed searches left
        if budget.disk_bytes:
            _log.warning("features: a budget on disk is of no use without a directory")
        memory: list[tuple[TierName, int, torch.device]] = [
            ("device", budget.device_bytes, device),
            ("host", budget.host_bytes, cpu),
        ]
        return [
            MemoryTier(name, budget=nbytes, place=place, device=device)
            for name, nbytes, place in memory
            if nbytes
        ]
    tiers: list[Tier] = []
    if budget.host_bytes:
        root = memory_directory or memory_directory_for(directory)
        tiers.append(_shared(budget.host_bytes, root, identity=identity, device=device))
    if budget.device_bytes and device.type != "cpu":
        nbytes = budget.device_bytes
        tiers.append(MemoryTier("device", budget=nbytes, place=device, device=device))
    if budget.disk_bytes:
        disk = _files("disk", directory, budget.disk_bytes, identity=identity, device=device)
        tiers += [disk] if disk is not None else []
    return tiers


def remove_leftovers(directory: Path) -> int:
    """Deletes features that no living process uses: when the workers of a search have ended.

    Stores do the same when they are opened, for whatever ended searches left; and a store that is
    closed with `remove` deletes its own. This is for workers that could not close theirs.

    Args:
        directory: of the stores; their shared host memory under /dev/shm is freed too.

    Returns:
        How many folders of features were deleted.
    """
    memory = memory_directory_for(directory)
    removed = 0
    for root in (directory, memory):
        if root is not None:
            removed += remove_all_unused(root)
            remove_if_empty(root)
    return removed


def memory_directory_for(directory: Path) -> Path | None:
    """Where the processes that share `directory` share host memory; None: this machine cannot."""
    mine = _own_memory()
    if mine is None:
        return None
    return mine / hashlib.blake2b(str(directory.resolve()).encode(), digest_size=8).hexdigest()


def _own_memory() -> Path | None:
    """This user's folder of files in memory, without what killed searches left in it."""
    if not _MEMORY_FILES.is_dir():
        return None
    mine = _MEMORY_FILES / f"layersearch-{os.getuid()}"
    try:
        mine.mkdir(mode=0o700, exist_ok=True)
        status = mine.lstat()
        # Anybody may make folders there: one of somebody else's is not to be trusted.
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            return None
        for root in mine.iterdir():  # memory that killed searches left taken
            remove_all_unused(root)
            remove_if_empty(root)
    except OSError:
        return None
    return mine


def _shared(
    nbytes: int, root: Path | None, *, identity: Mapping[str, Any], device: torch.device
) -> Tier:
    tier = None if root is None else _files("host", root, nbytes, identity=identity, device=device)
    if tier is None:
        _log.warning("features: host memory cannot be shared here; every worker keeps its own")
        return MemoryTier("host", budget=nbytes, place=torch.device("cpu"), device=device)
    return tier


def _files(
    name: TierName, root: Path, nbytes: int, *, identity: Mapping[str, Any], device: torch.device
) -> Tier | None:
    try:
        return FileTier(name, root, budget=nbytes, identity=identity, device=device)
    except OSError as error:
        warn_once(
            _log,
            ("unusable", str(root)),
            "features: %s: cannot be used (%s); going on without, which gives the same scores "
            "later. Free space there, or set execution.cache.%s to 0",
            root,
            error.strerror or error,
            name,
        )
        return None
