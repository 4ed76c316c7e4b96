"""Whether an exported network computes what it was exported from, seen on photographs.

They are two that come with scikit-learn: parts of them, small and large, at the network's size.
"""

from collections.abc import Callable

import torch
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn import functional as F

from layersearch.errors import TaskError

_PARTS = (1.0, 0.6, 0.35, 0.2)  # of the shorter side of a photograph
_BATCHES = (8, 1, 3)  # sizes that the network is run with
_CLOSE = 1e-4  # of the largest score


def photographs(shape: tuple[int, int, int]) -> Tensor:
    """Parts of photographs in [0, 1], (8, C, H, W), for images of that shape (C, H, W)."""
    channels, *size = shape
    parts = []
    for picture in load_sample_images().images:
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255  # (3, h, w)
        height, width = pixels.shape[1:]
        for number, share in enumerate(_PARTS):
            side = int(share * min(height, width))
            top, left = (height - side) * number // 3, (width - side) * (3 - number) // 3
            part = pixels[None, :, top : top + side, left : left + side]
            parts.append(F.interpolate(part, size, mode="bilinear", antialias=True))
    images = torch.cat(parts).clamp_(0, 1)
    if channels == 3:
        return images
    return images.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1).contiguous()


def check_agreement(
    original: Callable[[Tensor], Tensor],
    exported: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    where: str,
) -> float:
    """The largest difference of two networks' scores, as a share of the largest score.

    Args:
        original: scores (N, C) of images (N, ...).
        exported: the same, it is hoped.
        images: at least 8; they are run in batches of several sizes.
        where: the file, for messages.

    Raises: TaskError: they differ by more than rounding does, or the exported one fails.
    """
    worst = 0.0
    with torch.inference_mode():
        expected = original(images)
    scale = max(expected.abs().max().item(), 1e-6)
    for size in _BATCHES:
        try:
            with torch.no_grad():
                found = exported(images[:size])
        except Exception as error:  # of whatever runs it
            raise TaskError(
                f"{where}: the exported network fails with a batch of {size} "
                f"({type(error).__name__}: {error!s:.200}); nothing was written"
            ) from error
        difference = (found - expected[:size]).abs().max().item() / scale
        if not difference <= _CLOSE:
            raise TaskError(
                f"{where}: the exported network's scores differ from the original's by "
                f"{difference:.2g} of the largest, with a batch of {size}; nothing was written"
            )
        worst = max(worst, difference)
    return worst
