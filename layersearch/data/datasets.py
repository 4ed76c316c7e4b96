"""torch Datasets as sources: torchvision's by name, a user's from a factory or from Python."""

import importlib
import inspect
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
from layersearch.data.decoding import Canvas, common_canvas, fit, fit_tensor
from layersearch.data.files import ListedFiles, nearest
from layersearch.data.pools import FilePool, Index, JoinedPool, Pool, Source, numbered
from layersearch.errors import DataError

# Where data sets keep their labels, and lists of (path, label) or of paths, by habit.
_LABELS = ("targets", "labels", "_labels", "y")
_PAIRS = ("samples", "imgs", "_samples")
_PATHS = ("_image_files", "_images", "image_files")

_SPLITS = {
    "train": ("train", "trainval", "train-standard"),
    "validation": ("val", "valid", "validation"),
    "test": ("test",),
}


def read_torchvision(
    name: str | None,
    *,
    root: Path,
    options: Mapping[str, Any],
    download: bool,
    threads: int | None = None,
) -> Source:
    """A data set of `torchvision.datasets` by the name of its class.

    Whichever way it divides itself is found out: `train=True/False`, `split='train'/'test'` (with
    a validation split as the source's own hold-out where there are all three), or not at all.

    Args:
        name: such as 'CIFAR100', in any case.
        root: the folder where its files lie, or go.
        options: passed to its constructor; with `train` or `split` among them, that part is the
            one pool.
        download: whether its files may be fetched.
        threads: for decoding image files.

    Raises:
        DataError: there is no such data set, its files are absent, or the download failed.
    """
    from torchvision import datasets

    known = {
        entry.lower(): entry
        for entry in datasets.__all__
        if issubclass(getattr(datasets, entry), datasets.VisionDataset)
    }
    if name is None or name.lower() not in known:
        raise DataError(
            f"data.name: must be a data set of torchvision, such as CIFAR100 ({name!r})"
            f"{nearest((name or '').lower(), list(known))}"
        )
    build = getattr(datasets, known[name.lower()])
    make = _maker(build, known[name.lower()], root, options, download)
    accepted = inspect.signature(build).parameters
    if "split" in accepted and "split" not in options and "train" not in accepted:
        parts = _by_split(make)
    elif "train" in accepted and "train" not in options:
        parts = {"train": make(train=True), "test": make(train=False)}
    else:
        parts = {"train": make()}
    source = source_from_datasets(
        parts["train"], parts.get("test"), validation=parts.get("validation"), threads=threads
    )
    return Source(
        classes=source.classes,
        train=source.train,
        given=source.given,
        test=source.test,
        published=True,
        notes=source.notes,
    )


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

    def decode(self, chosen: Index, *, canvas: Canvas | None) -> Tensor:
        """uint8 (M, 3, H, W) or float (M, ...)."""
        images = [self._image(index) for index in chosen.tolist()]
        if all(isinstance(image, Image.Image) for image in images):
            canvas = canvas or common_canvas((image.height, image.width) for image in images)
            fitted = np.stack([fit(image, canvas=canvas) for image in images])
            return torch.from_numpy(fitted).permute(0, 3, 1, 2).contiguous()
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
        canvas = canvas or common_canvas((s.shape[-2], s.shape[-1]) for s in each)
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

    def _image(self, index: int) -> Any:
        try:
            image = _item(self.dataset, index)[0]
            if isinstance(image, Image.Image):
                image.load()
        except DataError:
            raise
        except Exception as error:
            raise DataError(
                f"data: {self.ids[index]} cannot be read ({type(error).__name__}: {error})"
            ) from error
        return image


def _maker(
    build: Any, name: str, root: Path, options: Mapping[str, Any], download: bool
) -> Callable[..., Any]:
    """A function that builds the data set, with problems told as DataError."""
    arguments: dict[str, Any] = dict(options)
    accepted = inspect.signature(build).parameters
    if "root" in accepted:
        arguments.setdefault("root", str(root))
    if "download" in accepted:
        arguments.setdefault("download", download)

    def make(**part: Any) -> Any:
        try:
            if "root" in arguments and download:
                Path(arguments["root"]).mkdir(parents=True, exist_ok=True)
            return build(**arguments, **part)
        except TypeError as error:
            raise DataError(f"data.options: {name} does not take them ({error})") from error
        except (RuntimeError, OSError, EOFError) as error:
            what = "could not be fetched or read" if download else "is not there, complete"
            raise DataError(
                f"data.name: {name} {what} ({type(error).__name__}: {_one_line(error)}); "
                f"put its files into {root} as torchvision lays them out"
                + (", or run where there is a network" if download else ", or allow download: true")
            ) from error

    return make


def _by_split(make: Callable[..., Any]) -> dict[str, Any]:
    """The splits that a data set with `split=` has. A name it does not know is a ValueError."""
    found: dict[str, Any] = {}
    problem: Exception | None = None
    for part, names in _SPLITS.items():
        for name in names:
            try:
                found[part] = make(split=name)
                break
            except ValueError as error:
                problem = error
    if "train" not in found:
        raise DataError(f"data.options: say which split to use, such as {{split: ...}} ({problem})")
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    return found


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
        return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)
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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
