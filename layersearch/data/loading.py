"""From the description of a data set to `DataSplits`; the entries for YAML and for Python."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from layersearch.data.archives import default_cache
from layersearch.data.arrays import read_arrays, read_digits, read_idx, source_from_arrays
from layersearch.data.checks import Overlap
from layersearch.data.datasets import read_factory, source_from_datasets
from layersearch.data.decoding import LARGEST_CHOSEN_CANVAS
from layersearch.data.files import nearest
from layersearch.data.folders import read_folder, read_vtab
from layersearch.data.named import read_torchvision
from layersearch.data.picking import Given, RetrainOn
from layersearch.data.pools import Source
from layersearch.data.samples import DataSplits
from layersearch.data.splitting import Choices, split_source
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
    largest_image: int = LARGEST_CHOSEN_CANVAS,
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
        image_size: side in pixels of the square canvas that images are stored at; None: the images'
            own size where all are equal, otherwise the median of their shorter sides; with a
            shorter side of `largest_image` at most. Views resize to what the network takes, so a
            canvas larger than the images only costs memory.
        largest_image: in pixels: the `resize` of the backbone's preprocessing suits.
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
    choices = Choices(
        train_samples=train_samples,
        samples_per_class=samples_per_class,
        test_samples=test_samples,
        folds=folds,
        holdout=holdout,
        retrain_on=retrain_on,
        image_size=image_size,
        largest_image=largest_image,
        overlap=overlap,
        check=check,
        seed=seed,
    )
    return split_source(found, choices)


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
            retrain_on, image_size, largest_image, overlap, check.

    Raises:
        DataError: as `load_data`.
    """
    source = source_from_arrays(x, y, x_test, y_test, classes=classes)
    return split_source(source, Choices(seed=seed, **choices))


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
    source = source_from_datasets(train, test, threads=threads)
    return split_source(source, Choices(seed=seed, **choices))


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
