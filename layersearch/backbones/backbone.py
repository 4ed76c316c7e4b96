"""Backbone: a pretrained network and what it needs to be fed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
class Source:
    """What `load_backbone` was asked for beside the name: what it takes to make a backbone again.

    Of a file of weights only the name is kept: where it lay is nobody's business but its owner's.
    """

    weights: str | None  # 'default', a name of weights, that of a file, or None for random ones
    file: bool = False  # whether `weights` is that of a file
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the factory


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A pretrained classifier, in eval mode and frozen."""

    name: str
    network: nn.Module
    preprocessing: Preprocessing
    weights: str  # what was loaded, in words
    weights_hash: str  # of everything but the classifier, which a search replaces
    head: str  # module path of the classifier
    source: Source | None = None  # None: a module of the user's own
