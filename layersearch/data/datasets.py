"""Datasets of torch as sources, given in Python or by a factory's name."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from layersearch.data.arrays import as_labels, as_samples, source_from_arrays
from layersearch.data.decoding import (
    LARGEST_CHOSEN_CANVAS,
    Canvas,
    common_canvas,
    fit,
    fit_tensor,
    loaded,
)
from layersearch.data.files import ListedFiles, nearest
from layersearch.data.pools import FilePool, Index, JoinedPool, Pool, Source, numbered
from layersearch.errors import DataError

# Where data sets keep their labels, and lists of (path, label) or of paths, by habit.
_LABELS = ("targets", "labels", "_labels", "y")
_PAIRS = ("samples", "imgs", "_samples")
_PATHS = ("_image_files", "_images", "image_files")


def read_factory(source: str, options: Mapping[str, Any], *, threads: int | None = None) -> Source:
    """What `package.module:factory`, called with `options`, returns.

    That is a Dataset (one pool), a pair (train, test) of Datasets, arrays (x, y) or
    (x, y, x_test, y_test), or a dict with these keys.

    Raises:
        DataError: it cannot be imported, raised, or returned something else.
    """
    factory = _import(source)
    try:
        made = factory(**options)
    except Exception as error:
        raise DataError(f"data.source: {source} raised {type(error).__name__}: {error}") from error
    if isinstance(made, Mapping):
        found = {str(key).lower().replace("_train", ""): value for key, value in made.items()}
        if {"x", "y"} <= set(found) <= {"x", "y", "x_test", "y_test", "x_val", "y_val", "classes"}:
            return source_from_arrays(**found, where=source)
    elif isinstance(made, tuple | list):
        if len(made) == 2 and all(map(_is_dataset, made)):
            return source_from_datasets(*made, threads=threads)
        if len(made) in (2, 4):
            return source_from_arrays(*made, where=source)
    elif _is_dataset(made):
        return source_from_datasets(made, threads=threads)
    raise DataError(
        f"data.source: {source} returned {type(made).__name__}; it must return a Dataset, a pair "
        "(train, test) of them, (x, y), (x, y, x_test, y_test) or a dict with these keys"
    )


def source_from_datasets(
    train: Any, test: Any = None, *, validation: Any = None, threads: int | None = None
) -> Source:
    """Datasets with items (image, label) as a source.

    Raises:
        DataError: an item is something else, or labels do not fit.
    """
    pool, names = _dataset_pool(train, "train/" if test is not None else "", None, threads)
    given = None
    if validation is not None:
        more, _ = _dataset_pool(validation, "val/", names, threads)
        given = np.arange(len(pool.ids), len(pool.ids) + len(more.ids))
        pool = JoinedPool(first=pool, second=more)
    test_pool = None if test is None else _dataset_pool(test, "test/", names, threads)[0]
    return Source(classes=names, train=pool, given=given, test=test_pool)


@dataclass(frozen=True, eq=False, kw_only=True)
class DatasetPool:
    """Items of a Dataset, read one by one when they are chosen."""

    dataset: Any
    labels: Index
    ids: Sequence[str]

    def decode(
        self, chosen: Index, *, canvas: Canvas | None, largest: int = LARGEST_CHOSEN_CANVAS
    ) -> Tensor:
        """uint8 (M, 3, H, W) or float (M, ...)."""
        images = [self._image(index, canvas) for index in chosen.tolist()]
        if canvas is None and all(isinstance(image, Image.Image) for image in images):
            canvas = common_canvas(
                ((image.height, image.width) for image in images), largest=largest
            )
            images = [fit(image, canvas=canvas) for image in images]
        tensors = [_as_tensor(image) for image in images]
        shapes = {tuple(tensor.shape) for tensor in tensors}
        if len(shapes) == 1:
            samples, are_images = as_samples(torch.stack(tensors), where="data (images)")
            return fit_tensor(samples, canvas=canvas) if are_images and canvas else samples
        each = [as_samples(tensor.unsqueeze(0), where="data (images)")[0] for tensor in tensors]
        if any(sample.dtype != torch.uint8 for sample in each):
            raise DataError(
                f"data: samples have different shapes {sorted(shapes)[:3]}; "
                "give all of them one shape, or uint8 images"
            )
        canvas = canvas or common_canvas(
            ((s.shape[-2], s.shape[-1]) for s in each), largest=largest
        )
        return torch.cat([fit_tensor(sample, canvas=canvas) for sample in each])

    def check(self, chosen: Index) -> None:
        """Reads each and keeps nothing."""
        for index in chosen.tolist():
            self._image(index)

    def sizes(self, chosen: Index) -> list[int]:
        """Nothing is cheap to know of an item."""
        return [0] * len(chosen)

    def digests(self, chosen: Index) -> list[bytes]:
        """Of the values of each image."""
        return [
            blake2b(
                np.ascontiguousarray(np.asarray(self._image(index))).tobytes(), digest_size=16
            ).digest()
            for index in chosen.tolist()
        ]

    def _image(self, index: int, canvas: Canvas | None = None) -> Any:
        try:
            image = _item(self.dataset, index)[0]
            if isinstance(image, Image.Image):
                # At once where the size is known: a list of large images would fill the memory.
                return fit(image, canvas=canvas) if canvas is not None else loaded(image)
        except DataError:
            raise
        except Exception as error:
            raise DataError(
                f"data: {self.ids[index]} cannot be read ({type(error).__name__}: {error})"
            ) from error
        return image


def _dataset_pool(
    dataset: Any, prefix: str, classes: Sequence[str] | None, threads: int | None
) -> tuple[Pool, tuple[str, ...]]:
    if not _is_dataset(dataset) or not len(dataset):
        raise DataError(
            f"data: {type(dataset).__name__} is no Dataset with items; it needs __len__ and "
            "__getitem__ that gives (image, label)"
        )
    raw = _known_labels(dataset)
    if raw is None:
        raw = [_item(dataset, index)[1] for index in range(len(dataset))]
    labels, numbers = as_labels(np.asarray(raw), classes=classes, where="data (labels)")
    names = tuple(classes) if classes is not None else _class_names(dataset, numbers)
    paths = _known_paths(dataset)
    if paths is None:
        ids = numbered(len(labels), prefix=prefix)
        return DatasetPool(dataset=dataset, labels=labels, ids=ids), names
    files = ListedFiles(paths, where=str(getattr(dataset, "root", type(dataset).__name__)))
    order = np.argsort(np.array(paths), kind="stable")
    pool = FilePool(
        files=files, ids=[paths[i] for i in order], labels=labels[order], threads=threads
    )
    return pool, names


def _known_labels(dataset: Any) -> list[Any] | None:
    """Labels kept on the dataset, if they agree with its items."""
    if getattr(dataset, "target_transform", None) is not None:
        return None
    candidates = [getattr(dataset, name, None) for name in _LABELS]
    for name in _PAIRS:
        pairs = getattr(dataset, name, None)
        if isinstance(pairs, list | tuple) and pairs and _is_pair(pairs[0]):
            candidates.append([pair[1] for pair in pairs])
    for labels in candidates:
        if labels is None or isinstance(labels, str) or not hasattr(labels, "__len__"):
            continue
        values = [v.item() if hasattr(v, "item") and np.size(v) == 1 else v for v in labels]
        if len(values) == len(dataset) and all(
            _same(values[index], _item(dataset, index)[1]) for index in {0, len(dataset) - 1}
        ):
            return values
    return None


def _known_paths(dataset: Any) -> list[str] | None:
    """Image files of a torchvision data set that decodes them as anybody would."""
    plain = type(dataset).__module__.startswith("torchvision.datasets")
    if not plain or getattr(dataset, "transform", None) or getattr(dataset, "transforms", None):
        return None
    lists = [getattr(dataset, name, None) for name in _PATHS]
    for name in _PAIRS:
        pairs = getattr(dataset, name, None)
        if isinstance(pairs, list | tuple) and pairs and _is_pair(pairs[0]):
            lists.append([pair[0] for pair in pairs])
    for paths in lists:
        if paths is None or len(paths) != len(dataset):
            continue
        if all(isinstance(path, str | Path) and Path(path).is_file() for path in paths):
            return [str(path) for path in paths]
    return None


def _class_names(dataset: Any, numbers: tuple[str, ...]) -> tuple[str, ...]:
    for name in ("classes", "categories"):
        names = getattr(dataset, name, None)
        if isinstance(names, list | tuple) and len(names) >= len(numbers):
            words = tuple(" ".join(n) if isinstance(n, tuple) else str(n) for n in names)
            if len(set(words)) == len(words):
                return words
    return numbers


def _item(dataset: Any, index: int) -> tuple[Any, Any]:
    item = dataset[index]
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise DataError(
            f"data: item {index} of {type(dataset).__name__} is no pair (image, label) "
            f"({type(item).__name__})"
        )
    label = item[1]
    return item[0], label.item() if isinstance(label, Tensor) and label.numel() == 1 else label


def _as_tensor(image: Any) -> Tensor:
    if isinstance(image, Image.Image):
        return torch.from_numpy(np.array(image.convert("RGB")))
    if isinstance(image, np.ndarray):
        values: NDArray[Any] = image
        return torch.from_numpy(values.copy())
    if isinstance(image, Tensor):
        return image.detach().cpu()
    raise DataError(f"data: an image must be a PIL image, array or tensor ({type(image).__name__})")


def _import(source: str) -> Callable[..., Any]:
    module_name, _, attribute = source.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise DataError(
            f"data.source: {module_name!r} cannot be imported ({error}); "
            "install it, or run from the folder that holds it"
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise DataError(
            f"data.source: {module_name} has no function {attribute!r}"
            f"{nearest(attribute, [n for n in dir(module) if not n.startswith('_')])}"
        )
    factory: Callable[..., Any] = found
    return factory


def _is_dataset(value: Any) -> bool:
    return (
        hasattr(value, "__getitem__")
        and hasattr(value, "__len__")
        and not isinstance(value, Tensor | np.ndarray | list | tuple | dict | str)
    )


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2


def _same(ours: Any, theirs: Any) -> bool:
    try:
        return bool(ours == theirs)
    except (TypeError, ValueError, RuntimeError):
        return False
