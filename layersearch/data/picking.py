"""Which samples a search uses and how they are divided, decided from labels alone.

Everything here is a function of labels (in the order of sorted ids) and a seed, so a data set gives
the same picks on every machine. Within each class one shuffled order decides: training samples come
from its front and hold-out samples from its back, so 500 training samples are among the 1,000
of the same seed, and both are judged on the same hold-out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from layersearch.errors import DataError
from layersearch.space.seeds import derive_seed

Index = NDArray[np.int64]
Given = Literal["given"]
RetrainOn = Literal["train", "all"]


@dataclass(frozen=True, kw_only=True)
class Division:
    """Picks from a pool. All are ascending.

    Args:
        used: indices into the pool: training and validation samples.
        folds: (train, validation) positions in `used`.
        final: positions in `used` that the winner is retrained on.
    """

    used: Index
    folds: tuple[tuple[Index, Index], ...]
    final: Index


def divide(
    labels: Index,
    *,
    classes: Sequence[str],
    train_samples: int | None = None,
    samples_per_class: int | None = None,
    folds: int | None = None,
    holdout: int | float | Given | None = None,
    given: Index | None = None,
    retrain_on: RetrainOn | None = None,
    sparse: bool = False,
    seed: int,
) -> Division:
    """Chooses training samples from a pool and divides them into folds.

    Args:
        labels: (N,) of the pool.
        classes: names, for messages.
        train_samples: in total, by class in proportion to the pool; None: all.
        samples_per_class: instead of `train_samples`, as many of each class.
        folds: k of a stratified k-fold over the training samples; the default is 5.
        holdout: instead of `folds`, one fold. A count draws that many validation samples beside
            the training samples where the pool has enough, otherwise out of them; a share in
            (0, 1) is taken out of the training samples; 'given' is the source's own.
        given: the pool's own validation samples, the default hold-out where there are any. With
            `folds` or another hold-out they are part of the pool like any other.
        retrain_on: 'train' leaves the validation samples of a hold-out out of `final`, 'all'
            takes them in. Default: 'train' for samples drawn beside, otherwise 'all'.
        sparse: whether classes may have fewer samples than there are folds, or none.
        seed: decides every pick and fold.

    Raises:
        DataError: the pool cannot give what is asked.
    """
    if train_samples is not None and samples_per_class is not None:
        raise DataError(
            f"data.train_samples: given ({train_samples}) together with samples_per_class "
            f"({samples_per_class}); give one of them"
        )
    if folds is not None and holdout is not None:
        raise DataError(
            f"data.folds: given ({folds}) together with holdout ({holdout}); give one of them"
        )
    if folds is None and holdout is None:
        folds, holdout = (None, "given") if given is not None else (5, None)
    pool = np.arange(len(labels))
    if holdout == "given":
        if given is None:
            raise DataError(
                "data.holdout: 'given', but the source has no validation split of its own; "
                "give folds, or a hold-out's count or share"
            )
        pool = np.setdiff1d(pool, given)
    wanted = _wanted(labels[pool], classes, train_samples, samples_per_class)
    order = _shuffled(labels, pool, len(classes), seed)
    train = _fronts(order, wanted)
    if folds is not None:
        return _k_fold(labels, train, classes, folds, seed, sparse)
    if holdout == "given":
        assert given is not None
        return _one_fold(train, np.sort(given), retrain_on or "all")
    assert isinstance(holdout, int | float)
    return _held_out(labels, train, order, classes, holdout, retrain_on)


def pick(labels: Index, pool: Index, count: int | None, *, classes: int, seed: int) -> Index:
    """`count` samples of `pool` (indices into `labels`), by class in proportion; None: all."""
    if count is None or count >= len(pool):
        return np.sort(pool)
    order = _shuffled(labels, pool, classes, seed)
    return _fronts(order, quotas([len(members) for members in order], count))


def quotas(available: Sequence[int], total: int) -> list[int]:
    """`total` shared out in proportion to `available`: largest remainders, one each if it lasts.

    >>> quotas([50, 30, 20], 10)
    [5, 3, 2]
    >>> quotas([1000, 2, 0], 3)
    [2, 1, 0]
    """
    assert 0 <= total <= sum(available)
    everything = sum(available)
    enough = total >= sum(count > 0 for count in available)
    floor = [1 if count and enough else 0 for count in available]
    shares = [total * count / everything if everything else 0.0 for count in available]
    given = [
        min(count, max(low, int(share)))
        for count, low, share in zip(available, floor, shares, strict=True)
    ]
    while sum(given) != total:
        step = 1 if sum(given) < total else -1
        movable = [
            index
            for index, count in enumerate(available)
            if (given[index] < count if step > 0 else given[index] > floor[index])
        ]
        # The class that is furthest from its share moves; the first of several.
        given[max(movable, key=lambda index: step * (shares[index] - given[index]))] += step
    return given


def _wanted(
    labels: Index, classes: Sequence[str], total: int | None, per_class: int | None
) -> list[int]:
    available: list[int] = np.bincount(labels, minlength=len(classes)).tolist()
    if per_class is not None:
        if per_class < 1:
            raise DataError(f"data.samples_per_class: must be at least 1 ({per_class})")
        for name, count in zip(classes, available, strict=True):
            if count < per_class:
                raise DataError(
                    f"data.samples_per_class: {per_class} asked for, but class {name!r} has "
                    f"{count} to train on; ask for at most {min(available)}"
                )
        return [per_class] * len(classes)
    if total is None:
        return available
    present = sum(count > 0 for count in available)
    if not present <= total <= sum(available):
        raise DataError(
            f"data.train_samples: must be from {present} (one a class) to {sum(available)} "
            f"(all there are to train on) ({total})"
        )
    return quotas(available, total)


def _shuffled(labels: Index, pool: Index, classes: int, seed: int) -> list[Index]:
    """The members of each class in the order that picks are made."""
    members = [pool[labels[pool] == label] for label in range(classes)]
    return [
        np.random.default_rng(derive_seed(seed, "pick", label)).permutation(np.sort(group))
        for label, group in enumerate(members)
    ]


def _fronts(order: Sequence[Index], counts: Sequence[int]) -> Index:
    return np.sort(np.concatenate([g[:n] for g, n in zip(order, counts, strict=True)]))


def _k_fold(
    labels: Index, used: Index, classes: Sequence[str], folds: int, seed: int, sparse: bool
) -> Division:
    if folds < 2:
        raise DataError(f"data.folds: must be at least 2 ({folds}); for one fold give holdout")
    counts = np.bincount(labels[used], minlength=len(classes))
    for name, count in zip(classes, counts.tolist(), strict=True):
        if count < folds and not sparse:
            raise DataError(
                f"data.folds: {folds} folds, but class {name!r} has {count} training samples; "
                f"use at most {counts.min()} folds, more samples, or a hold-out"
            )
    local = np.arange(len(used))
    order = np.concatenate(_shuffled(labels[used], local, len(classes), derive_seed(seed, "fold")))
    part = np.empty(len(used), dtype=np.int64)
    # Dealt like cards, class after class: sizes, and each class's share, differ by one at most.
    part[order] = np.arange(len(used)) % folds
    pairs = tuple((local[part != fold], local[part == fold]) for fold in range(folds))
    return Division(used=used, folds=pairs, final=local)


def _held_out(
    labels: Index,
    train: Index,
    order: Sequence[Index],
    classes: Sequence[str],
    holdout: int | float,
    retrain_on: RetrainOn | None,
) -> Division:
    """`order` holds each class's members with the training samples in front."""
    taken = np.bincount(labels[train], minlength=len(classes)).tolist()
    share = isinstance(holdout, float)
    if share and not 0 < holdout < 1:
        raise DataError(
            f"data.holdout: a share must lie between 0 and 1 ({holdout}); "
            "a count is written without a decimal point"
        )
    count = round(holdout * len(train)) if share else int(holdout)
    if count < 1:
        raise DataError(f"data.holdout: must hold at least one sample ({holdout})")
    spare = [group[number:] for group, number in zip(order, taken, strict=True)]
    if not share and sum(map(len, spare)) >= count:
        picked = _backs(spare, quotas([len(group) for group in spare], count))
        return _one_fold(train, picked, retrain_on or "train")
    if count > len(train) - len(classes):
        raise DataError(
            f"data.holdout: {count} cannot be taken out of {len(train)} training samples of "
            f"{len(classes)} classes (the source has no {count} others); ask for less, "
            "or for fewer train_samples so that others are left"
        )
    fronts = [group[:number] for group, number in zip(order, taken, strict=True)]
    keep = quotas(taken, len(train) - count)
    picked = _backs(fronts, [n - k for n, k in zip(taken, keep, strict=True)])
    return _one_fold(np.setdiff1d(train, picked), picked, retrain_on or "all")


def _backs(order: Sequence[Index], counts: Sequence[int]) -> Index:
    ends = [group[len(group) - n :] for group, n in zip(order, counts, strict=True)]
    return np.sort(np.concatenate(ends))


def _one_fold(train: Index, validation: Index, retrain_on: RetrainOn) -> Division:
    used = np.union1d(train, validation)
    fold = (np.searchsorted(used, train), np.searchsorted(used, validation))
    final = fold[0] if retrain_on == "train" else np.arange(len(used))
    return Division(used=used, folds=(fold,), final=final)
