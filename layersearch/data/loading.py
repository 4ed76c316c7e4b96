"""From the description of a data set to `DataSplits`: chosen, checked, decoded, sealed."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layersearch.data.archives import default_cache
from layersearch.data.arrays import read_arrays, read_digits, read_idx, source_from_arrays
from layersearch.data.checks import (
    Overlap,
    check_choice,
    check_labels,
    check_overlap,
    check_paths,
)
from layersearch.data.datasets import read_factory, read_torchvision, source_from_datasets
from layersearch.data.decoding import Canvas
from layersearch.data.files import nearest
from layersearch.data.folders import read_folder, read_vtab
from layersearch.data.picking import Division, Given, RetrainOn, divide, pick
from layersearch.data.pools import Index, Pool, Source
from layersearch.data.samples import DataSplits, Fold, Samples
from layersearch.data.sealed import SealedTest
from layersearch.errors import DataError

SOURCES = ("folder", "torchvision", "arrays", "idx", "digits", "vtab")


def load_data(
    source: str,
    *,
    path: str | Path | None = None,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    download: bool = True,
    train_samples: int | None = None,
    samples_per_class: int | None = None,
    test_samples: int | None = None,
    folds: int | None = None,
    holdout: int | float | Given | None = None,
    retrain_on: RetrainOn | None = None,
    image_size: int | None = None,
    overlap: Overlap | None = None,
    check: bool = True,
    cache: str | Path | None = None,
    threads: int | None = None,
    seed: int,
) -> DataSplits:
    """Reads a data set and divides it for a search.

    Args:
        source: 'folder', 'torchvision', 'arrays', 'idx', 'digits', 'vtab', or
            'package.module:factory', a function that returns Datasets or arrays.
        path: the folder, archive or file; of 'torchvision' where its files lie or go.
        name: of a torchvision data set or of a VTAB task.
        options: passed to the torchvision data set or the factory.
        download: whether a torchvision data set may be fetched.
        train_samples: how many in total, by class in proportion; None: all.
        samples_per_class: instead of `train_samples`.
        test_samples: how many of the test split; None: all. A source with one pool is tested on
            what training leaves of it.
        folds: k of a k-fold over the training samples. Without `folds` and `holdout`: the source's
            own validation split where it has one, otherwise 5 folds.
        holdout: one fold instead. A count: that many validation samples drawn beside the training
            samples where the source has enough, otherwise taken out of them. A share in (0, 1):
            taken out of them. 'given': the source's own validation split.
        retrain_on: what the winner is retrained on: 'train' leaves the hold-out out, 'all' takes
            it in. Default: 'train' where the hold-out was drawn beside, otherwise 'all'.
        image_size: side in pixels of the square canvas; None: the images' own size where all are
            equal, otherwise the median of their shorter sides, 256 at most.
        overlap: what to do with test samples that are copies of training samples: 'refuse' or
            'drop' them. Default: 'refuse'; for published benchmarks and where the test split is
            the rest of one pool, 'drop'.
        check: whether test samples are read through and compared with training samples, without
            keeping any; workers that load what the driver has checked may leave it.
        cache: the folder for decompressed archives and downloads; default: LAYERSEARCH_CACHE or
            ~/.cache/layersearch.
        threads: for decoding; default: one a core, 8 at most.
        seed: decides every pick and fold.

    Raises:
        DataError: the data set cannot be read, or cannot give what is asked.
    """
    place = Path(cache).expanduser() if cache is not None else default_cache()
    found = _read(source, path, name, dict(options or {}), download, place, threads)
    return split_source(
        found,
        train_samples=train_samples,
        samples_per_class=samples_per_class,
        test_samples=test_samples,
        folds=folds,
        holdout=holdout,
        retrain_on=retrain_on,
        image_size=image_size,
        overlap=overlap,
        check=check,
        seed=seed,
    )


def splits_from_tensors(
    x: Tensor | NDArray[Any],
    y: Tensor | NDArray[Any] | Sequence[Any],
    x_test: Tensor | NDArray[Any] | None = None,
    y_test: Tensor | NDArray[Any] | Sequence[Any] | None = None,
    *,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    **choices: Any,
) -> DataSplits:
    """Arrays or tensors, divided for a search.

    Args:
        x: images, whole numbers (N, H, W), (N, C, H, W) or (N, H, W, C), or images scaled to
            [0, 1]; or floating-point features (N, ...).
        y: labels (N,): whole numbers from 0, or class names.
        x_test: the test split; None: what training leaves of `x`.
        y_test: its labels.
        classes: names of the labels.
        seed: decides every pick and fold.
        **choices: as `load_data`: train_samples, samples_per_class, test_samples, folds, holdout,
            retrain_on, image_size, overlap, check.

    Raises:
        DataError: as `load_data`.
    """
    source = source_from_arrays(x, y, x_test, y_test, classes=classes)
    return split_source(source, seed=seed, **choices)


def splits_from_dataset(
    train: Any, test: Any = None, *, seed: int = 0, threads: int | None = None, **choices: Any
) -> DataSplits:
    """Datasets of torch with items (image, label), divided for a search.

    Only chosen items are read, provided that labels are found on the dataset (`targets`, `labels`,
    `samples` ...); otherwise each item is read once for its label.

    Args:
        train: has `__len__` and `__getitem__`; images are PIL images, uint8 arrays, or tensors.
        test: the test split; None: what training leaves of `train`.
        seed: decides every pick and fold.
        threads: for decoding image files.
        **choices: as `splits_from_tensors`.

    Raises:
        DataError: as `load_data`.
    """
    return split_source(source_from_datasets(train, test, threads=threads), seed=seed, **choices)


def split_source(
    source: Source,
    *,
    train_samples: int | None = None,
    samples_per_class: int | None = None,
    test_samples: int | None = None,
    folds: int | None = None,
    holdout: int | float | Given | None = None,
    retrain_on: RetrainOn | None = None,
    image_size: int | None = None,
    overlap: Overlap | None = None,
    check: bool = True,
    seed: int,
) -> DataSplits:
    """Chooses from a source, checks, decodes what was chosen, seals the rest; see `load_data`."""
    _check_arguments(test_samples, image_size, retrain_on, overlap)
    check_labels(source)
    reserved = _reserve(source, train_samples, samples_per_class, test_samples, seed)
    open_pool = np.setdiff1d(np.arange(len(source.train.ids)), reserved)
    division = _divide(
        source,
        open_pool,
        train_samples=train_samples,
        samples_per_class=samples_per_class,
        folds=folds,
        holdout=holdout,
        retrain_on=retrain_on,
        seed=seed,
    )
    used = open_pool[division.used]
    test, tested = _tested(source, used, reserved, test_samples, seed)
    notes = list(source.notes)
    if check:
        ours = source.test is None or source.published
        tested, note = check_overlap(
            source.train, used, test, tested, overlap=overlap or ("drop" if ours else "refuse")
        )
        notes += [note] if note else []
    canvas = None if image_size is None else (image_size, image_size)
    train = _samples(source.train, used, source.classes, canvas)
    if check:
        test.check(tested)
    if canvas is None and train.images.dim() == 4:
        canvas = (train.images.shape[-2], train.images.shape[-1])
    return DataSplits(
        train=train,
        test=_seal(test, tested, source.classes, canvas),
        folds=tuple(
            Fold(number=number, train=torch.from_numpy(t), validation=torch.from_numpy(v))
            for number, (t, v) in enumerate(division.folds)
        ),
        final_train=torch.from_numpy(division.final),
        notes=tuple(notes),
    )


def _read(
    source: str,
    path: str | Path | None,
    name: str | None,
    options: dict[str, Any],
    download: bool,
    cache: Path,
    threads: int | None,
) -> Source:
    if ":" in source:
        return read_factory(source, options, threads=threads)
    if source not in SOURCES:
        raise DataError(
            f"data.source: must be one of {', '.join(SOURCES)} or package.module:factory "
            f"({source!r}){nearest(source, SOURCES)}"
        )
    if source == "digits":
        return read_digits()
    if source == "torchvision":
        root = Path(path).expanduser() if path is not None else cache / "torchvision"
        return read_torchvision(
            name, root=root, options=options, download=download, threads=threads
        )
    if path is None:
        raise DataError(f"data.path: is needed for source {source!r}; give the folder or file")
    if source == "folder":
        return read_folder(path, cache=cache, threads=threads)
    if source == "vtab":
        return read_vtab(path, name=name, cache=cache, threads=threads)
    return read_arrays(path) if source == "arrays" else read_idx(path)


def _check_arguments(
    test_samples: int | None,
    image_size: int | None,
    retrain_on: RetrainOn | None,
    overlap: Overlap | None,
) -> None:
    for name, value in (("test_samples", test_samples), ("image_size", image_size)):
        if value is not None and value < 1:
            raise DataError(f"data.{name}: must be at least 1 ({value})")
    if retrain_on is not None:
        check_choice("retrain_on", retrain_on, ("train", "all"))
    if overlap is not None:
        check_choice("overlap", overlap, ("refuse", "drop"))


def _reserve(
    source: Source, total: int | None, per_class: int | None, test_samples: int | None, seed: int
) -> Index:
    """What of a source's one pool is put aside to test on, before training picks from it."""
    nothing = np.empty(0, dtype=np.int64)
    if source.test is not None or total is not None or per_class is not None:
        return nothing
    if test_samples is None:
        raise DataError(
            f"data.train_samples: is needed: the source has one pool of {len(source.train.ids)} "
            "samples and no test split; say how many to train on (the rest is the test split), "
            "or give test_samples"
        )
    count, classes = len(source.train.ids), len(source.classes)
    if not classes <= test_samples <= count - classes:
        raise DataError(
            f"data.test_samples: must be from {classes} to {count - classes}, to leave each class "
            f"a sample to train on ({test_samples})"
        )
    everything = np.arange(count)
    return pick(source.train.labels, everything, test_samples, classes=classes, seed=seed)


def _divide(source: Source, open_pool: Index, **choices: Any) -> Division:
    given = None
    if source.given is not None:
        given = np.flatnonzero(np.isin(open_pool, source.given))
    return divide(source.train.labels[open_pool], classes=source.classes, given=given, **choices)


def _tested(
    source: Source, used: Index, reserved: Index, test_samples: int | None, seed: int
) -> tuple[Pool, Index]:
    if source.test is not None:
        check_paths(source.train, source.test)
        pool, offered = source.test, np.arange(len(source.test.ids))
    else:
        pool, rest = source.train, np.setdiff1d(np.arange(len(source.train.ids)), used)
        offered = reserved if len(reserved) else rest
        if not len(offered):
            raise DataError(
                f"data.train_samples: all {len(used)} samples are trained on and none is left "
                "to test on; train on fewer"
            )
    if test_samples is not None and test_samples > len(offered):
        raise DataError(
            f"data.test_samples: {test_samples} asked for, but there are {len(offered)}; "
            "ask for less, or for all by null"
        )
    count = len(source.classes)
    return pool, pick(pool.labels, offered, test_samples, classes=count, seed=seed)


def _samples(pool: Pool, chosen: Index, classes: tuple[str, ...], canvas: Canvas | None) -> Samples:
    return Samples(
        pool.decode(chosen, canvas=canvas),
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
