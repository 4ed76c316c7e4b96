"""Data sets that are arrays already: tensors, npz, idx (MNIST's format), scikit-learn's digits."""

import gzip
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layersearch.data.files import existing
from layersearch.data.pools import Index, Source, TensorPool, numbered
from layersearch.errors import DataError

_KEYS = "x_train, y_train, x_test, y_test; or x, y"


def source_from_arrays(
    x: Any,
    y: Any,
    x_test: Any = None,
    y_test: Any = None,
    *,
    x_val: Any = None,
    y_val: Any = None,
    classes: Sequence[str] | None = None,
    where: str = "data",
) -> Source:
    """Arrays or tensors as a source.

    Images are whole numbers in [0, 255]: (N, H, W), (N, C, H, W) or (N, H, W, C) with 1, 3 or 4
    channels. Floating-point arrays (N, ...) are features and are taken as they are, but for
    images (N, C, H, W) or (N, H, W, C) scaled to [0, 1], whose values are whole 255ths: these
    become uint8 again, exactly.
    Labels are whole numbers from 0, or class names.

    Raises:
        DataError: shapes, labels or values that do not fit.
    """
    images, as_images = as_samples(x, where=f"{where}.x")
    labels, names = as_labels(y, classes=classes, where=f"{where}.y")
    train = _pool(images, labels, prefix="train/" if x_test is not None else "", where=where)
    given = None
    if x_val is not None:
        more, _ = as_samples(x_val, where=f"{where}.x_val", images=as_images)
        more_labels, _ = as_labels(y_val, classes=names, where=f"{where}.y_val")
        _pool(more, more_labels, prefix="", where=f"{where} (validation)")
        train = TensorPool(
            images=torch.cat([images, more]),
            labels=np.concatenate([labels, more_labels]),
            ids=(*train.ids, *numbered(len(more), prefix="val/")),
        )
        given = np.arange(len(labels), len(labels) + len(more_labels))
    if x_test is None:
        return Source(classes=names, train=train, given=given)
    test_images, _ = as_samples(x_test, where=f"{where}.x_test", images=as_images)
    test_labels, _ = as_labels(y_test, classes=names, where=f"{where}.y_test")
    if test_images.shape[1:] != images.shape[1:]:
        raise DataError(
            f"{where}.x_test: samples have another shape {tuple(test_images.shape[1:])} than "
            f"those to train on {tuple(images.shape[1:])}"
        )
    test = _pool(test_images, test_labels, prefix="test/", where=f"{where} (test)")
    return Source(classes=names, train=train, given=given, test=test)


def read_arrays(path: str | Path) -> Source:
    """A .npz (or a torch .pt of tensors) with x_train, y_train, x_test, y_test; or x, y.

    Raises:
        DataError: keys are missing, or the file holds pickled objects.
    """
    file = existing(path, what="data.path")
    content = _read_npz(file) if file.suffix == ".npz" else _read_torch(file)
    found = {key.lower(): value for key, value in content.items()}
    classes = found.get("classes")
    names = None if classes is None else [str(name) for name in classes]
    first, second = ("x_train", "y_train") if "x_train" in found else ("x", "y")
    for key in (first, second, *(("y_test",) if "x_test" in found else ())):
        if key not in found:
            raise DataError(
                f"data.path: {file} has no {key!r}, but {', '.join(content) or 'nothing'}; "
                f"it must hold {_KEYS}"
            )
    more = {key: found.get(key) for key in ("x_test", "y_test", "x_val", "y_val")}
    return source_from_arrays(found[first], found[second], **more, classes=names, where=str(file))


def read_idx(path: str | Path) -> Source:
    """Files of the idx format, compressed or not: a folder as MNIST's, or one file of images.

    Files are known by name: `train-images*`, `train-labels*`, `t10k-*` or `test-*`. One file of
    images has its labels beside it, 'labels' for 'images' and idx1 for idx3 in its name.

    Raises:
        DataError: a file is missing or damaged, or numbers of images and labels differ.
    """
    place = existing(path, what="data.path")
    if not place.is_dir():
        x, y = _idx_pair(place)
        return source_from_arrays(x, y, where=str(place))
    images = sorted(f for f in place.iterdir() if "images" in f.name and not f.is_dir())
    train = [f for f in images if f.name.startswith("train")]
    test = [f for f in images if f.name.startswith(("t10k", "test"))]
    chosen = [group[0] for group in (train, test) if group] or images[:1]
    if not chosen:
        raise DataError(
            f"data.path: {place} has no file of images; MNIST's are train-images-idx3-ubyte and "
            "t10k-images-idx3-ubyte (.gz or not)"
        )
    pairs = [_idx_pair(file) for file in chosen]
    return source_from_arrays(*(array for pair in pairs for array in pair), where=str(place))


def read_digits() -> Source:
    """scikit-learn's 1,797 handwritten digits: 8x8 grey, one pool, no network."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)  # ink is counted from 0 to 16
    return source_from_arrays(grey, digits.target, where="data (digits)")


def as_samples(x: Any, *, where: str, images: bool | None = None) -> tuple[Tensor, bool]:
    """uint8 (N, 3, H, W) or float (N, ...); and whether they are images.

    Args:
        x: array or tensor, as in `source_from_arrays`.
        where: for messages.
        images: whether they must be images (True) or features (False); None: as they look.
    """
    try:
        values = torch.as_tensor(x).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{where}: cannot be read as an array of numbers ({error})") from error
    if values.dim() < 2:
        raise DataError(
            f"{where}: must hold one sample a row ({tuple(values.shape)}); images are (N, C, H, W)"
        )
    if values.is_floating_point():
        if not torch.isfinite(values).all():
            raise DataError(f"{where}: holds NaN or infinite values; remove them first")
        if images is None:
            images = _scaled_images(values)
        if not images:
            return values.float(), False
        values = (values * 255).round()
    elif values.dtype == torch.bool:
        values = values.to(torch.uint8) * 255
    return _rgb(_whole(values, where), where), True


def as_labels(
    y: Any, *, classes: Sequence[str] | None, where: str
) -> tuple[Index, tuple[str, ...]]:
    """int64 (N,) and the classes' names.

    Raises:
        DataError: labels are no whole numbers, NaN, or outside the range of the classes.
    """
    if y is None:
        raise DataError(f"{where}: is missing; every sample needs a label")
    values = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(
            f"{where}: must be one number a sample, shape (N,) {values.shape}; "
            "of one-hot labels take argmax(1)"
        )
    if values.dtype.kind in "US":
        return _named_labels(values.astype(str), classes, where)
    if values.dtype.kind not in "iufb":
        raise DataError(f"{where}: must be whole numbers or names ({values.dtype})")
    return _numbered_labels(values, classes, where)


def _named_labels(
    values: NDArray[np.str_], classes: Sequence[str] | None, where: str
) -> tuple[Index, tuple[str, ...]]:
    names = tuple(classes) if classes is not None else tuple(sorted({str(v) for v in values}))
    label = {name: index for index, name in enumerate(names)}
    for index, value in enumerate(values):
        if str(value) not in label:
            raise DataError(f"{where}[{index}]: {str(value)!r} is none of the classes {names[:10]}")
    return np.array([label[str(value)] for value in values], dtype=np.int64), names


def _numbered_labels(
    values: NDArray[Any], classes: Sequence[str] | None, where: str
) -> tuple[Index, tuple[str, ...]]:
    count = len(classes) if classes is not None else None
    bad = np.zeros(len(values), dtype=bool)
    if values.dtype.kind == "f":
        bad = ~np.isfinite(values) | (values != np.floor(values))
    bad |= values < 0
    if count is not None:
        bad |= values >= count
    elif values.dtype.kind == "f":
        bad |= values > 1e6  # would overflow below
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        limit = f"to {count - 1}" if count is not None else "up"
        raise DataError(
            f"{where}[{first}]: labels must be whole numbers from 0 {limit} ({values[first]}); "
            f"{int(bad.sum())} of {len(values)} are not"
        )
    labels = values.astype(np.int64)
    if classes is not None:
        return labels, tuple(classes)
    return labels, tuple(str(label) for label in range(int(labels.max(initial=-1)) + 1))


def _pool(images: Tensor, labels: Index, *, prefix: str, where: str) -> TensorPool:
    if len(images) != len(labels):
        raise DataError(
            f"{where}: {len(images)} samples but {len(labels)} labels; give one label a sample"
        )
    return TensorPool(images=images, labels=labels, ids=numbered(len(images), prefix=prefix))


def _scaled_images(values: Tensor) -> bool:
    """Whether they are (N, C, H, W) or (N, H, W, C) in whole 255ths, as ToTensor makes them."""
    if values.dim() != 4 or not len(values) or not {values.shape[1], values.shape[3]} & {1, 3}:
        return False
    scaled = values * 255
    inside = bool(values.min() >= 0) and bool(values.max() <= 1)
    return inside and bool((scaled - scaled.round()).abs().max() < 1e-3)


def _whole(values: Tensor, where: str) -> Tensor:
    if values.numel() and (values.min() < 0 or values.max() > 255):
        raise DataError(
            f"{where}: images must be in [0, 255] ({values.min().item()} to "
            f"{values.max().item()}); scale them, or give floating-point features"
        )
    return values.to(torch.uint8)


def _rgb(images: Tensor, where: str) -> Tensor:
    """uint8 (N, 3, H, W)."""
    if images.dim() == 3:
        images = images.unsqueeze(1)
    if images.dim() == 4 and images.shape[1] not in (1, 3, 4) and images.shape[3] in (1, 3, 4):
        images = images.permute(0, 3, 1, 2)
    if images.dim() != 4 or images.shape[1] not in (1, 3, 4):
        raise DataError(
            f"{where}: images must be (N, H, W), (N, C, H, W) or (N, H, W, C) with 1, 3 or 4 "
            f"channels {tuple(images.shape)}; features must be floating-point numbers"
        )
    if images.shape[1] == 1:
        return images.repeat(1, 3, 1, 1)
    return images[:, :3].contiguous()


def _read_npz(file: Path) -> Mapping[str, Any]:
    if not zipfile.is_zipfile(file):
        raise DataError(f"data.path: {file} is no .npz, or is damaged; get or save it again")
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
            return {key: content[key] for key in content.files}
    except ValueError as error:
        if "pickle" in str(error):
            raise DataError(
                f"data.path: {file} holds pickled objects, which can run code when read; "
                "save plain number arrays (labels as whole numbers or strings, not objects)"
            ) from error
        raise DataError(f"data.path: {file} cannot be read ({error})") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        raise DataError(f"data.path: {file} is damaged ({error}); get it again") from error


def _read_torch(file: Path) -> Mapping[str, Any]:
    if file.suffix not in (".pt", ".pth"):
        raise DataError(f"data.path: {file} must be .npz (or .pt of tensors) with {_KEYS}")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise DataError(
            f"data.path: {file} is no file of plain tensors ({str(error).splitlines()[0]}); "
            "save a dict of tensors by torch.save"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"data.path: {file} holds a {type(content).__name__}, not a dict: {_KEYS}")
    return {str(key): value for key, value in content.items()}


def _idx_pair(images: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    bare = name.removesuffix(".gz")
    for candidate in (name, bare, f"{bare}.gz"):
        labels = images.with_name(candidate)
        if candidate != images.name and labels.is_file():
            return _read_idx(images, dimensions=3), _read_idx(labels, dimensions=1)
    raise DataError(f"data.path: {images} has no labels beside it; {name} is missing")


def _read_idx(file: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """The format: 0, 0, 8 (unsigned byte), dimensions; each size as big-endian 32 bit; values."""
    try:
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: is damaged ({error}); get it again") from error
    head = 4 + 4 * dimensions
    if len(content) < head or content[:4] != bytes((0, 0, 8, dimensions)):
        raise DataError(f"{file}: is no idx file of {dimensions}-dimensional bytes")
    shape = struct.unpack(f">{dimensions}I", content[4:head])
    if len(content) - head != int(np.prod(shape, dtype=np.int64)):
        raise DataError(
            f"{file}: is cut short or too long ({len(content) - head} bytes for {shape})"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=head).reshape(shape).copy()
