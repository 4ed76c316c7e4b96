"""Blocks: the values at one cut for many samples in one view, as they lie in memory.

M: samples of a block, one row each; B: samples of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from layersearch.subtuning.features.checksums import Guard

Values = tuple[Any, ...]  # what crosses a cut: tensors, the sample dimension first


@dataclass(frozen=True)
class Layout:
    """How one of the values of a cut is stored: losing neither its dtype nor its memory format.

    Kernels are chosen by memory format (channels_last), so it is part of getting the same numbers.
    """

    shape: tuple[int, ...]  # of one sample
    dtype: torch.dtype  # as computed
    stored: torch.dtype
    order: tuple[int, ...]  # dimensions of a batch but the first, the slowest in memory first

    @property
    def nbytes(self) -> int:
        """Bytes a sample."""
        return self.stored.itemsize * torch.Size(self.shape).numel()

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Of one sample, in the order of memory."""
        return tuple(self.shape[dim - 1] for dim in self.order)

    def fits(self, value: object, count: int) -> bool:
        """Whether a value of a batch of `count` samples is of this layout's shape and dtype."""
        return (
            isinstance(value, Tensor)
            and value.dtype == self.dtype
            and tuple(value.shape) == (count, *self.shape)
        )

    def pack(self, value: Tensor) -> Tensor:
        """The value (B, *shape) as rows (B, *stored_shape); a view where possible."""
        return value.permute(0, *self.order)

    def unpack(self, rows: Tensor) -> Tensor:
        """The value (B, *shape) in its memory format, from rows (B, *stored_shape)."""
        if self.stored != self.dtype:
            rows = rows.to(self.dtype)
        if self.order == tuple(range(1, len(self.order) + 1)):
            return rows
        back = sorted(range(len(self.order)), key=self.order.__getitem__)
        return rows.permute(0, *(dim + 1 for dim in back))


def layouts_of(values: Values, *, compact: bool) -> tuple[Layout, ...] | None:
    """The layouts of the values of a batch; None: something in them is not one row a sample.

    Args:
        values: at a cut, of a batch.
        compact: whether to store floating-point values in bfloat16.
    """
    if not values or not all(isinstance(value, Tensor) and value.dim() for value in values):
        return None
    if len({len(value) for value in values}) > 1:
        return None
    return tuple(_layout(value, compact=compact) for value in values)


def _layout(value: Tensor, *, compact: bool) -> Layout:
    plain = tuple(range(1, value.dim()))
    strides = value.stride()
    order = tuple(sorted(plain, key=lambda dim: -strides[dim]))
    if not value.permute(0, *order).is_contiguous():
        order = plain  # expanded or sliced: stored as an ordinary contiguous tensor
    shrink = compact and value.dtype in (torch.float32, torch.float64)
    return Layout(
        shape=tuple(value.shape[1:]),
        dtype=value.dtype,
        stored=torch.bfloat16 if shrink else value.dtype,
        order=order,
    )


class Block:
    """Rows of values in memory or in a mapped file; loads those of a batch onto the device.

    Args:
        layouts: of the values.
        rows: a tensor (M, *stored_shape) a value, on the device, on the host or mapped.
        device: where loaded values are wanted.
        guard: compares rows with their checksums before they are loaded; None: they are sound.
    """

    def __init__(
        self,
        layouts: tuple[Layout, ...],
        rows: Sequence[Tensor],
        *,
        device: torch.device,
        guard: Guard | None = None,
    ) -> None:
        self.layouts = layouts
        self.rows = tuple(rows)
        self._device = device
        self._guard = guard
        self._plain = all(
            layout.stored == layout.dtype and layout.order == tuple(range(1, len(layout.order) + 1))
            for layout in layouts
        )
        self._elsewhere = self.rows[0].device.type != device.type
        # Pageable memory cannot be copied to a GPU beside its work: batches go by pinned memory,
        # which torch recycles only when the copy is done.
        self._pinned = device.type == "cuda"

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return sum(rows.numel() * rows.element_size() for rows in self.rows)

    def load(self, index: Tensor) -> Values:
        """The values of rows (B,) int64, on the device: copies, which the caller may change.

        Nothing, if the block was released.

        Raises:
            CorruptFileError: the file they lie in is damaged there.
        """
        stored = self.rows
        self.check(index)
        if self._elsewhere:
            index = index.cpu()
            loaded = [self._across(rows, index) for rows in stored]
        else:
            index = index.to(self._device, non_blocking=True)
            loaded = [rows.index_select(0, index) for rows in stored]
        if self._plain:
            return tuple(loaded)
        return tuple(
            layout.unpack(rows) for layout, rows in zip(self.layouts, loaded, strict=bool(loaded))
        )

    def check(self, index: Tensor) -> None:
        """Compares rows (B,) with their checksums, unless that was done; see `load`."""
        guard = self._guard
        if guard is not None and guard.check(index.cpu()):
            self._guard = None

    def release(self) -> None:
        """Gives the memory, or the mapped file, back as soon as no load is under way."""
        self.rows = ()

    def _across(self, rows: Tensor, index: Tensor) -> Tensor:
        shape = (len(index), *rows.shape[1:])
        staged = torch.empty(shape, dtype=rows.dtype, pin_memory=self._pinned)
        torch.index_select(rows, 0, index, out=staged)
        return staged.to(self._device, non_blocking=True)


class MemoryWriter:
    """Fills a block in this process's memory or on the device.

    Raises:
        MemoryError: there is not enough.
    """

    def __init__(
        self, layouts: tuple[Layout, ...], count: int, *, place: torch.device, device: torch.device
    ) -> None:
        self._layouts = layouts
        self._device = device
        try:
            self._rows = [
                torch.empty((count, *layout.stored_shape), dtype=layout.stored, device=place)
                for layout in layouts
            ]
        except RuntimeError as error:  # torch's out-of-memory errors, on the host and on a GPU
            raise MemoryError(str(error).splitlines()[0]) from error

    def write(self, start: int, values: Values) -> None:
        """Puts the values of a batch at rows start … start + B."""
        for rows, layout, value in zip(self._rows, self._layouts, values, strict=True):
            rows[start : start + len(value)].copy_(layout.pack(value))

    def finish(self) -> Block:
        """The block, when every row is written."""
        return Block(self._layouts, self._rows, device=self._device)

    def abort(self) -> None:
        """Gives the memory back."""
        self._rows.clear()
