"""The blocks of a store: which there are, in which tier, and which are made room for."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from layersearch.subtuning.features.blocks import Block, Layout
from layersearch.subtuning.features.checksums import CorruptFileError
from layersearch.subtuning.features.placement import Name, Resident, Wish, victims
from layersearch.subtuning.features.prefix import Prefix
from layersearch.subtuning.features.rates import LoadRates
from layersearch.subtuning.features.tiers import NoRoom, Tier, TierName, Writer
from layersearch.subtuning.features.warnings_once import warn_once

Policy = Literal["measured", "always", "never"]

_log = logging.getLogger(__name__)
_SLUGGISH = "writing to {} takes longer than computing twice"
_WORTH = 0.9  # loading must take less than this share of computing
_PAUSE_S = 0.05  # between two looks for a block that was refused
_WATCH_EVERY = 16  # loads from disk between two comparisons with computing
_BROKEN_S = 60.0  # a tier that failed is left alone for so long
_PAYBACK = 2.0  # uses of a block after which writing it should have paid
_NOTICED_S = 0.25  # writing that takes less harms nobody


@dataclass(eq=False)
class Entry:
    """A block that can be loaded from."""

    name: Name
    block: Block
    tier: Tier
    nbytes: int
    last_used: int  # tick of the store
    loads: int = 0


@dataclass
class Refusal:
    """Why a block is not stored, and when to look again."""

    reason: str
    until: float  # seconds, monotonic
    uses: float  # of the wish: look again when it was asked for so often
    generation: int  # of the shelf: or when other blocks came or went


@dataclass
class Tally:
    """What happened to blocks."""

    built: int = 0
    found: int = 0  # built by another process, or left by an earlier one
    evicted: int = 0
    slow: int = 0  # given up because loading, or writing, was slower than computing


class Shelf:
    """Keeps blocks in tiers.

    Args:
        tiers: where blocks may go, the one to try first first.
        prefix: computes, and knows layouts and seconds of cuts that were measured.
        rates: of loading.
        policy: 'measured' keeps what loads faster than it computes; 'always' keeps all that fits.
        count: samples of a block of a view.
    """

    def __init__(
        self,
        tiers: Sequence[Tier],
        prefix: Prefix,
        rates: LoadRates,
        *,
        policy: Policy,
        count: Callable[[int], int],
    ) -> None:
        self.entries: dict[Name, Entry] = {}
        self.tiers = tuple(tiers)
        self.tally = Tally()
        self.reasons: dict[int, str] = {}  # cut -> why it was last refused
        self._prefix = prefix
        self._rates = rates
        self._policy = policy
        self._count = count
        self._wishes: dict[Name, Wish] = {}
        self._refusals: dict[Name, Refusal] = {}
        self._generation = 0
        self._broken: dict[TierName, float] = {}
        self._sluggish: dict[TierName, float] = {}  # density of a block that was not worth writing

    def nearest(self, cut: int, view: int) -> Entry | None:
        """The stored block of the latest cut before `cut`."""
        for earlier in range(cut - 1, -1, -1):
            entry = self.entries.get((earlier, view))
            if entry is not None:
                return entry
        return None

    def due(self, name: Name, *, tick: int) -> bool:
        """Whether to look for a block, or try to build it, now that it is asked for."""
        wish = self._wishes.setdefault(name, Wish(since=tick))
        refusal = self._refusals.get(name)
        if refusal is None:
            return True
        if wish.uses < refusal.uses and refusal.generation == self._generation:
            return False
        return time.monotonic() >= refusal.until

    def missed(self, name: Name, *, asked: int) -> None:
        """Notes that so many samples of a block had to be computed."""
        self._wishes[name].uses += asked / self._count(name[1])

    def refuse(self, name: Name, reason: str) -> None:
        """Remembers that a block is not stored for now."""
        self.reasons[name[0]] = reason
        wish = self._wishes.setdefault(name, Wish())
        self._refusals[name] = Refusal(
            reason, time.monotonic() + _PAUSE_S, math.floor(wish.uses) + 1.0, self._generation
        )

    def find(self, name: Name, *, tick: int) -> Entry | None:
        """A block that somebody else built."""
        for tier in self.tiers:
            try:
                block = tier.find(name, self.layouts(name[0]), self._count(name[1]))
            except OSError as error:
                self._give_up(tier, error)
                continue
            if block is not None:
                try:
                    entry = self.add(name, block, tier, tick=tick)
                except CorruptFileError as error:
                    tier.damaged(name, error)
                    continue
                self.tally.found += 1
                return entry
        return None

    def add(self, name: Name, block: Block, tier: Tier, *, tick: int) -> Entry | None:
        """Takes a finished block in; None: loading it turned out slower than computing.

        Raises:
            CorruptFileError: its file is damaged.
        """
        load = self._rates.measure(name[0], tier.name, block, self._count(name[1]))
        if self._policy == "measured" and load > self.compute_seconds(name):
            self.tally.slow += 1
            self.refuse(name, f"loading from {tier.name} is slower than computing")
            block.release()
            tier.drop(name)
            return None
        if tier.shared:
            block, tier = self._on_device(name, block, tier)
        entry = Entry(name, block, tier, block.nbytes, tick)
        self.entries[name] = entry
        self._refusals.pop(name, None)
        self._generation += 1
        return entry

    def place(self, name: Name) -> tuple[Tier, Writer] | None:
        """A writer for a new block in the best tier that has room, or can be made to have it.

        Raises:
            Busy: another process is building the block.
        """
        compute = self.compute_seconds(name)
        layouts = self.layouts(name[0])
        reason = "no tier has room for it" if self.tiers else "there is no budget"
        for evict in (False, True):
            for tier in self.tiers:
                if self._broken.get(tier.name, 0.0) > time.monotonic():
                    reason = f"{tier.name} failed"
                    continue
                if self.density(name) <= self._sluggish.get(tier.name, -1.0):
                    reason = _SLUGGISH.format(tier.name)
                    continue
                load = self._rates.seconds(name[0], tier.name, layouts)
                if self._policy == "measured" and load > _WORTH * compute:
                    reason = f"loading from {tier.name} is slower than computing"
                    continue
                saved = (compute - load) * self._count(name[1])
                writer = self._claim(tier, name, saved=saved, evict=evict)
                if writer is not None:
                    return tier, writer
        self.refuse(name, reason)
        return None

    def worth_writing(self, writing_s: float, computing_s: float) -> bool:
        """Whether a block of which a part was computed and written is worth the rest.

        Both were timed side by side, so that whatever else the machine does slows both.
        """
        return self._policy != "measured" or writing_s <= max(_NOTICED_S, _PAYBACK * computing_s)

    def sluggish(self, name: Name, tier: Tier) -> None:
        """Notes that a block was not worth writing; nor is one that saves less a byte."""
        self._sluggish[tier.name] = self.density(name)
        self.tally.slow += 1
        self.refuse(name, _SLUGGISH.format(tier.name))

    def failed(self, name: Name, tier: Tier, error: Exception) -> None:
        """Notes that a block could not be written."""
        tier.drop(name)
        self._give_up(tier, error)
        self.refuse(name, f"{tier.name} failed")

    def damaged(self, entry: Entry, error: CorruptFileError) -> None:
        """Gives up a block whose file turned out to be damaged; it will be built again."""
        if self.entries.pop(entry.name, None) is not None:
            entry.block.release()
            self._generation += 1
        entry.tier.damaged(entry.name, error)

    def evict(self, entry: Entry) -> None:
        """Gives up a block."""
        del self.entries[entry.name]
        entry.block.release()
        entry.tier.drop(entry.name)
        self.tally.evicted += 1
        self._generation += 1
        evictions = self._wishes.get(entry.name, Wish()).evictions + 1
        self._wishes[entry.name] = Wish(since=entry.last_used, evictions=evictions)

    def lend(self) -> dict[TierName, int]:
        """Gives half of what memory tiers may take, or more if it is free, away for good.

        What was used longest ago makes room. Files on a disk are counted whoever writes them.
        """
        lent: dict[TierName, int] = {}
        for tier in self.tiers:
            if tier.name == "disk":
                continue
            wanted = (tier.used() + tier.free()) // 2
            mine = [entry for entry in self.entries.values() if entry.tier is tier]
            for entry in sorted(mine, key=lambda entry: entry.last_used):
                if tier.free() >= wanted:
                    break
                self.evict(entry)
            lent[tier.name] = tier.lend()
        return lent

    def watch(self, entry: Entry, seconds: float) -> None:
        """Notes what a load took, seconds a sample; gives the block up once computing is faster."""
        mean = self._rates.observe(entry.name[0], entry.tier.name, seconds)
        entry.loads += 1
        if self._policy != "measured" or entry.loads % _WATCH_EVERY:
            return
        if mean > self.compute_seconds(entry.name) and entry.name in self.entries:
            self.evict(entry)
            self.tally.slow += 1
            self.refuse(entry.name, f"loading from {entry.tier.name} is slower than computing")

    def decisions(self) -> dict[int, dict[str, Any]]:
        """By cut: what is done, why, and the measured seconds a sample."""
        decisions = {}
        for cut, layouts in sorted(self._prefix.layouts.items()):
            tiers = sorted({e.tier.name for e in self.entries.values() if e.name[0] == cut})
            known = self._rates.known(cut)
            if not tiers and cut not in self.reasons and layouts is not None:
                continue  # passed on the way to a later cut, never asked for
            decisions[cut] = {
                "choice": "load" if tiers else "compute",
                "tiers": tiers,
                "refused": "cannot be stored" if layouts is None else self.reasons.get(cut, ""),
                "load_seconds": known,
                "compute_seconds": self._prefix.known_seconds(cut),
                "bytes": sum(layout.nbytes for layout in layouts or ()),
            }
        return decisions

    def close(self, *, remove: bool) -> None:
        """Gives up all blocks."""
        for entry in self.entries.values():
            entry.block.release()
        self.entries.clear()
        for tier in self.tiers:
            tier.close(remove=remove)

    def layouts(self, cut: int) -> tuple[Layout, ...]:
        """Of a measured cut that can be stored."""
        layouts = self._prefix.layouts[cut]
        assert layouts is not None
        return layouts

    def density(self, name: Name) -> float:
        """Seconds of computing that each byte of a block saves."""
        nbytes = sum(layout.nbytes for layout in self.layouts(name[0]))
        return self.compute_seconds(name) / max(1, nbytes)

    def compute_seconds(self, name: Name) -> float:
        """A sample, from the nearest earlier block or from its image."""
        cut, view = name
        entry = self.nearest(cut, view)
        if entry is None:
            return self._prefix.seconds(0, cut, view, inputs=True)
        return self._prefix.seconds(entry.name[0], cut, view, inputs=False) + self._load(entry)

    def _load(self, entry: Entry) -> float:
        return self._rates.seconds(entry.name[0], entry.tier.name, entry.block.layouts)

    def _claim(self, tier: Tier, name: Name, *, saved: float, evict: bool) -> Writer | None:
        layouts, count = self.layouts(name[0]), self._count(name[1])
        try:
            if evict and not self._make_room(tier, name, saved=saved):
                return None
            return tier.create(name, layouts, count)
        except NoRoom:
            return None
        except (OSError, MemoryError) as error:
            self._give_up(tier, error)
            return None

    def _on_device(self, name: Name, block: Block, tier: Tier) -> tuple[Block, Tier]:
        """A copy on the device of a block that processes share, if there is a tier with room."""
        device = next((other for other in self.tiers if other.name == "device"), None)
        if device is None:
            return block, tier
        count, size = self._count(name[1]), self._prefix.batch_size
        try:
            writer = device.create(name, block.layouts, count)
        except (NoRoom, MemoryError):
            return block, tier
        try:
            for start in range(0, count, size):
                writer.write(start, block.load(torch.arange(start, min(start + size, count))))
        except CorruptFileError:
            writer.abort()
            device.drop(name)
            raise
        block.release()
        copy = writer.finish()
        self._rates.measure(name[0], device.name, copy, count)
        return copy, device

    def _make_room(self, tier: Tier, name: Name, *, saved: float) -> bool:
        nbytes = self._count(name[1]) * sum(layout.nbytes for layout in self.layouts(name[0]))
        wish = self._wishes.setdefault(name, Wish())
        if wish.ripe:
            tier.reclaim(nbytes)
        mine = {entry.name: entry for entry in self.entries.values() if entry.tier is tier}
        residents = [
            Resident(
                entry.name,
                entry.nbytes,
                (self.compute_seconds(entry.name) - self._load(entry)) * self._count(entry.name[1]),
                entry.last_used,
            )
            for entry in mine.values()
        ]
        chosen = victims(
            nbytes=nbytes, saved=saved, free=tier.free(), wish=wish, residents=residents
        )
        for resident in chosen or ():
            self.evict(mine[resident.name])
        return chosen is not None

    def _give_up(self, tier: Tier, error: Exception) -> None:
        """Leaves a tier alone for a while."""
        warn_once(
            _log,
            ("full", tier.place),
            "features: %s: cannot store more (%s); going on without, which gives the same scores "
            "later. Free space there, or lower execution.cache.%s",
            tier.place,
            getattr(error, "strerror", None) or error,
            tier.name,
        )
        self._broken[tier.name] = time.monotonic() + _BROKEN_S
