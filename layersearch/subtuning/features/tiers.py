"""Tiers: where blocks are kept, each with a budget of bytes. Files are in `files`."""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from layersearch.subtuning.features.blocks import Block, Layout, MemoryWriter, Values
from layersearch.subtuning.features.placement import Name

TierName = Literal["device", "host", "disk"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Bytes that stored features may take."""

    device_bytes: int = 1 << 30  # on the training device, of this process
    host_bytes: int = 4 << 30  # in main memory; of all processes that share a directory
    disk_bytes: int = 0  # in files on a disk; likewise

    def __post_init__(self) -> None:
        for field in ("device_bytes", "host_bytes", "disk_bytes"):
            if getattr(self, field) < 0:
                raise ValueError(f"Budget.{field}: at least 0 ({getattr(self, field)})")


class NoRoom(Exception):  # an answer, not a failure
    """The tier's budget is spent."""


class Busy(Exception):
    """Another process is building this block."""


class Writer(Protocol):
    """A block being built."""

    def write(self, start: int, values: Values) -> None:
        """Puts the values of a batch at rows start … start + B, in ascending order of rows."""

    def finish(self) -> Block:
        """The block, when every row is written."""

    def abort(self) -> None:
        """Leaves nothing behind."""


class Tier(Protocol):
    """A place for blocks. Errors of the operating system are OSError and MemoryError."""

    @property
    def name(self) -> TierName:
        """What users call it."""

    @property
    def shared(self) -> bool:
        """Whether other processes use its blocks."""

    @property
    def place(self) -> str:
        """Where its bytes are, for messages: a directory, or in words."""

    def used(self) -> int:
        """Bytes taken, by all processes that share it."""

    def free(self) -> int:
        """Bytes that may still be taken."""

    def lend(self) -> int:
        """Gives the free bytes away for good, and says how many."""

    def find(self, name: Name, layouts: tuple[Layout, ...], count: int) -> Block | None:
        """A block that another process built, or an earlier one left."""

    def create(self, name: Name, layouts: tuple[Layout, ...], count: int) -> Writer:
        """Starts a block of `count` rows.

        Raises:
            NoRoom: it does not fit into the budget.
            Busy: another process is building it.
        """

    def drop(self, name: Name) -> None:
        """Gives up a block; others that share it keep theirs."""

    def damaged(self, name: Name, error: Exception) -> None:
        """Deletes a block that turned out to be damaged, whoever uses it, and says so."""

    def reclaim(self, nbytes: int) -> None:
        """Tries to free bytes that nobody uses."""

    def busy(self, name: Name) -> bool:
        """Whether another process is building the block."""

    def close(self, *, remove: bool) -> None:
        """Gives up all blocks; `remove` deletes their files unless others use them."""


class MemoryTier:
    """Blocks in the memory of this process, or on its device.

    Args:
        name: of the tier.
        budget: bytes.
        place: where the blocks lie.
        device: where loaded values are wanted.
    """

    def __init__(
        self, name: TierName, *, budget: int, place: torch.device, device: torch.device
    ) -> None:
        self.name = name
        self.shared = False
        self.place = f"memory of {place}"
        self._budget = budget
        self._place = place
        self._device = device
        self._taken: dict[Name, int] = {}

    def used(self) -> int:
        """Bytes taken."""
        return sum(self._taken.values())

    def free(self) -> int:
        """Bytes that may still be taken."""
        return self._budget - self.used()

    def lend(self) -> int:
        """See `Tier.lend`."""
        nbytes = max(0, self.free())
        self._budget -= nbytes
        return nbytes

    def find(self, name: Name, layouts: tuple[Layout, ...], count: int) -> Block | None:  # noqa: ARG002
        """None: nobody shares this memory."""
        return None

    def create(self, name: Name, layouts: tuple[Layout, ...], count: int) -> Writer:
        """Starts a block; see `Tier.create`."""
        nbytes = count * sum(layout.nbytes for layout in layouts)
        if nbytes > self.free():
            raise NoRoom
        writer = MemoryWriter(layouts, count, place=self._place, device=self._device)
        self._taken[name] = nbytes
        return writer

    def drop(self, name: Name) -> None:
        """Forgets a block; its memory is freed with the last reference to it."""
        self._taken.pop(name, None)

    def damaged(self, name: Name, error: Exception) -> None:  # noqa: ARG002
        """Forgets it; nothing here is checked."""
        self.drop(name)

    def reclaim(self, nbytes: int) -> None:
        """Nothing: all bytes are of blocks in use."""

    def busy(self, name: Name) -> bool:  # noqa: ARG002
        """False: nobody shares this memory."""
        return False

    def close(self, *, remove: bool) -> None:  # noqa: ARG002
        """Forgets all blocks."""
        self._taken.clear()
