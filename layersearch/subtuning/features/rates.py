"""What loading costs beside computing: measured, so that a slow store is never used.

Seconds are of one sample. Loading is first estimated from rows of zeros in the same kind of memory,
then measured on the block itself.
"""

import torch

from layersearch.subtuning.features.blocks import Block, Layout, MemoryWriter
from layersearch.subtuning.features.prefix import Prefix
from layersearch.subtuning.features.tiers import TierName

_PROBE_BYTES = 32 << 20  # enough not to sit in a processor's caches
_SMOOTHING = 0.1  # weight of the newest load in the running mean
_OUTLIER = 4.0  # times the mean: a load that took longer met something else on the machine


class LoadRates:
    """Seconds to load a sample's values at a cut from a tier.

    Args:
        prefix: tells the batch size and times on its device.
        device: where loaded values are wanted.
    """

    def __init__(self, prefix: Prefix, *, device: torch.device) -> None:
        self._prefix = prefix
        self._device = device
        self._seconds: dict[tuple[int, TierName], float] = {}

    def seconds(self, cut: int, tier: TierName, layouts: tuple[Layout, ...]) -> float:
        """What is known, or an estimate from a block of zeros."""
        key = (cut, tier)
        if key not in self._seconds:
            place = self._device if tier == "device" else torch.device("cpu")
            self._seconds[key] = self._estimate(layouts, place)
        return self._seconds[key]

    def measure(self, cut: int, tier: TierName, block: Block, count: int) -> float:
        """Times batches of random rows of a block of `count` rows."""
        seconds = self._time(block, count)
        self._seconds[cut, tier] = seconds
        return seconds

    def observe(self, cut: int, tier: TierName, seconds: float) -> float:
        """Adds one load, seconds a sample; returns the running mean."""
        mean = self._seconds.get((cut, tier), seconds)
        mean += _SMOOTHING * (min(seconds, _OUTLIER * mean) - mean)
        self._seconds[cut, tier] = mean
        return mean

    def known(self, cut: int) -> dict[TierName, float]:
        """Seconds a sample by tier, of those measured for the cut."""
        return {tier: seconds for (at, tier), seconds in self._seconds.items() if at == cut}

    def _estimate(self, layouts: tuple[Layout, ...], place: torch.device) -> float:
        nbytes = max(1, sum(layout.nbytes for layout in layouts))
        count = max(1, min(len(self._prefix), _PROBE_BYTES // nbytes))
        try:
            writer = MemoryWriter(layouts, count, place=place, device=self._device)
        except MemoryError:
            return float("inf")
        block = writer.finish()
        for rows in block.rows:
            rows.zero_()  # memory that was never written to is read faster
        return self._time(block, count)

    def _time(self, block: Block, count: int) -> float:
        # Its own generator: the trials' random numbers must not depend on what was measured.
        generator = torch.Generator().manual_seed(0)
        batch = min(count, self._prefix.batch_size)
        rows = torch.randint(count, (batch,), generator=generator)
        block.load(rows)
        _, seconds = self._prefix.timed(lambda: block.load(rows))
        return seconds / batch
