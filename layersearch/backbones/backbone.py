"""Backbone: a pretrained network and what it needs to be fed."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What a backbone expects of its images: in [0, 1], normalised with `mean` and `std`.

    For evaluation its weights were made with the shorter side resized to `resize` pixels, and the
    centre of `input_size` cut out: `centre` is the share that is kept (0.875 for 224 out of 256).
    """

    mean: tuple[float, ...]  # one number a channel
    std: tuple[float, ...]
    input_size: tuple[int, int]  # height, width in pixels
    centre: float = 1.0

    @property
    def resize(self) -> int:
        """Shorter side in pixels before the centre is cut out."""
        return max(1, round(min(self.input_size) / self.centre))


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A pretrained classifier, in eval mode and frozen."""

    name: str
    network: nn.Module
    preprocessing: Preprocessing
    weights: str  # what was loaded, in words
    weights_hash: str  # of everything but the classifier, which a search replaces
    head: str  # module path of the classifier
