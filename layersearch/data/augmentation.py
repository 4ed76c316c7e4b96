"""Augmentations as geometry: for each sample, which part of the image becomes the view."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from layersearch.data.counters import uniforms
from layersearch.errors import DataError

_ATTEMPTS = 10  # as torchvision's RandomResizedCrop

# Each purpose draws numbers of its own, so that turning one augmentation on leaves the others'.
_CROP, _FLIP, _RESIZED = 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How the views of a sample differ from one another.

    Args:
        crop: the image is padded by as many black pixels and cut back to its size at random.
        flip: half of the views are mirrored.
        random_resized_crop: the share of the area that a random part covers, (least, most),
            stretched to the input size; None: off.
        ratio: the part's width to its height, (least, most), log-uniform.

    Raises:
        DataError: values that are no augmentation.
    """

    crop: int = 0
    flip: bool = False
    random_resized_crop: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if self.crop < 0:
            raise DataError(f"augmentation.crop: must be 0 or more pixels ({self.crop})")
        if self.random_resized_crop is not None:
            least, most = self.random_resized_crop
            if not 0 < least <= most <= 1:
                raise DataError(
                    "augmentation.random_resized_crop: must be two shares of the area, ascending, "
                    f"within 0 and 1 ({list(self.random_resized_crop)})"
                )
            if self.crop:
                raise DataError(
                    f"augmentation.crop: given ({self.crop}) together with random_resized_crop; "
                    "both cut at random, give one of them"
                )
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise DataError(f"augmentation.ratio: must be two positive numbers {self.ratio}")

    @property
    def active(self) -> bool:
        """Whether any view differs from the evaluation view."""
        return bool(self.crop or self.flip or self.random_resized_crop is not None)


def flips(augmentation: Augmentation, *, seed: int, samples: Tensor, view: int) -> Tensor:
    """Which samples are mirrored in this view, bool (B,)."""
    if not augmentation.flip:
        return torch.zeros(len(samples), dtype=torch.bool, device=samples.device)
    return uniforms(seed, samples, view, _FLIP, count=1)[:, 0] < 0.5


def shifts(augmentation: Augmentation, *, seed: int, samples: Tensor, view: int) -> Tensor:
    """How far the window lies lower and further right, int64 (B, 2), -crop to crop pixels."""
    draws = uniforms(seed, samples, view, _CROP, count=2)
    return (draws * (2 * augmentation.crop + 1)).long() - augmentation.crop


def boxes(
    augmentation: Augmentation, size: tuple[int, int], *, seed: int, samples: Tensor, view: int
) -> Tensor:
    """Top, left, height, width of the part that RandomResizedCrop takes, int64 (B, 4).

    The distribution is torchvision's: an area and a ratio are drawn, up to ten times until the part
    lies within the image of `size` (H, W); failing that, the largest part about the centre whose
    ratio is allowed.
    """
    assert augmentation.random_resized_crop is not None
    high, wide = size
    draws = uniforms(seed, samples, view, _RESIZED, count=2 * _ATTEMPTS + 2)  # (B, 22)
    least, most = augmentation.random_resized_crop
    area = high * wide * (least + (most - least) * draws[:, :_ATTEMPTS])  # (B, attempts)
    low_ratio, high_ratio = (math.log(bound) for bound in augmentation.ratio)
    ratio = torch.exp(low_ratio + (high_ratio - low_ratio) * draws[:, _ATTEMPTS : 2 * _ATTEMPTS])
    widths = (area * ratio).sqrt().round().long()
    heights = (area / ratio).sqrt().round().long()
    fits = (widths > 0) & (widths <= wide) & (heights > 0) & (heights <= high)
    first = fits.long().argmax(1, keepdim=True)
    found = fits.any(1)
    spare_high, spare_wide = _fallback(size, augmentation.ratio)
    height = torch.where(found, heights.gather(1, first)[:, 0], spare_high)
    width = torch.where(found, widths.gather(1, first)[:, 0], spare_wide)
    top = (draws[:, -2] * (high - height + 1)).long()
    left = (draws[:, -1] * (wide - width + 1)).long()
    top = torch.where(found, top, (high - height) // 2)
    left = torch.where(found, left, (wide - width) // 2)
    return torch.stack((top, left, height, width), 1)


def _fallback(size: tuple[int, int], ratio: tuple[float, float]) -> tuple[int, int]:
    """(H, W) of the largest centred part."""
    high, wide = size
    if wide / high < ratio[0]:
        return min(high, round(wide / ratio[0])), wide
    if wide / high > ratio[1]:
        return high, min(wide, round(high * ratio[1]))
    return high, wide
