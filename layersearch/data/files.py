"""Where image files lie: a folder, an archive, or a list of paths; all read by name."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from layersearch.errors import DataError


class Files(Protocol):
    """Files that are read by name, from several threads at once."""

    where: str  # the folder or archive, for messages
    sizes: Mapping[str, int]  # bytes, by name: a path with '/' relative to `where`

    def read(self, name: str) -> bytes:
        """The contents of one file. Raises: OSError."""
        ...


class FolderFiles:
    """The files below a folder. Hidden ones (name starts with a dot) are left out."""

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self._folder = folder
        self.sizes: Mapping[str, int] = dict(_walk(folder, ""))

    def read(self, name: str) -> bytes:
        """The contents of one file."""
        return (self._folder / name).read_bytes()


class ListedFiles:
    """Files at any paths, such as a torchvision data set lists."""

    def __init__(self, paths: Sequence[str], *, where: str) -> None:
        self.where = where
        self.sizes: Mapping[str, int] = {path: Path(path).stat().st_size for path in paths}

    def read(self, name: str) -> bytes:
        """The contents of one file."""
        return Path(name).read_bytes()


def existing(path: str | Path, *, what: str) -> Path:
    """`path` with `~` expanded.

    Raises:
        DataError: there is nothing; names what lies nearest.
    """
    wanted = Path(path).expanduser()
    if wanted.exists():
        return wanted
    parent = wanted.parent
    while not parent.is_dir():
        parent = parent.parent
    missing = wanted.relative_to(parent).parts[0] if parent != wanted else wanted.name
    beside = sorted(entry.name for entry in parent.iterdir())
    raise DataError(f"{what}: {wanted} does not exist{_instead(missing, beside, str(parent))}")


def nearest(name: str, names: Sequence[str]) -> str:
    """'; did you mean ...?', or nothing where no name is like it."""
    written = {other.lower(): other for other in names}
    close = [
        written[other]
        for other in difflib.get_close_matches(name.lower(), list(written), n=3, cutoff=0.5)
    ]
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _instead(missing: str, beside: Sequence[str], parent: str) -> str:
    hint = nearest(missing, beside)
    if hint:
        return f" ({parent} has no {missing!r}){hint}"
    listed = ", ".join(beside[:5]) + (" ..." if len(beside) > 5 else "")
    return f"; {parent} holds {listed or 'nothing'}"


def _walk(folder: Path, prefix: str) -> list[tuple[str, int]]:
    """Names with sizes; folders, whose names end in '/', with 0."""
    found: list[tuple[str, int]] = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if entry.is_symlink() and folder.resolve().is_relative_to(
                    Path(entry.path).resolve()
                ):
                    continue  # a link to a folder above: there is no end of it
                found.append((f"{prefix}{entry.name}/", 0))
                found += _walk(Path(entry.path), f"{prefix}{entry.name}/")
            elif entry.is_file():
                found.append((f"{prefix}{entry.name}", entry.stat().st_size))
    return found
