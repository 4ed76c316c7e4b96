"""From a source to `DataSplits`: samples chosen by label, checked, decoded; the rest sealed."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from layersearch.data.checks import (
    Overlap,
    absent_classes,
    check_choice,
    check_labels,
    check_overlap,
    check_paths,
)
from layersearch.data.decoding import LARGEST_CHOSEN_CANVAS, Canvas
from layersearch.data.picking import Division, Given, RetrainOn, divide, pick
from layersearch.data.pools import Index, Pool, Source
from layersearch.data.samples import DataSplits, Fold, Samples
from layersearch.data.sealed import SealedTest
from layersearch.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is chosen from a source and how it is divided; `load_data` says what each means.

    Raises:
        DataError: a value that can be right for no source.
    """

    train_samples: int | None = None
    samples_per_class: int | None = None
    test_samples: int | None = None
    folds: int | None = None
    holdout: int | float | Given | None = None
    retrain_on: RetrainOn | None = None
    image_size: int | None = None
    largest_image: int = LARGEST_CHOSEN_CANVAS
    overlap: Overlap | None = None
    check: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("test_samples", "image_size", "largest_image"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise DataError(f"data.{name}: must be at least 1 ({value})")
        if self.retrain_on is not None:
            check_choice("retrain_on", self.retrain_on, ("train", "all"))
        if self.overlap is not None:
            check_choice("overlap", self.overlap, ("refuse", "drop"))
        if isinstance(self.holdout, str):
            check_choice("holdout", self.holdout, ("given",))


def split_source(source: Source, choices: Choices) -> DataSplits:
    """Chooses, checks, decodes what was chosen, and seals the test split.

    Raises:
        DataError: the source cannot give what is asked, or has a fault.
    """
    notes = (*source.notes, *check_labels(source))
    reserved = _reserve(source, choices)
    available = np.setdiff1d(np.arange(len(source.train.ids)), reserved)
    division = _divide(source, available, choices)
    used = available[division.used]
    test, tested = _tested(source, used, reserved, choices)
    if choices.check:
        tested, note = _distinct(source, used, test, tested, choices.overlap)
        notes += (note,) if note else ()
    side = choices.image_size
    train = _samples(
        source.train,
        used,
        source.classes,
        None if side is None else (side, side),
        largest=choices.largest_image,
    )
    canvas = (train.images.shape[-2], train.images.shape[-1]) if train.images.dim() == 4 else None
    if choices.check:
        _check_test(train, test, tested, canvas)
    return DataSplits(
        train=train,
        test=_seal(test, tested, source.classes, canvas),
        folds=tuple(
            Fold(number=number, train=torch.from_numpy(t), validation=torch.from_numpy(v))
            for number, (t, v) in enumerate(division.folds)
        ),
        final_train=torch.from_numpy(division.final),
        notes=notes,
    )


def _reserve(source: Source, choices: Choices) -> Index:
    """What of a source's one pool is put aside to test on, before training picks from it."""
    limited = choices.train_samples is not None or choices.samples_per_class is not None
    if source.test is not None or limited:
        return np.empty(0, dtype=np.int64)
    count, classes = len(source.train.ids), len(source.classes)
    if choices.test_samples is None:
        raise DataError(
            f"data.train_samples: is needed: the source has one pool of {count} samples and no "
            "test split; say how many to train on (the rest is the test split), or test_samples"
        )
    if not classes <= choices.test_samples <= count - classes:
        raise DataError(
            f"data.test_samples: must be from {classes} to {count - classes}, to leave each class "
            f"a sample to train on ({choices.test_samples})"
        )
    everything = np.arange(count)
    return pick(
        source.train.labels, everything, choices.test_samples, classes=classes, seed=choices.seed
    )


def _divide(source: Source, available: Index, choices: Choices) -> Division:
    given = None
    if source.given is not None:
        given = np.flatnonzero(np.isin(available, source.given))
    return divide(
        source.train.labels[available],
        classes=source.classes,
        train_samples=choices.train_samples,
        samples_per_class=choices.samples_per_class,
        folds=choices.folds,
        holdout=choices.holdout,
        given=given,
        retrain_on=choices.retrain_on,
        sparse=source.published,
        seed=choices.seed,
    )


def _tested(source: Source, used: Index, reserved: Index, choices: Choices) -> tuple[Pool, Index]:
    """The pool that holds the test split, and which of its samples are in it."""
    pool = source.train if source.test is None else source.test
    if source.test is not None:
        check_paths(source.train, source.test)
        offered = np.arange(len(pool.ids))
    else:
        offered = reserved if len(reserved) else np.setdiff1d(np.arange(len(pool.ids)), used)
        absent = absent_classes(pool.labels[offered], source.classes)
        if absent:
            raise DataError(
                f"data.train_samples: {len(used)} samples to train and validate on leave none of "
                f"{absent} to test on; ask for fewer"
            )
    count = choices.test_samples
    if count is not None and count > len(offered):
        raise DataError(
            f"data.test_samples: {count} asked for, but there are {len(offered)}; "
            "ask for less, or for all by null"
        )
    classes = len(source.classes)
    return pool, pick(pool.labels, offered, count, classes=classes, seed=choices.seed)


def _distinct(
    source: Source, used: Index, test: Pool, tested: Index, overlap: Overlap | None
) -> tuple[Index, str | None]:
    # Nobody can mend a published benchmark, and where we split a pool no user is to blame.
    usual: Overlap = "drop" if source.published or source.test is None else "refuse"
    return check_overlap(source.train, used, test, tested, overlap=overlap or usual)


def _check_test(train: Samples, test: Pool, tested: Index, canvas: Canvas | None) -> None:
    """The test split can be read, and is like the training samples; nothing of it is kept."""
    test.check(tested)
    first = test.decode(tested[:1], canvas=canvas)
    if first.shape[1:] != train.images.shape[1:] or first.dtype != train.images.dtype:
        raise DataError(
            f"data: {test.ids[tested[0]]} to test on is {first.dtype} {tuple(first.shape[1:])}, "
            f"but training samples are {train.images.dtype} {tuple(train.images.shape[1:])}; "
            "prepare both in the same way"
        )


def _samples(
    pool: Pool,
    chosen: Index,
    classes: tuple[str, ...],
    canvas: Canvas | None,
    *,
    largest: int = LARGEST_CHOSEN_CANVAS,
) -> Samples:
    return Samples(
        pool.decode(chosen, canvas=canvas, largest=largest),
        torch.from_numpy(pool.labels[chosen]),
        tuple(pool.ids[index] for index in chosen),
        classes,
    )


def _seal(pool: Pool, chosen: Index, classes: tuple[str, ...], canvas: Canvas | None) -> SealedTest:
    text = "\n".join(f"{pool.ids[index]}\t{pool.labels[index]}" for index in chosen)
    return SealedTest(
        lambda: _samples(pool, chosen, classes, canvas),
        count=len(chosen),
        digest=hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
        classes=classes,
    )
