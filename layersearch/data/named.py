"""The data sets of torchvision, by name: each divides itself its own way, found out here."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from layersearch.data.datasets import source_from_datasets
from layersearch.data.files import nearest
from layersearch.data.pools import Source
from layersearch.errors import DataError

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

    known = {entry.lower(): entry for entry in datasets.__all__ if _is_data_set(datasets, entry)}
    if name is None or name.lower() not in known:
        raise DataError(
            f"data.name: must be a data set of torchvision, such as CIFAR100 ({name!r})"
            f"{nearest(name or '', list(known.values()))}"
        )
    build = getattr(datasets, known[name.lower()])
    make = _maker(build, known[name.lower()], root, options, download)
    try:
        parts = _parts(make, _accepted(build) - set(options))
    except ValueError as error:
        raise DataError(f"data.options: {build.__name__} refuses them ({error})") from error
    source = source_from_datasets(
        parts["train"], parts.get("test"), validation=parts.get("validation"), threads=threads
    )
    return replace(source, published=True)


def _is_data_set(datasets: Any, entry: str) -> bool:
    found = getattr(datasets, entry)
    return isinstance(found, type) and issubclass(found, datasets.VisionDataset)


def _accepted(build: type) -> set[str]:
    """The names of a constructor's arguments, those that it hands to its base classes too."""
    names: set[str] = set()
    for base in build.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters
        names |= set(parameters)
        if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            break
    return names


def _maker(
    build: Any, name: str, root: Path, options: Mapping[str, Any], download: bool
) -> Callable[..., Any]:
    """A function that builds the data set, with problems told as DataError."""
    arguments: dict[str, Any] = dict(options)
    accepted = _accepted(build)
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
        except (RuntimeError, OSError, EOFError, ImportError) as error:
            what = "could not be fetched or read" if download else "is not there, complete"
            raise DataError(
                f"data.name: {name} {what} ({type(error).__name__}: {_one_line(error)}); "
                f"put its files into {root} as torchvision lays them out"
                + (", or run where there is a network" if download else ", or allow download: true")
            ) from error

    return make


def _parts(make: Callable[..., Any], free: set[str]) -> dict[str, Any]:
    """The splits, by the constructor's arguments that no option has taken."""
    if "train" in free:
        return {"train": make(train=True), "test": make(train=False)}
    if "split" in free and "train" not in free:
        return _by_split(make)
    return {"train": make()}


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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
