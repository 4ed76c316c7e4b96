"""A tier of memory-mapped files: on a memory file system it is host memory that processes share."""

import contextlib
import hashlib
import json
import logging
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from layersearch.subtuning.features.blocks import Block, Layout
from layersearch.subtuning.features.checksums import CorruptFileError
from layersearch.subtuning.features.files import (
    BUDGET_LOCK,
    USERS_LOCK,
    FileWriter,
    Lock,
    Plan,
    locked,
    map_block,
    remove_all_unused,
    remove_if_empty,
    remove_unused,
    try_lock,
)
from layersearch.subtuning.features.placement import Name
from layersearch.subtuning.features.tiers import Busy, NoRoom, TierName, Writer
from layersearch.subtuning.features.warnings_once import warn_once

_log = logging.getLogger(__name__)
_BLOCKS = "*/*.block"
_PARTIALS = "*/*.partial"


class FileTier:
    """Blocks in files under one directory, shared by the processes that name it.

    Files lie in a folder for what they are features of, so another backbone, other data or other
    settings never meet them. Folders that no living process uses are deleted when a tier is opened.

    Args:
        name: of the tier.
        root: the directory; made if absent.
        budget: bytes that all files under `root` may take together.
        identity: everything that decides the numbers, as JSON.
        device: where loaded values are wanted.

    Raises:
        OSError: the directory cannot be made or written to.
    """

    def __init__(
        self,
        name: TierName,
        root: Path,
        *,
        budget: int,
        identity: Mapping[str, Any],
        device: torch.device,
    ) -> None:
        self.name = name
        self.shared = True
        self.place = str(root)
        self._root = root
        self._budget = budget
        self._identity = dict(identity)
        self._device = device
        self._mapped: dict[Name, int] = {}  # inodes of the files found or written
        digest = hashlib.blake2b(
            json.dumps(self._identity, sort_keys=True).encode(), digest_size=12
        )
        self._folder = root / digest.hexdigest()
        self._users = self._enter()
        remove_all_unused(root)

    def used(self) -> int:
        """Bytes of all files under the directory, also of those being written."""
        total = 0
        for pattern in (_BLOCKS, _PARTIALS):
            for path in self._root.glob(pattern):
                with contextlib.suppress(FileNotFoundError):
                    total += path.stat().st_size
        return total

    def free(self) -> int:
        """Bytes that may still be taken."""
        return self._budget - self.used()

    def lend(self) -> int:
        """See `Tier.lend`."""
        nbytes = max(0, self.free())
        self._budget -= nbytes
        return nbytes

    def find(self, name: Name, layouts: tuple[Layout, ...], count: int) -> Block | None:
        """A block that another process built, or an earlier one left; checked as it is loaded."""
        path = self._path(name)
        plan = self._plan(name, layouts, count)
        try:
            self._mapped[name] = path.stat().st_ino
            return map_block(path, plan, device=self._device, verify=True)
        except FileNotFoundError:
            return None
        except CorruptFileError as error:
            self.damaged(name, error)
            return None

    def create(self, name: Name, layouts: tuple[Layout, ...], count: int) -> Writer:
        """Starts a block; see `Tier.create`.

        Raises:
            OSError: there is no space, or the disk fails.
        """
        path = self._path(name)
        plan = self._plan(name, layouts, count)
        lock = try_lock(path.with_suffix(".lock"))
        if lock is None or path.exists():  # built while we looked elsewhere
            if lock is not None:
                lock.release()
            raise Busy
        try:
            for partial in self._folder.glob(f"{path.stem}.*.partial"):
                partial.unlink(missing_ok=True)  # of a dead process: the lock was free
            partial = self._claim(path, plan.nbytes)
        except BaseException:
            lock.release()
            raise
        return FileWriter(path, partial, plan, lock=lock, device=self._device)

    def drop(self, name: Name) -> None:
        """Deletes a file unless another process maps it."""
        _delete_unmapped(self._path(name))

    def damaged(self, name: Name, error: Exception) -> None:
        """Deletes a file that turned out to be damaged, also if others map it; says so once."""
        path = self._path(name)
        warn_once(
            _log,
            ("damaged", str(self._root)),
            "features: %s is damaged (%s); computing it again, and any others without saying so",
            path,
            error,
        )
        self._delete_damaged(path, self._mapped.pop(name, -1))

    def reclaim(self, nbytes: int) -> None:
        """Deletes files of this folder that no process maps, until so many bytes are free."""
        for path in sorted(self._folder.glob("*.block"), key=_modified):
            if self.free() >= nbytes:
                return
            _delete_unmapped(path)

    def busy(self, name: Name) -> bool:
        """Whether another process is building the block."""
        lock = try_lock(self._path(name).with_suffix(".lock"), shared=True, create=False)
        if lock is not None:
            lock.release()
            return False
        return self._path(name).with_suffix(".lock").exists()

    def close(self, *, remove: bool) -> None:
        """Leaves the folder; deletes it if asked to and nobody else uses it."""
        self._users.release()
        if remove:
            remove_unused(self._folder)
            remove_if_empty(self._root)

    def _enter(self) -> Lock:
        """Marks the folder as used, against its deletion between making and marking it."""
        while True:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.suppress(FileNotFoundError):
                lock = try_lock(self._folder / USERS_LOCK, shared=True)
                if lock is not None:
                    return lock
            time.sleep(0.001)  # somebody is deleting it

    def _path(self, name: Name) -> Path:
        cut, view = name
        return self._folder / f"cut{cut}_view{view}.block"

    def _plan(self, name: Name, layouts: tuple[Layout, ...], count: int) -> Plan:
        identity = {**self._identity, "cut": name[0], "view": name[1]}
        return Plan(identity=identity, layouts=layouts, count=count)

    def _claim(self, path: Path, nbytes: int) -> Path:
        """An empty file of the block's size, counted from now on."""
        with locked(self._root / BUDGET_LOCK):
            self._sweep()
            if nbytes > self.free():
                raise NoRoom
            partial = path.with_suffix(f".{secrets.token_hex(4)}.partial")
            with partial.open("wb") as file:
                file.truncate(nbytes)
        return partial

    def _sweep(self) -> None:
        """Deletes what dead processes were building."""
        for partial in self._root.glob(_PARTIALS):
            block = partial.with_suffix("").with_suffix("")
            lock = try_lock(block.with_suffix(".lock"))
            if lock is not None:
                partial.unlink(missing_ok=True)
                lock.release()

    def _delete_damaged(self, path: Path, inode: int) -> None:
        """Deletes a damaged file; under the builder's lock, so that it is not its successor."""
        lock = try_lock(path.with_suffix(".lock"))
        if lock is not None:
            with contextlib.suppress(OSError):
                if path.stat().st_ino == inode:
                    path.unlink()
            lock.release()


def _delete_unmapped(path: Path) -> None:
    lock = try_lock(path, create=False)
    if lock is not None:
        path.unlink(missing_ok=True)
        lock.release()


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
