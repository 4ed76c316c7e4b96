import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from layersearch.subtuning.features.checksums import (
    CorruptFileError,
    Guard,
    Summing,
    chunk_count,
    chunk_rows,
)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr("layersearch.subtuning.features.checksums._CHUNK", 64)


def sums_of(rows, *, pieces=()):
    """The checksums of rows (M, bytes), which arrive in pieces."""
    summing = Summing(rows.shape[1])
    for piece in np.split(rows, sorted(pieces)):
        summing.add(memoryview(np.ascontiguousarray(piece).reshape(-1)))
    return summing.finish()


def some_rows(count, row_bytes):
    return np.random.default_rng(0).integers(0, 256, (count, row_bytes), dtype=np.uint8)


@given(count=st.integers(0, 40), row_bytes=st.integers(1, 40), data=st.data())
def test_sums_do_not_depend_on_how_rows_arrive(count, row_bytes, data):
    rows = some_rows(count, row_bytes)
    pieces = data.draw(st.lists(st.integers(0, count), max_size=5))
    sums = sums_of(rows)
    assert len(sums) == chunk_count(count, row_bytes)
    assert np.array_equal(sums_of(rows, pieces=pieces), sums)


@given(count=st.integers(1, 30), row_bytes=st.integers(1, 40), data=st.data())
def test_any_changed_bit_is_found_when_its_row_is_loaded(count, row_bytes, data):
    rows = some_rows(count, row_bytes)
    sums = sums_of(rows)
    row, byte = data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, row_bytes - 1))
    rows[row, byte] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CorruptFileError, match="value 0"):
        Guard([torch.from_numpy(rows)], [sums]).check(torch.tensor([row]))


def test_rows_of_other_chunks_are_not_read():
    rows = some_rows(100, 8)
    guard = Guard([torch.from_numpy(rows)], [sums_of(rows)])
    rows[50] ^= 1
    far = [i for i in range(100) if i // chunk_rows(8) != 50 // chunk_rows(8)]
    assert guard.check(torch.tensor(far)) is False
    with pytest.raises(CorruptFileError, match="rows 48 "):
        guard.check(torch.tensor([51]))


def test_each_chunk_is_checked_once():
    rows = some_rows(100, 8)
    guard = Guard([torch.from_numpy(rows)], [sums_of(rows)])
    assert guard.check(torch.arange(100)) is True
    rows[3] ^= 1
    assert guard.check(torch.arange(100)) is True


def test_rows_that_changed_places_are_found():
    rows = some_rows(64, 8)
    sums = sums_of(rows)
    rows[[0, 1]] = rows[[1, 0]]
    with pytest.raises(CorruptFileError):
        Guard([torch.from_numpy(rows)], [sums]).check(torch.tensor([0]))


def test_values_without_bytes_need_no_checking():
    guard = Guard([torch.zeros(5, 0)], [sums_of(np.zeros((5, 0), dtype=np.uint8))])
    assert guard.check(torch.arange(5)) is True


@pytest.mark.parametrize("row_bytes", [1, 3, 8, 60, 64, 65, 1000])
def test_chunks_are_whole_words(row_bytes):
    assert chunk_rows(row_bytes) * row_bytes % 8 == 0
