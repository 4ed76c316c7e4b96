"""Which blocks are worth their bytes: decisions on plain numbers, without tensors or clocks.

A block saves `saved` seconds every time all of its samples are used once. Two cases make room for a
block that does not fit:

- Blocks that were *idle* while the new one was asked for in full are given up, the least valuable
  first. In a loop over more blocks than fit (epoch after epoch, each with its own view) none is
  ever idle, so the first ones stay: keeping any fixed part of a loop is best, exchanging loses.
- Blocks that save clearly less per byte are given up for one that was never given up itself.

A block that was given up n times must be asked for 2^n times before it may push anything out again,
so no two blocks exchange places for ever.
"""

from collections.abc import Iterable
from dataclasses import dataclass

Name = tuple[int, int]  # cut, view

_CLEARLY = 1.5  # times more seconds saved a byte


@dataclass
class Resident:
    """A block that is stored."""

    name: Name
    nbytes: int
    saved: float  # seconds, each time all of its samples are used
    last_used: int  # tick of the store


@dataclass
class Wish:
    """What is known of a block that is not stored."""

    since: int = 0  # tick of the first use that it could not serve
    uses: float = 0.0  # how often all of its samples were asked for since
    evictions: int = 0  # how often it was stored and given up

    @property
    def ripe(self) -> bool:
        """Whether it was asked for often enough to displace what lay idle meanwhile."""
        return self.uses >= 2.0**self.evictions


def victims(
    *,
    nbytes: int,
    saved: float,
    free: int,
    wish: Wish,
    residents: Iterable[Resident],
) -> list[Resident] | None:
    """What to give up for a new block.

    Args:
        nbytes: of the new block.
        saved: seconds that it saves in a use of all its samples.
        free: bytes that need nobody to go.
        wish: how often the new block was asked for.
        residents: the blocks that may go.

    Returns:
        The blocks to give up, none if there is room; None: the new block is not worth it.
    """
    if nbytes <= free:
        return []
    density = saved / max(nbytes, 1)
    idle: list[Resident] = []
    weaker: list[Resident] = []
    for resident in residents:
        if wish.ripe and resident.last_used < wish.since:
            idle.append(resident)
        elif not wish.evictions and density > _CLEARLY * _density(resident):
            weaker.append(resident)
    chosen: list[Resident] = []
    lost = 0.0
    for resident in sorted(idle, key=_density) + sorted(weaker, key=_density):
        if nbytes <= free:
            break
        lost += 0.0 if resident in idle else resident.saved
        if lost * _CLEARLY > saved:
            return None
        chosen.append(resident)
        free += resident.nbytes
    return chosen if nbytes <= free else None


def _density(resident: Resident) -> float:
    return resident.saved / max(resident.nbytes, 1)
