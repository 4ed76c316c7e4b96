"""Files that hold blocks, and the locks by which the processes of a node share them.

A file is a header (magic, lengths, JSON, checksum of the JSON) padded to whole pages, the rows of
each value, and the checksums of those rows (see `checksums`). It is written aside and renamed, so a
file under its own name is whole unless the disk damaged it or somebody cut it: its length and the
checksums of header and checksums tell when it is opened, those of the rows when they are loaded.

Locks are flock's, which the kernel frees when a process dies:

- `<block>.lock`, exclusive: its owner builds the block.
- the block's file, shared: the process maps it; deleting a block needs it exclusively, because the
  memory of a deleted but mapped file is not free.
- `users.lock`, shared: the process uses the folder; a folder that nobody uses is a leftover.
- `budget.lock`, exclusive, briefly: its owner claims bytes.
"""

import contextlib
import errno
import fcntl
import itertools
import json
import mmap
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layersearch.subtuning.features.blocks import Block, Layout, Values
from layersearch.subtuning.features.checksums import (
    CorruptFileError,
    Guard,
    Summing,
    Sums,
    chunk_count,
)

USERS_LOCK = "users.lock"
BUDGET_LOCK = "budget.lock"
_MAGIC = b"LSFEAT02"
_PAGE = 4096
_ALIGNMENT = 64  # bytes; rows of a value start at a multiple
_SUM = np.dtype("<u8")  # a checksum


class Lock:
    """An open file that holds a flock; closing it, or dying, frees the lock."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Frees the lock, if that was not done yet."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def try_lock(path: Path, *, shared: bool = False, create: bool = True) -> Lock | None:
    """Locks a file without waiting; None: somebody else has it, or it vanished meanwhile."""
    flags = os.O_RDWR | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileNotFoundError:
        if create:
            raise
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        if _same_file(descriptor, path):
            return Lock(descriptor)
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock that nobody keeps for long, waiting for it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _same_file(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)


def remove_all_unused(root: Path) -> int:
    """Deletes the folders of blocks under a directory that no living process uses; how many."""
    removed = 0
    for users in sorted(root.glob(f"*/{USERS_LOCK}")):
        removed += remove_unused(users.parent)
    for folder in root.glob("*/"):
        with contextlib.suppress(OSError):  # whoever deleted it was killed before the last step
            folder.rmdir()
    return removed


def remove_unused(folder: Path) -> bool:
    """Deletes a folder of blocks unless a process uses it."""
    lock = try_lock(folder / USERS_LOCK, create=False)
    if lock is None:
        return False
    try:
        # The lock's file last: whoever enters the folder from then on makes a new one, keeps it
        # from being removed, and loses nothing.
        for path in folder.iterdir():
            if path.name != USERS_LOCK:
                path.unlink(missing_ok=True)
        (folder / USERS_LOCK).unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        return not folder.exists()
    finally:
        lock.release()
    return True


def remove_if_empty(root: Path) -> None:
    """Deletes a directory that has no folders of blocks any more."""
    lock = try_lock(root / BUDGET_LOCK, create=False)
    try:
        if not any(path.is_dir() for path in root.iterdir()):
            if lock is not None:
                (root / BUDGET_LOCK).unlink(missing_ok=True)
            root.rmdir()
    except OSError:  # somebody came in meanwhile
        pass
    finally:
        if lock is not None:
            lock.release()


def _same_file(descriptor: int, path: Path) -> bool:
    """Whether the path still names the open file: it may have been deleted before it was locked."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (mine.st_ino, mine.st_dev) == (there.st_ino, there.st_dev)


@dataclass(frozen=True)
class Plan:
    """Where everything lies in the file of one block."""

    identity: dict[str, Any]  # what the block is, as JSON
    layouts: tuple[Layout, ...]
    count: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of the rows of each value."""
        return tuple(self.count * layout.nbytes for layout in self.layouts)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where the rows of each value begin."""
        starts = [self.header_size]
        for size in self.sizes:
            starts.append(_round_up(starts[-1] + size, _ALIGNMENT))
        return tuple(starts[:-1])

    @property
    def chunks(self) -> tuple[int, ...]:
        """How many checksums the rows of each value have."""
        return tuple(chunk_count(self.count, layout.nbytes) for layout in self.layouts)

    @property
    def sums_offset(self) -> int:
        """Where the checksums begin, those of the first value first."""
        return _round_up(self.offsets[-1] + self.sizes[-1], _ALIGNMENT)

    @property
    def nbytes(self) -> int:
        """Of the whole file."""
        return self.sums_offset + sum(self.chunks) * _SUM.itemsize

    @property
    def header_size(self) -> int:
        """Bytes before the first value: whole pages."""
        return _round_up(len(self.header(0)), _PAGE)

    def header(self, checksum: int) -> bytes:
        """The header, as long whatever the checksum (CRC-32 of the checksums of all rows)."""
        description = {
            **self.identity,
            "count": self.count,
            "values": [
                {
                    "shape": layout.shape,
                    "dtype": str(layout.dtype),
                    "stored": str(layout.stored),
                    "order": layout.order,
                }
                for layout in self.layouts
            ],
            "sums": f"{checksum:08x}",
        }
        text = json.dumps(description, sort_keys=True).encode()
        return _MAGIC + struct.pack("<QI", len(text), zlib.crc32(text)) + text


class FileWriter:
    """Writes a block into a file that takes its name only when it is whole.

    Args:
        path: the name of the finished file.
        partial: where to write, an empty file, already counted in the budget.
        plan: of the file.
        lock: on building the block; freed at the end.
        device: where loaded values will be wanted.

    Raises:
        OSError: there is no space, or the disk fails. The partial file is gone then.
    """

    def __init__(
        self, path: Path, partial: Path, plan: Plan, *, lock: Lock, device: torch.device
    ) -> None:
        self._path = path
        self._partial = partial
        self._plan = plan
        self._lock = lock
        self._device = device
        self._offsets = plan.offsets
        self._summing = [Summing(layout.nbytes) for layout in plan.layouts]
        self._descriptor = os.open(partial, os.O_RDWR)
        try:
            # All the space now: finding out when half of it is written helps nobody.
            os.posix_fallocate(self._descriptor, 0, plan.nbytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system without it
                self.abort()
                raise

    def write(self, start: int, values: Values) -> None:
        """Puts the values of a batch at rows start … start + B, in ascending order of rows."""
        for number, (layout, value) in enumerate(zip(self._plan.layouts, values, strict=True)):
            data = _bytes_of(layout.pack(value).to(device="cpu", dtype=layout.stored))
            self._summing[number].add(data)
            _write_all(self._descriptor, data, self._offsets[number] + start * layout.nbytes)

    def finish(self) -> Block:
        """Names the file, maps it and lets others have it.

        Raises:
            OSError: the disk fails.
        """
        try:
            sums = b"".join(part.finish().astype(_SUM).tobytes() for part in self._summing)
            _write_all(self._descriptor, memoryview(sums), self._plan.sums_offset)
            _write_all(self._descriptor, memoryview(self._plan.header(zlib.crc32(sums))), 0)
            self._partial.replace(self._path)
            os.close(self._descriptor)
            self._descriptor = -1
            return map_block(self._path, self._plan, device=self._device, verify=False)
        except CorruptFileError as error:  # somebody deleted it already
            raise OSError(str(error)) from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Deletes what was written, unless it was finished."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._partial.unlink(missing_ok=True)
        self._lock.release()


def map_block(path: Path, plan: Plan, *, device: torch.device, verify: bool) -> Block:
    """A block whose rows are the pages of a file.

    Args:
        path: of the file.
        plan: what the file should hold.
        device: where loaded values are wanted.
        verify: whether to compare the checksums of rows, each when it is first loaded.

    Raises:
        FileNotFoundError: there is none.
        CorruptFileError: the file is damaged, or of something else.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if not _same_file(descriptor, path):
            raise FileNotFoundError(f"{path}: deleted meanwhile")
        size = os.fstat(descriptor).st_size
        if size != plan.nbytes:
            raise CorruptFileError(f"{size} bytes instead of {plan.nbytes}")
        # The mapping keeps a duplicate of the descriptor, and with it the shared lock.
        pages = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
    except BlockingIOError as error:
        raise FileNotFoundError(f"{path}: being deleted") from error
    finally:
        os.close(descriptor)
    sums = _checked_sums(pages, plan)
    rows = _rows(pages, plan)
    return Block(plan.layouts, rows, device=device, guard=Guard(rows, sums) if verify else None)


def _rows(pages: mmap.mmap, plan: Plan) -> list[Tensor]:
    rows = []
    for layout, offset in zip(plan.layouts, plan.offsets, strict=True):
        shape = (plan.count, *layout.stored_shape)
        with warnings.catch_warnings():
            # Rows are only ever copied from; that they cannot be written to is as wanted.
            warnings.filterwarnings("ignore", message=".*not writable")
            flat = torch.frombuffer(
                pages, dtype=layout.stored, count=torch.Size(shape).numel(), offset=offset
            )
        rows.append(flat.view(shape))
    return rows


def _checked_sums(pages: mmap.mmap, plan: Plan) -> list[Sums]:
    """Compares the header with what it should be; the checksums of the rows of each value."""
    start = len(_MAGIC) + struct.calcsize("<QI")
    if pages[: len(_MAGIC)] != _MAGIC:
        raise CorruptFileError("not a file of features, or of another version")
    length, checksum = struct.unpack("<QI", pages[len(_MAGIC) : start])
    text = pages[start : start + length] if length < plan.header_size else b""
    if zlib.crc32(text) != checksum or not text:
        raise CorruptFileError("damaged header")
    try:
        written = int(json.loads(text)["sums"], 16)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError("a header of another version") from error
    if plan.header(written)[start:] != text:
        raise CorruptFileError("features of something else")
    sums = pages[plan.sums_offset :]
    if zlib.crc32(sums) != written:
        raise CorruptFileError("damaged checksums")
    ends = np.cumsum((0, *plan.chunks)).tolist()
    every = np.frombuffer(sums, dtype=_SUM)
    return [every[first:last] for first, last in itertools.pairwise(ends)]


def _bytes_of(rows: Tensor) -> memoryview:
    flat = rows.contiguous().reshape(-1).view(torch.uint8)
    return flat.numpy().data


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while len(data):
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit
