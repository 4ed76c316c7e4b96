"""Computing values that are not stored, and filling blocks: one pass for one cut or for many."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from layersearch.subtuning.features.blocks import Values
from layersearch.subtuning.features.checksums import CorruptFileError
from layersearch.subtuning.features.coverage import Coverage
from layersearch.subtuning.features.placement import Name
from layersearch.subtuning.features.prefix import Prefix
from layersearch.subtuning.features.shelf import Shelf
from layersearch.subtuning.features.tiers import Busy, Tier, Writer

_POLL_S = 0.01  # between two looks whether another process is done
_PATIENCE = 1.5  # times the seconds that building here would take
_LEAST_PATIENCE_S = 1.0

Writers = dict[int, tuple[Tier, Writer]]  # by cut


@dataclass
class _Pace:
    """How long the parts of a block took so far."""

    computing_s: float = 0.0
    writing_s: float = 0.0


class Builder:
    """Computes from the nearest stored cut; builds blocks on a shelf.

    Args:
        prefix: computes.
        shelf: where blocks are found and go.
        coverage: the samples of a view's blocks.
        patience: seconds to wait for another process that builds a block; None: as long as building
            it here would take.
    """

    def __init__(
        self,
        prefix: Prefix,
        shelf: Shelf,
        *,
        coverage: Callable[[int], Coverage],
        patience: float | None,
    ) -> None:
        self._prefix = prefix
        self._shelf = shelf
        self._coverage = coverage
        self._patience = patience
        self.building_s = 0.0
        self.waiting_s = 0.0

    def compute(self, cut: int, samples: Tensor, view: int) -> Values:
        """The values at a cut, from the nearest earlier block or from images."""
        size = self._prefix.batch_size
        if len(samples) > size:
            parts = [self.compute(cut, part, view) for part in torch.split(samples, size)]
            return tuple(torch.cat(values) for values in zip(*parts, strict=True))
        rows = self._coverage(view).rows(samples)
        while rows is not None and (entry := self._shelf.nearest(cut, view)) is not None:
            try:
                values = entry.block.load(rows)
            except CorruptFileError as error:
                self._shelf.damaged(entry, error)
                continue
            if not values:  # given up by another thread meanwhile
                break
            return self._prefix.run(values, entry.name[0], cut, count=len(samples))
        values = self._prefix.inputs(samples, view)
        return self._prefix.run(values, 0, cut, count=len(samples))

    def obtain(self, names: Sequence[Name], *, tick: int) -> None:
        """Finds blocks of one view that others built; builds the rest where it pays and fits."""
        if not names:
            return
        view = names[0][1]
        self._prefix.measure(max(cut for cut, _ in names), view)
        storable = [name for name in names if self._prefix.layouts[name[0]] is not None]
        missing = [name for name in storable if self._shelf.find(name, tick=tick) is None]
        writers: Writers = {}
        busy = []
        try:
            for name in sorted(missing, key=self._shelf.density, reverse=True):
                try:
                    place = self._shelf.place(name)
                except Busy:
                    busy.append(name)
                else:
                    if place is not None:
                        writers[name[0]] = place
            self._fill(writers, view, tick=tick)
        finally:
            for cut in list(writers):  # those that an exception left unfinished
                self._discard(writers, (cut, view))
        for name in busy:
            self._wait(name, tick=tick)

    def _fill(self, writers: Writers, view: int, *, tick: int) -> None:
        """Runs all samples through the cuts; takes what is finished out of `writers`."""
        started = time.perf_counter()
        all_samples = self._coverage(view).samples
        paces = {cut: _Pace() for cut in writers}
        for first in range(0, len(all_samples), self._prefix.batch_size):
            samples = all_samples[first : first + self._prefix.batch_size]
            at: int | None = None
            values: Values = ()
            computed = 0.0  # seconds of this batch, up to the cut
            for cut in sorted(writers):
                began = time.perf_counter()
                if at is None:
                    values = self.compute(cut, samples, view)
                else:
                    values = self._prefix.run(values, at, cut, count=len(samples))
                at = cut
                if writers[cut][0].shared:  # a file, which waits for the values anyway
                    self._prefix.synchronise()
                computed += time.perf_counter() - began
                paces[cut].computing_s += computed
                self._write(writers, (cut, view), first, values, paces[cut])
            if not writers:
                break
        for cut in sorted(writers):
            self._finish(writers, (cut, view), tick=tick)
        self.building_s += time.perf_counter() - started

    def _write(
        self, writers: Writers, name: Name, first: int, values: Values, pace: "_Pace"
    ) -> None:
        cut = name[0]
        tier, writer = writers[cut]
        layouts = self._shelf.layouts(cut)
        count = min(self._prefix.batch_size, len(self._coverage(name[1])) - first)
        same = len(values) == len(layouts) and all(
            layout.fits(value, count) for layout, value in zip(layouts, values, strict=True)
        )
        if not same:  # something in them depends on the batch
            self._prefix.layouts[cut] = None
            self._discard(writers, name)
            return
        began = time.perf_counter()
        try:
            writer.write(first, values)
        except (OSError, RuntimeError) as error:
            self._discard(writers, name)
            self._shelf.failed(name, tier, error)
            return
        pace.writing_s += time.perf_counter() - began
        # Memory is always fast enough; a disk may be a network away, or busy with something else.
        if tier.shared and not self._shelf.worth_writing(pace.writing_s, pace.computing_s):
            self._discard(writers, name)
            self._shelf.sluggish(name, tier)

    def _finish(self, writers: Writers, name: Name, *, tick: int) -> None:
        tier, writer = writers.pop(name[0])
        try:
            block = writer.finish()
        except OSError as error:
            self._shelf.failed(name, tier, error)
            return
        self._shelf.tally.built += 1
        self._shelf.add(name, block, tier, tick=tick)

    @staticmethod
    def _discard(writers: Writers, name: Name) -> None:
        tier, writer = writers.pop(name[0])
        writer.abort()
        tier.drop(name)

    def _wait(self, name: Name, *, tick: int) -> None:
        """Waits for another process to finish a block, but not for long."""
        started = time.perf_counter()
        patience = self._patience
        if patience is None:
            seconds = self._shelf.compute_seconds(name) * len(self._coverage(name[1]))
            patience = max(_LEAST_PATIENCE_S, _PATIENCE * seconds)
        while any(tier.busy(name) for tier in self._shelf.tiers):
            if time.perf_counter() - started > patience:
                break
            time.sleep(_POLL_S)
        self.waiting_s += time.perf_counter() - started
        if self._shelf.find(name, tick=tick) is None:
            self._shelf.refuse(name, "another process is building it")
