"""Pools: the samples that a source offers, with labels known and images not yet decoded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layersearch.data.decoding import (
    LARGEST_CHOSEN_CANVAS,
    Canvas,
    check_all,
    common_canvas,
    decode_all,
    fit_tensor,
)
from layersearch.data.files import Files

Index = NDArray[np.int64]


# Bytes of image files that are decoded just to see that they can be: some seconds of work.
_DECODED_TO_CHECK = 64 * 2**20


class Pool(Protocol):
    """Samples in the order of their ids.

    `labels` is int64 (N,); `ids` has one name a sample.
    """

    @property
    def labels(self) -> Index:
        """Of every sample."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """Of every sample; unique."""
        ...

    def decode(
        self, chosen: Index, *, canvas: Canvas | None, largest: int = LARGEST_CHOSEN_CANVAS
    ) -> Tensor:
        """The chosen samples, uint8 (M, 3, H, W) or float (M, ...).

        Args:
            chosen: indices.
            canvas: None: one is found, with a shorter side of `largest` pixels at most.
            largest: in pixels.

        Raises: DataError.
        """
        ...

    def check(self, chosen: Index) -> None:
        """Sees that the chosen samples can be decoded. Raises: DataError: some cannot."""
        ...

    def sizes(self, chosen: Index) -> list[int]:
        """Of each chosen sample, a number that equal samples share; cheap to know."""
        ...

    def digests(self, chosen: Index) -> list[bytes]:
        """Of each chosen sample, a hash of its contents."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """What a reader of data returns.

    Args:
        classes: the name of each label.
        train: the samples to train on; to test on too where `test` is None.
        given: indices into `train` of the source's own validation samples, if it has any.
        test: the source's own test split.
        published: whether its splits are a published benchmark's, which nobody here can mend.
        notes: what a user should know of how it was read.
    """

    classes: tuple[str, ...]
    train: Pool
    given: Index | None = None
    test: Pool | None = None
    published: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class FilePool:
    """Image files."""

    files: Files
    ids: Sequence[str]  # names in `files`
    labels: Index
    threads: int | None = None

    def decode(
        self, chosen: Index, *, canvas: Canvas | None, largest: int = LARGEST_CHOSEN_CANVAS
    ) -> Tensor:
        """uint8 (M, 3, H, W)."""
        read, names = self._reader(chosen)
        return decode_all(
            read,
            names,
            canvas=canvas,
            largest=largest,
            where=self.files.where,
            threads=self.threads,
        )

    def check(self, chosen: Index) -> None:
        """Decodes each, keeping nothing; of very many bytes, looks at their ends."""
        read, names = self._reader(chosen)
        thorough = sum(self.sizes(chosen)) <= _DECODED_TO_CHECK
        check_all(read, names, thorough=thorough, where=self.files.where, threads=self.threads)

    def sizes(self, chosen: Index) -> list[int]:
        """In bytes."""
        return [self.files.sizes[self.ids[i]] for i in chosen]

    def digests(self, chosen: Index) -> list[bytes]:
        """Of the files as they are."""
        return [blake2b(self.files.read(self.ids[i]), digest_size=16).digest() for i in chosen]

    def _reader(self, chosen: Index) -> tuple[Callable[[int], bytes], list[str]]:
        names = [self.ids[i] for i in chosen]
        return (lambda index: self.files.read(names[index])), names


@dataclass(frozen=True, eq=False, kw_only=True)
class TensorPool:
    """Samples in memory: uint8 (N, 3, H, W) or float (N, ...)."""

    images: Tensor
    labels: Index
    ids: Sequence[str]

    def decode(
        self,
        chosen: Index,
        *,
        canvas: Canvas | None,
        largest: int = LARGEST_CHOSEN_CANVAS,  # noqa: ARG002
    ) -> Tensor:
        """A copy."""
        # index_select copies: a view would keep the whole pool, test samples too, in reach.
        images = self.images.index_select(0, torch.from_numpy(chosen))
        if images.dtype != torch.uint8 or canvas is None:
            return images
        return fit_tensor(images, canvas=canvas)

    def check(self, chosen: Index) -> None:
        """They are decoded already."""

    def sizes(self, chosen: Index) -> list[int]:
        """Sums of the values."""
        sums = self.images.flatten(1).sum(1, dtype=_sum_type(self.images))
        picked = sums[torch.from_numpy(chosen)]
        return [hash(value) for value in picked.tolist()]

    def digests(self, chosen: Index) -> list[bytes]:
        """Of the values."""
        return [
            blake2b(self.images[i].contiguous().numpy().tobytes(), digest_size=16).digest()
            for i in chosen.tolist()
        ]


@dataclass(frozen=True, eq=False, kw_only=True)
class JoinedPool:
    """One pool after the other."""

    first: Pool
    second: Pool
    labels: Index = field(init=False)
    ids: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", np.concatenate([self.first.labels, self.second.labels]))
        object.__setattr__(self, "ids", (*self.first.ids, *self.second.ids))

    def decode(
        self, chosen: Index, *, canvas: Canvas | None, largest: int = LARGEST_CHOSEN_CANVAS
    ) -> Tensor:
        """As the two do; both onto one canvas."""
        here, there = self._divide(chosen)
        if canvas is None and len(here) and len(there):
            # Each part alone could settle on another size.
            parts = [
                pool.decode(part, canvas=None, largest=largest)
                for pool, part in ((self.first, here), (self.second, there))
            ]
            shapes = [(part.shape[-2], part.shape[-1]) for part in parts if part.dim() == 4]
            if len(set(shapes)) > 1:
                return self.decode(chosen, canvas=common_canvas(shapes, largest=largest))
        else:
            parts = [
                pool.decode(part, canvas=canvas, largest=largest)
                for pool, part in ((self.first, here), (self.second, there))
                if len(part)
            ]
        images = torch.cat(parts)
        position = np.argsort(np.argsort(chosen >= len(self.first.ids), kind="stable"))
        return images.index_select(0, torch.from_numpy(position))

    def check(self, chosen: Index) -> None:
        """As the two do."""
        here, there = self._divide(chosen)
        self.first.check(here)
        self.second.check(there)

    def sizes(self, chosen: Index) -> list[int]:
        """As the two do."""
        return self._collect(chosen, lambda pool, part: pool.sizes(part))

    def digests(self, chosen: Index) -> list[bytes]:
        """As the two do."""
        return self._collect(chosen, lambda pool, part: pool.digests(part))

    def _divide(self, chosen: Index) -> tuple[Index, Index]:
        border = len(self.first.ids)
        return chosen[chosen < border], chosen[chosen >= border] - border

    def _collect(self, chosen: Index, ask: Callable[[Pool, Index], list[Any]]) -> list[Any]:
        here, there = self._divide(chosen)
        found = ask(self.first, here) + ask(self.second, there)
        order = np.argsort(np.argsort(chosen >= len(self.first.ids), kind="stable"))
        return [found[i] for i in order]


def numbered(count: int, *, prefix: str = "") -> tuple[str, ...]:
    """Ids of samples that have none: their numbers."""
    return tuple(f"{prefix}{index}" for index in range(count))


def _sum_type(images: Tensor) -> torch.dtype:
    return torch.float64 if images.is_floating_point() else torch.int64
