"""Checksums of stored rows, compared when rows are first loaded instead of when a file is opened.

The rows of a value are divided into *chunks* of about 256 KiB. The checksum of a chunk is the sum,
modulo 2^64, of its 64-bit words, each times an odd number of its place. A single word that changes
always changes the sum, because multiplying by an odd number can be undone; several that change
escape with a probability of about 2^-64. It finds damage, not forgery. It is computed five times as
fast as CRC-32: checking everything once costs less than copying it once.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CHUNK = 256 << 10  # bytes: a damaged row is found by reading little else
_WORD = 8  # bytes

Sums = NDArray[np.uint64]


class CorruptFileError(Exception):
    """A file that is not what its writer wrote; says what is wrong."""


def chunk_rows(row_bytes: int) -> int:
    """Rows of a chunk: whole words, about `_CHUNK` bytes, at least as many rows as that takes."""
    step = _WORD // math.gcd(row_bytes, _WORD)
    return max(1, _CHUNK // max(1, row_bytes * step)) * step


def chunk_count(count: int, row_bytes: int) -> int:
    """Chunks of `count` rows; the last one may be shorter."""
    return -(-count // chunk_rows(row_bytes)) if row_bytes else 0


class Summing:
    """The checksums of rows that arrive in order, in pieces of any length."""

    def __init__(self, row_bytes: int) -> None:
        self._size = chunk_rows(row_bytes) * row_bytes
        self._rest = bytearray()  # of a chunk that is not complete
        self._sums: list[np.uint64] = []

    def add(self, data: memoryview) -> None:
        """Takes the next bytes."""
        if not self._size:
            return
        if self._rest:
            missing = self._size - len(self._rest)
            self._rest += data[:missing]
            data = data[missing:]
            if len(self._rest) < self._size:
                return
            self._sums.append(_checksum(self._rest))
            self._rest = bytearray()
        whole = len(data) - len(data) % self._size
        for start in range(0, whole, self._size):
            self._sums.append(_checksum(data[start : start + self._size]))
        self._rest += data[whole:]

    def finish(self) -> Sums:
        """The checksum of every chunk."""
        if self._rest:
            self._sums.append(_checksum(self._rest))
            self._rest = bytearray()
        return np.array(self._sums, dtype=np.uint64)


class Guard:
    """Checks the rows of a block against their checksums, every chunk once.

    Args:
        rows: (M, …) of each value, contiguous, on the CPU.
        sums: of the chunks of each value.
    """

    def __init__(self, rows: Sequence[Tensor], sums: Sequence[Sums]) -> None:
        self._values = [
            _Value(number, value, sums_)
            for number, (value, sums_) in enumerate(zip(rows, sums, strict=True))
            if value.numel()
        ]

    def check(self, index: Tensor) -> bool:
        """Checks the chunks that hold rows (B,) int64, on the CPU; whether all are now checked.

        Raises:
            CorruptFileError: one is damaged.
        """
        wanted = index.numpy()
        for value in self._values:
            value.check(wanted)
        self._values = [value for value in self._values if value.left]
        return not self._values


class _Value:
    def __init__(self, number: int, rows: Tensor, sums: Sums) -> None:
        self._number = number
        flat = rows.reshape(len(rows), -1).view(torch.uint8)  # (M, bytes of a row)
        self._rows = flat.numpy()
        self._sums = sums
        self._per_chunk = chunk_rows(flat.shape[1])
        self._seen = np.zeros(len(sums), dtype=np.bool_)
        self.left = len(sums)

    def check(self, wanted: NDArray[np.int64]) -> None:
        chunks = wanted // self._per_chunk
        for chunk in np.unique(chunks[~self._seen[chunks]]).tolist():
            first = chunk * self._per_chunk
            if _checksum(self._rows[first : first + self._per_chunk].data) != self._sums[chunk]:
                raise CorruptFileError(
                    f"checksum of rows {first} … of value {self._number} differs"
                )
            self._seen[chunk] = True
        self.left = int((~self._seen).sum())


def _checksum(data: bytearray | memoryview) -> np.uint64:
    view = memoryview(data).cast("B")
    length = len(view) - len(view) % _WORD
    words = np.frombuffer(view[:length], dtype="<u8")
    total = np.einsum("i,i->", words, _multipliers(_up(len(words)))[: len(words)])
    if length < len(view):  # of the last chunk only
        last = int.from_bytes(view[length:], "little") * 0x9E3779B97F4A7C15
        total = np.uint64((int(total) + last) % 2**64)
    return np.uint64(total)


def _up(count: int) -> int:
    """The next power of two: few tables of multipliers serve all lengths."""
    return 1 << max(0, count - 1).bit_length()


@functools.cache
def _multipliers(count: int) -> NDArray[np.uint64]:
    """Odd numbers, one a place; a longer table begins as a shorter one."""
    return np.random.PCG64(0).random_raw(count) | np.uint64(1)
