"""The frozen prefix run on images: what the store computes when it has nothing stored.

B: samples of a batch; cut k: between stage k - 1 and stage k; the values at cut k are the inputs of
stage k, and those at cut 0 the preprocessed images.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from layersearch.subtuning.features.blocks import Layout, Values, layouts_of
from layersearch.subtuning.optimisation import autocast
from layersearch.subtuning.recipe import Precision

EVALUATION_VIEW = -1
# Timings of the same thing, the best of which counts: fewer of what takes long. Seconds after which
# the first, the second, the third is the last.
_ENOUGH_S = (0.25, 0.01, 0.0)
_MEASURED = 32  # samples timed on a CPU, where larger batches are hardly faster


class PrefixChain(Protocol):
    """What the store needs of a backbone cut into stages (`layersearch.backbones.Chain`)."""

    @property
    def stages(self) -> Sequence[nn.Module]:
        """The stages, from the input to the head."""

    @property
    def multiply_adds(self) -> Sequence[int]:
        """Of each stage, forward, one sample."""

    def run(self, values: Values, start: int = 0, stop: int | None = None) -> Values:
        """What stages[start:stop] make of the values at cut `start`."""

    def cacheable(self, k: int) -> bool:
        """Whether the values at cut k are tensors that can be stored sample by sample."""


class ViewSource(Protocol):
    """What the store needs of augmentation and preprocessing (`layersearch.data.Views`)."""

    def number(self, view: int) -> int:
        """The distinct view that `view` stands for."""

    def batch(self, images: Tensor, samples: Tensor, view: int) -> Tensor:
        """The preprocessed view of images (B, C, H, W), whose sample indices are (B,)."""


class Prefix:
    """Runs stages of the frozen backbone on samples; counts and times what it runs.

    Everything runs in eval mode and without gradients. The results are ordinary tensors, not
    inference tensors, so that a suffix can be trained on them.

    Args:
        chain: the backbone, on the device.
        images: (N, ...) of all samples, on the host or on the device.
        views: augmentation and preprocessing.
        device: where to compute.
        precision: of the stages, as in the trials.
        channels_last: whether preprocessed images are laid out so; stages keep the layout.
        batch_size: samples computed at a time.
        compact: whether floating-point values will be stored in bfloat16.
    """

    def __init__(
        self,
        chain: PrefixChain,
        images: Tensor,
        views: ViewSource,
        *,
        device: torch.device,
        precision: Precision,
        channels_last: bool,
        batch_size: int,
        compact: bool,
    ) -> None:
        self._chain = chain
        self._images = images
        self._views = views
        self._device = device
        self._precision = precision
        self._channels_last = channels_last
        self.batch_size = batch_size
        self.multiply_adds = 0  # computed so far
        self.measuring_s = 0.0
        self.layouts: dict[int, tuple[Layout, ...] | None] = {}  # by cut; None: cannot be stored
        self._compact = compact
        self._modules = [tuple(stage.modules()) for stage in chain.stages]
        self._frontier: Values = ()  # of the measured batch, at the last cut measured
        self._stage_seconds: list[float] = []  # one sample
        self._input_seconds: dict[bool, float] = {}  # augmented -> seconds, one sample

    def __len__(self) -> int:
        return len(self._images)

    def inputs(self, samples: Tensor, view: int) -> Values:
        """The values at cut 0 for samples (B,), from their images."""
        with torch.no_grad():
            images = self._images.index_select(0, _beside(samples, self._images.device))
            batch = self._views.batch(
                images.to(self._device, non_blocking=True), _beside(samples, self._device), view
            )
            if self._channels_last and batch.dim() == 4:
                batch = batch.contiguous(memory_format=torch.channels_last)
        return (batch,)

    def run(self, values: Values, start: int, stop: int, *, count: int) -> Values:
        """The values at cut `stop` from those at cut `start`, of `count` samples."""
        if start == stop:
            return values
        for modules in self._modules[start:stop]:
            for module in modules:  # eval mode, whatever anyone called since
                if module.training:
                    module.training = False
        self.multiply_adds += count * sum(self._chain.multiply_adds[start:stop])
        with torch.no_grad(), autocast(self._device, self._precision):
            return self._chain.run(values, start, stop)

    def synchronise(self) -> None:
        """Waits for the device, so that a clock read now is true."""
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)

    def timed(self, action: Callable[[], Values]) -> tuple[Values, float]:
        """What the action returns, and its seconds: the best of a few unless it takes long."""
        best = float("inf")
        result: Values = ()
        for enough in _ENOUGH_S:
            self.synchronise()
            started = time.perf_counter()
            result = action()
            self.synchronise()
            seconds = time.perf_counter() - started
            best = min(best, seconds)
            if seconds > enough:
                break
        return result, best

    def measure(self, stop: int, view: int) -> None:
        """Times preprocessing and every stage before cut `stop` on one batch, once each."""
        augmented = view != EVALUATION_VIEW
        if augmented in self._input_seconds and len(self._stage_seconds) >= stop:
            return
        started = time.perf_counter()
        count = min(self.batch_size, len(self))
        if self._device.type == "cpu":
            count = min(count, _MEASURED)
        samples = torch.arange(count)
        if augmented not in self._input_seconds:
            values, seconds = self.timed(lambda: self.inputs(samples, view))
            self._input_seconds[augmented] = seconds / count
            if not self._stage_seconds:
                self._advance(values)
        while len(self._stage_seconds) < stop:
            self._measure_stage(len(self._stage_seconds), count)
        self.measuring_s += time.perf_counter() - started

    def _measure_stage(self, index: int, count: int) -> None:
        # Stages may write to their inputs in place: each run gets its own copy.
        copies = [_copied(self._frontier) for _ in _ENOUGH_S]
        values, seconds = self.timed(lambda: self.run(copies.pop(), index, index + 1, count=count))
        self._stage_seconds.append(seconds / count)
        self._advance(values)

    def _advance(self, values: Values) -> None:
        cut = len(self._stage_seconds)
        self._frontier = values
        possible = self._chain.cacheable(cut)
        self.layouts[cut] = layouts_of(values, compact=self._compact) if possible else None

    def seconds(self, start: int, stop: int, view: int, *, inputs: bool) -> float:
        """Measured seconds a sample from cut `start` to `stop`; `inputs`: and preprocessing."""
        total = sum(self._stage_seconds[start:stop])
        return total + (self._input_seconds[view != EVALUATION_VIEW] if inputs else 0.0)

    def known_seconds(self, cut: int) -> float | None:
        """Seconds a sample from its image to the cut, as far as measured."""
        if len(self._stage_seconds) < cut or not self._input_seconds:
            return None
        return sum(self._stage_seconds[:cut]) + max(self._input_seconds.values())

    def storable(self, cut: int) -> bool:
        """Whether the values at a cut can be stored, as far as known."""
        return self.layouts.get(cut, ()) is not None


def _beside(samples: Tensor, device: torch.device) -> Tensor:
    """Indices on a device; on their way to a GPU nobody waits for what it still computes."""
    return samples.to(device, non_blocking=device.type == "cuda")


def _copied(values: Values) -> Values:
    return tuple(v.clone() if isinstance(v, Tensor) else v for v in values)
