"""Samples and their division: what a trial may see of a data set, and the sealed rest.

Shapes: N samples, C channels, H x W pixels. Images are uint8 (N, C, H, W); data that is no image is
float (N, ...) and taken as it is.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from layersearch.data.sealed import SealedTest
from layersearch.errors import DataError


@dataclass(frozen=True, eq=False)
class Samples:
    """Decoded samples in host memory.

    Args:
        images: uint8 (N, C, H, W), or floating-point features (N, ...).
        labels: int64 (N,), each in [0, len(classes)).
        ids: the file name or number of each sample, unique.
        classes: the name of each class, in the order of the labels.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.labels) == len(self.ids):
            raise DataError(
                f"samples: images, labels and ids differ in number ({len(self.images)}, "
                f"{len(self.labels)}, {len(self.ids)}); give one of each a sample"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, index: Tensor) -> "Samples":
        """A copy of the samples at `index`, int64 (M,), in its order."""
        return Samples(
            self.images.index_select(0, index),
            self.labels.index_select(0, index),
            tuple(self.ids[i] for i in index.tolist()),
            self.classes,
        )

    @cached_property
    def digest(self) -> str:
        """A hash of images and labels, in order."""
        return _digest(self.images, self.labels)


@dataclass(frozen=True, eq=False, kw_only=True)
class Fold:
    """One division of the training samples, as positions in `DataSplits.train`.

    Args:
        number: from 0.
        train: int64 (M,), ascending.
        validation: int64 (V,), ascending; shares no position with `train`.
    """

    number: int
    train: Tensor
    validation: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class DataSplits:
    """A data set made ready for a search.

    Args:
        train: every sample that the search may use, validation samples included.
        test: the sealed test split.
        folds: one or more divisions of `train`.
        final_train: int64 (M,), the positions in `train` that the winner is retrained on.
        notes: what a user should know of how the data was read, one sentence each.
    """

    train: Samples
    test: SealedTest
    folds: tuple[Fold, ...]
    final_train: Tensor
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class, in the order of the labels."""
        return self.train.classes

    def describe(self) -> dict[str, Any]:
        """What tells this data from any other, JSON-able; the test split stays sealed."""
        return {
            "train": {
                "count": len(self.train),
                "shape": list(self.train.images.shape[1:]),
                "dtype": str(self.train.images.dtype).removeprefix("torch."),
                "digest": self.train.digest,
            },
            "classes": list(self.classes),
            "folds": {"count": len(self.folds), "digest": self._folds_digest},
            "final_train": {"count": len(self.final_train), "digest": _digest(self.final_train)},
            "test": {"count": len(self.test), "digest": self.test.digest},
        }

    @cached_property
    def _folds_digest(self) -> str:
        return _digest(*(index for fold in self.folds for index in (fold.train, fold.validation)))


def _digest(*tensors: Tensor) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype};".encode())
        values = tensor.detach().cpu().contiguous()
        if values.numel():
            digest.update(values.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
