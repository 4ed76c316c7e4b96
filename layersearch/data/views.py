"""Views: what the network sees of a sample, made in batches on the training device.

View e of sample i is fixed by (seed, i, e): the same in every trial, batch and process, so that
trials differ by what they tune alone and features of augmented images can be cached.

Windows and mirrors of whole pixels are gathered as bytes; a change of size that all samples share
is made on the bytes of the batch. Where each sample has a scale of its own (RandomResizedCrop),
the CPU visits one sample after the other, because it resizes bytes about ten times as fast as
floats. Elsewhere the views of a batch are A @ image @ B^T with A (h, H) and B (w, W) matrices of
bilinear weights: exactly what resizing the cut-out part with antialiasing gives (the triangle
filter widened to the scale, as in Pillow and `interpolate(antialias=True)`), which `grid_sample`
cannot. All are rounded to bytes, after columns and after rows, as in a pipeline of PIL images;
where a value lies between two bytes, devices may round differently.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from layersearch.data.augmentation import Augmentation, boxes, flips, shifts
from layersearch.errors import DataError

EVALUATION = -1


class Views:
    """Makes the views of samples.

    Args:
        seed: fixes all views.
        mean: of each channel, for images in [0, 1].
        std: of each channel.
        input_size: (h, w) in pixels that the network takes.
        augmentation: how views differ; default: not at all.
        views: how many distinct views a sample has: view e is view e modulo this. None: each e has
            its own.
        centre: the share of the shorter side that the evaluation view keeps (0.875 is the custom of
            ImageNet: 256 pixels cut to 224). Windows and mirrors are of the evaluation view. Images
            that are no larger than the input are kept whole: they have no border to spare.
        channels_last: the memory format of what `batch` returns.
    """

    def __init__(
        self,
        *,
        seed: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        input_size: tuple[int, int],
        augmentation: Augmentation | None = None,
        views: int | None = None,
        centre: float = 1.0,
        channels_last: bool = False,
    ) -> None:
        if views is not None and views < 1:
            raise DataError(f"augmentation.views: must be at least 1 ({views}); null: one an epoch")
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise DataError(f"backbone.std: must be positive, one a channel as the mean ({std})")
        if not 0 < centre <= 1:
            raise DataError(f"augmentation.centre: must be a share of the side, up to 1 ({centre})")
        self.seed = seed
        self.mean, self.std = tuple(mean), tuple(std)
        self.input_size = (int(input_size[0]), int(input_size[1]))
        self.augmentation = augmentation if augmentation is not None else Augmentation()
        self.views = views
        self.centre = centre
        self.channels_last = channels_last
        self._constants: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @property
    def fixed(self) -> bool:
        """Whether every view is the evaluation view, so that one cached view suffices."""
        return not self.augmentation.active

    def number(self, view: int) -> int:
        """The distinct view that `view` (an epoch, or -1) stands for; a key for caches."""
        if view == EVALUATION or self.fixed:
            return EVALUATION
        if view < 0:
            raise DataError(f"views: must be 0 or more, or -1 for evaluation ({view})")
        return view % self.views if self.views is not None else view

    def batch(self, images: Tensor, samples: Tensor, view: int) -> Tensor:
        """One view of each sample.

        Args:
            images: uint8 (B, C, H, W) on the training device; or float features (B, ...), which are
                neither normalised nor resized.
            samples: int64 (B,), the number of each sample in the data set, on any device.
            view: from 0; -1 is the evaluation view, without augmentation.

        Returns:
            float32 (B, C, h, w), normalised.

        Raises:
            DataError: augmentation of features that are no images.
        """
        number = self.number(view)
        if images.is_floating_point():
            return self._features(images, number)
        if samples.device.type == "mps":
            samples = samples.cpu()  # it has no float64, which keeps all devices' views alike
        if number == EVALUATION:
            pixels = self._evaluation(images)
        elif self.augmentation.random_resized_crop is not None:
            pixels = self._resized_crop(images, samples, number)
        else:
            pixels = self._window(self._evaluation(images), samples, number)
        return self._normalised(pixels)

    def describe(self) -> dict[str, Any]:
        """What fixes the views, JSON-able."""
        crop = self.augmentation.random_resized_crop
        return {
            "seed": self.seed,
            "mean": list(self.mean),
            "std": list(self.std),
            "input_size": list(self.input_size),
            "centre": self.centre,
            "views": self.views,
            "crop": self.augmentation.crop,
            "flip": self.augmentation.flip,
            "random_resized_crop": list(crop) if crop is not None else None,
            "ratio": list(self.augmentation.ratio),
        }

    def _features(self, features: Tensor, number: int) -> Tensor:
        if number != EVALUATION:
            raise DataError(
                "augmentation: these samples are floating-point features, not uint8 images; "
                "turn augmentation off, or give images"
            )
        return features

    def _evaluation(self, images: Tensor) -> Tensor:
        spare = all(
            have > wanted for have, wanted in zip(images.shape[-2:], self.input_size, strict=True)
        )
        if self.centre == 1.0 or not spare:
            return _resized(images, self.input_size)
        height, width = (max(1, round(side / self.centre)) for side in self.input_size)
        return _centre(_resized(images, (height, width)), self.input_size)

    def _window(self, pixels: Tensor, samples: Tensor, view: int) -> Tensor:
        """Padded, cut back to the same size and mirrored: bytes are moved, none is changed."""
        height, width = pixels.shape[-2:]
        rows = torch.arange(height, device=pixels.device)  # (h,)
        columns = torch.arange(width, device=pixels.device)  # (w,)
        mirrored = flips(self.augmentation, seed=self.seed, samples=samples, view=view)
        mirrored = mirrored.to(pixels.device, non_blocking=True)
        columns = torch.where(mirrored.unsqueeze(1), columns.flip(0), columns)  # (B, w)
        crop = self.augmentation.crop
        if crop == 0:
            rows = rows.expand(len(samples), -1)
        else:
            shift = shifts(self.augmentation, seed=self.seed, samples=samples, view=view) + crop
            shift = shift.to(pixels.device, non_blocking=True)
            rows, columns = rows + shift[:, :1], columns + shift[:, 1:]  # (B, h), (B, w)
            pixels = F.pad(pixels, (crop,) * 4)
        flat = rows.unsqueeze(2) * pixels.shape[-1] + columns.unsqueeze(1)  # (B, h, w)
        index = flat.view(len(samples), 1, -1).expand(-1, pixels.shape[1], -1)
        return pixels.flatten(2).gather(2, index).view(*pixels.shape[:2], height, width)

    def _resized_crop(self, images: Tensor, samples: Tensor, view: int) -> Tensor:
        size = (images.shape[-2], images.shape[-1])
        box = boxes(self.augmentation, size, seed=self.seed, samples=samples, view=view)
        mirrored = flips(self.augmentation, seed=self.seed, samples=samples, view=view)
        make = _parts_by_sample if images.device.type == "cpu" else _parts_by_products
        return make(images, box, mirrored, self.input_size)

    def _normalised(self, pixels: Tensor) -> Tensor:
        constants = self._constants.get(pixels.device)
        if constants is None:
            mean = torch.tensor(self.mean, dtype=torch.float64).view(1, -1, 1, 1)
            std = torch.tensor(self.std, dtype=torch.float64).view(1, -1, 1, 1)
            scale, shift = 1 / (255 * std), -mean / std
            constants = (scale.float().to(pixels.device), shift.float().to(pixels.device))
            self._constants[pixels.device] = constants
        if self.channels_last:  # as bytes where they are bytes still: a quarter of the traffic
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        scale, shift = constants
        # In place, on the copy that `float` made or the product was: memory is the bottleneck.
        return pixels.float().mul_(scale).add_(shift)


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Shorter side resized with antialiasing, centre cut out; uint8 (B, C, h, w)."""
    height, width = images.shape[-2:]
    if (height, width) == size:
        return images
    scale = max(size[0] / height, size[1] / width)
    target = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
    if target != (height, width):
        if images.device.type == "cpu":  # bytes are resized ten times as fast as floats here
            images = F.interpolate(images, target, mode="bilinear", antialias=True)
        else:  # and not at all elsewhere
            larger = F.interpolate(images.float(), target, mode="bilinear", antialias=True)
            images = larger.round_().clamp_(0, 255).to(torch.uint8)
    return _centre(images, size)


def _centre(images: Tensor, size: tuple[int, int]) -> Tensor:
    # To the nearest pixel, half pixels to the even one: as torchvision does.
    top, left = round((images.shape[-2] - size[0]) / 2), round((images.shape[-1] - size[1]) / 2)
    return images[..., top : top + size[0], left : left + size[1]]


def _parts_by_sample(
    images: Tensor, box: Tensor, mirrored: Tensor, size: tuple[int, int]
) -> Tensor:
    """The part of each image in its box (B, 4), resized; uint8 (B, C, h, w)."""
    cut = torch.empty((*images.shape[:2], *size), dtype=torch.uint8)
    for image, out, (top, left, height, width), mirror in zip(
        images, cut, box.tolist(), mirrored.tolist(), strict=True
    ):
        part = image[:, top : top + height, left : left + width].unsqueeze(0)
        (part,) = F.interpolate(part, size, mode="bilinear", antialias=True)
        out.copy_(part.flip(-1) if mirror else part)
    return cut


def _parts_by_products(
    images: Tensor, box: Tensor, mirrored: Tensor, size: tuple[int, int]
) -> Tensor:
    """The same as two batched products."""
    source = (images.shape[-2], images.shape[-1])
    mirrored = mirrored.to(images.device, non_blocking=True)
    top, left, height, width = box.to(images.device, non_blocking=True).float().unbind(1)
    rows = _weights(top, height, source[0], size[0])  # (B, h, H)
    columns = _weights(left, width, source[1], size[1])  # (B, w, W)
    columns = torch.where(mirrored[:, None, None], columns.flip(1), columns)
    # The wider product last, and channels stacked into rows; rounded in between, as Pillow does.
    narrow = images.float().flatten(1, 2) @ columns.transpose(1, 2)  # (B, C H, w)
    narrow = narrow.round_().view(len(images), images.shape[1], source[0], -1)  # (B, C, H, w)
    cut: Tensor = rows.unsqueeze(1) @ narrow  # (B, C, h, w)
    return cut.round_().clamp_(0, 255).to(torch.uint8)


def _weights(start: Tensor, extent: Tensor, source: int, target: int) -> Tensor:
    """Bilinear weights (B, target, source) that resize [start, start + extent) to `target` pixels.

    Row t weighs source pixels by a triangle about the centre of target pixel t, as wide as one
    target pixel (one source pixel where the part is enlarged), within the part, summing to one.
    """
    scale = (extent / target).view(-1, 1, 1)  # source pixels a target pixel
    place = torch.arange(target, device=start.device, dtype=start.dtype).view(1, -1, 1)
    pixel = torch.arange(source, device=start.device, dtype=start.dtype).view(1, 1, -1)
    first = start.view(-1, 1, 1)
    centre = first + (place + 0.5) * scale  # (B, target, 1)
    weights = 1 - (pixel + 0.5 - centre).abs() / scale.clamp(min=1)  # (B, target, source)
    inside = (pixel >= first) & (pixel < first + extent.view(-1, 1, 1))
    weights = weights.clamp(min=0) * inside
    return weights / weights.sum(2, keepdim=True)
