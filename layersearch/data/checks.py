"""What must hold of a data set before anything is trained on it."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from layersearch.data.files import nearest
from layersearch.data.pools import Index, Pool, Source
from layersearch.errors import DataError

Overlap = Literal["refuse", "drop"]


def check_labels(source: Source) -> tuple[str, ...]:
    """Every class has samples to train and to test on, and there are two classes or more.

    Returns:
        Of a published benchmark, whose splits are as they are: notes on classes without samples.

    Raises:
        DataError: otherwise, with the names of classes or samples.
    """
    names = source.classes
    notes: list[str] = []
    for pool, purpose in ((source.train, "to train on"), (source.test, "to test on")):
        if pool is None:
            continue
        _check_range(pool, names, purpose)
        absent = absent_classes(pool.labels, names)
        if absent and not source.published:
            raise DataError(
                f"data: {absent} has no sample {purpose}; add some, or leave the class out "
                "(labels are numbered from 0 without gaps)"
            )
        notes += [f"{absent} has no sample {purpose}"] if absent else []
    if len(names) < 2:
        listed = f" ({names[0]!r})" if names else ""
        raise DataError(
            f"data: there must be two classes or more to tell apart{listed}; "
            "images lie in one folder a class"
        )
    return tuple(notes)


def absent_classes(labels: Index, classes: Sequence[str]) -> str:
    """The classes without a label, in words; '' where there is none."""
    counts = np.bincount(labels, minlength=len(classes))
    absent = [name for name, count in zip(classes, counts, strict=False) if not count]
    if not absent:
        return ""
    more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
    return f"class {absent[0]!r}{more}"


def check_overlap(
    train: Pool, used: Index, test: Pool, tested: Index, *, overlap: Overlap
) -> tuple[Index, str | None]:
    """The test samples that are no copies of training samples, and a note where some were.

    Contents are compared, whatever the names; samples of different size are not even read.

    Raises:
        DataError: some are copies and `overlap` is 'refuse'.
    """
    sizes, test_sizes = train.sizes(used), test.sizes(tested)
    common = set(sizes) & set(test_sizes)
    here = used[[size in common for size in sizes]]
    there = np.flatnonzero([size in common for size in test_sizes])
    digests = dict(zip(train.digests(here), here.tolist(), strict=True))
    copies = {
        position: digests[digest]
        for position, digest in zip(there.tolist(), test.digests(tested[there]), strict=True)
        if digest in digests
    }
    if not copies:
        return tested, None
    listed = ", ".join(
        f"{test.ids[tested[position]]} (as {train.ids[twin]})"
        for position, twin in list(copies.items())[:3]
    )
    count = f"{len(copies)} of {len(tested)} test samples are copies of training samples"
    if overlap == "refuse":
        raise DataError(
            f"data: {count}: {listed}{' ...' if len(copies) > 3 else ''}; remove them, "
            "or leave them out of the test split by overlap: drop"
        )
    if len(copies) == len(tested):
        raise DataError(f"data: all {len(tested)} test samples are copies of training samples")
    kept = np.delete(tested, list(copies))
    return kept, f"{count} and were left out of the test split: {listed}"


def check_paths(train: Pool, test: Pool) -> None:
    """No sample is in both by name. Raises: DataError."""
    same = sorted(set(train.ids) & set(test.ids))
    if same:
        raise DataError(
            f"data: {len(same)} samples are listed both to train and to test on: "
            f"{', '.join(same[:3])}{' ...' if len(same) > 3 else ''}; remove them from one list"
        )


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """`value` is one of `choices`. Raises: DataError: with the nearest."""
    if value not in choices:
        raise DataError(
            f"data.{name}: must be one of {', '.join(choices)} ({value!r})"
            f"{nearest(str(value), choices)}"
        )


def _check_range(pool: Pool, classes: Sequence[str], purpose: str) -> None:
    outside = np.flatnonzero((pool.labels < 0) | (pool.labels >= len(classes)))
    if len(outside):
        first = int(outside[0])
        raise DataError(
            f"data: {pool.ids[first]}: label {pool.labels[first]} is outside 0 to "
            f"{len(classes) - 1}, the classes there are {purpose}; {len(outside)} samples are so"
        )
