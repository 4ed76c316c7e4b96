"""Data sets of image files: class folders, and lists of paths with labels (VTAB-1k)."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from layersearch.data.archives import ARCHIVE_ENDINGS, TarFiles, ZipFiles
from layersearch.data.files import Files, FolderFiles, existing, nearest
from layersearch.data.pools import FilePool, Source
from layersearch.errors import DataError

IMAGE_ENDINGS = (
    ".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".gif", ".tif", ".tiff", ".webp",
)  # fmt: skip

_TRAIN, _VALIDATION, _TEST = ("train", "training"), ("val", "valid", "validation"), ("test",)


def read_folder(path: str | Path, *, cache: Path, threads: int | None = None) -> Source:
    """`train/<class>/*` with `test/<class>/*` or `val/<class>/*`; or one pool, `<class>/*`.

    With all of train, val and test, val is the source's own hold-out. A folder that holds nothing
    but one folder stands for that one.

    Args:
        path: the folder, or a .tar, .tar.gz or .zip of it.
        cache: where a compressed archive is kept decompressed.
        threads: for decoding.

    Raises:
        DataError: there are no class folders, or splits with different classes.
    """
    files = open_files(path, cache=cache)
    root = _root(files)
    splits = {part: name for part in _children(files, root) if (name := _split(part))}
    if "train" not in splits.values():
        if splits:
            raise DataError(
                f"data.path: {files.where} has {', '.join(map(repr, splits))} but no 'train'; "
                "name the folder with the training images so"
            )
        pool, classes = _class_folders(files, [root], threads)
        return Source(classes=classes, train=pool)
    folders = {name: f"{root}{part}/" for part, name in splits.items()}
    train = [folders["train"]]
    test = folders.get("test") or folders.get("validation")
    own_validation = folders["validation"] if "test" in folders and "validation" in folders else ""
    pool, classes = _class_folders(
        files, [*train, own_validation] if own_validation else train, threads
    )
    if test is None:
        return Source(classes=classes, train=pool)
    test_pool, test_classes = _class_folders(files, [test], threads)
    if classes != test_classes:
        raise _classes_differ(files.where, train[0], test, classes, test_classes)
    inside = [index for index, name in enumerate(pool.ids) if name.startswith(own_validation)]
    given = np.array(inside, dtype=np.int64) if own_validation else None
    return Source(classes=classes, train=pool, given=given, test=test_pool)


def read_vtab(
    path: str | Path, *, name: str | None = None, cache: Path, threads: int | None = None
) -> Source:
    """A task of VTAB-1k: `train800.txt`, `val200.txt`, `test.txt`, lines of `path label`.

    The 200 are the source's own hold-out; with k-fold the 1,000 are one pool. Where there is only
    `train800val200.txt`, its 1,000 are the pool.

    Args:
        path: the task's folder or an archive of it; or, with `name`, the folder of all tasks.
        name: the task.
        cache: where a compressed archive is kept decompressed.
        threads: for decoding.

    Raises:
        DataError: a list is missing or names what is not there.
    """
    where = existing(path, what="data.path")
    if name is not None:
        where = existing(where / name, what="data.name")
    files = open_files(where, cache=cache)
    root = _root(files)
    lists = {part for part in _children(files, root, folders=False) if part.endswith(".txt")}
    whole = _read_list(files, root, "train800val200.txt") if _WHOLE in lists else None
    for needed in ("test.txt", *(() if whole else ("train800.txt", "val200.txt"))):
        if needed not in lists:
            raise DataError(
                f"data.path: {files.where} has no {needed!r}; a VTAB-1k task has train800.txt, "
                "val200.txt (or train800val200.txt) and test.txt"
            )
    parts = [
        _read_list(files, root, n) if n in lists else [] for n in ("train800.txt", "val200.txt")
    ]
    training = whole if whole is not None else [*parts[0], *parts[1]]
    test = _read_list(files, root, "test.txt")
    count = 1 + max(label for _, label in (*training, *test))
    validation = {path for path, _ in parts[1]}
    pool = _listed(files, training, threads)
    inside = [index for index, path in enumerate(pool.ids) if path in validation]
    return Source(
        classes=tuple(str(label) for label in range(count)),
        train=pool,
        given=np.array(inside, dtype=np.int64) if inside else None,
        test=_listed(files, test, threads),
        published=True,
    )


def open_files(path: str | Path, *, cache: Path) -> Files:
    """A folder or an archive. Raises: DataError: it is neither, or is damaged."""
    where = existing(path, what="data.path")
    if where.is_dir():
        return FolderFiles(where)
    if where.name.endswith(".zip"):
        return ZipFiles(where)
    if where.name.endswith(ARCHIVE_ENDINGS):
        return TarFiles(where, cache=cache)
    raise DataError(
        f"data.path: {where} is neither a folder nor an archive of one "
        f"({', '.join(ARCHIVE_ENDINGS)})"
    )


_WHOLE = "train800val200.txt"


def _root(files: Files) -> str:
    """'', or where the folders begin that are more than wrapping."""
    root = ""
    while True:
        inner = _children(files, root)
        if len(inner) != 1 or _children(files, root, folders=False) or _split(inner[0]):
            return root
        if not _children(files, f"{root}{inner[0]}/"):
            return root
        root = f"{root}{inner[0]}/"


def _children(files: Files, root: str, *, folders: bool = True) -> list[str]:
    """Names directly below `root`: of folders, or of files."""
    found = set()
    for name in files.sizes:
        if name.startswith(root) and name != root:
            first, *rest = name[len(root) :].split("/", 1)
            if bool(rest) == folders:
                found.add(first)
    return sorted(found)


def _split(name: str) -> str | None:
    for split, names in (("train", _TRAIN), ("validation", _VALIDATION), ("test", _TEST)):
        if name.lower() in names:
            return split
    return None


def _class_folders(
    files: Files, roots: Sequence[str], threads: int | None
) -> tuple[FilePool, tuple[str, ...]]:
    """The images below `roots`, by the class folder that each lies in."""
    classes = sorted({part for root in roots for part in _children(files, root)})
    place = f"{files.where}/{roots[0]}".rstrip("/")
    if not classes:
        raise DataError(
            f"data.path: {place} has no class folders; images lie in one folder a class, "
            "as train/cat/1.jpg"
        )
    names = sorted(
        name
        for name in files.sizes
        if name.lower().endswith(IMAGE_ENDINGS)
        and any(name.startswith(root) and "/" in name[len(root) :] for root in roots)
    )
    label = {name: index for index, name in enumerate(classes)}
    root_of = {name: next(r for r in roots if name.startswith(r)) for name in names}
    labels = [label[name[len(root_of[name]) :].split("/", 1)[0]] for name in names]
    empty = [classes[index] for index in sorted(set(range(len(classes))) - set(labels))]
    if empty:
        raise DataError(
            f"data.path: {place}/{empty[0]} holds no image ({', '.join(IMAGE_ENDINGS)})"
            + (f", nor do {len(empty) - 1} other class folders" if len(empty) > 1 else "")
            + "; add images or remove the folder"
        )
    pool = FilePool(
        files=files, ids=names, labels=np.array(labels, dtype=np.int64), threads=threads
    )
    return pool, tuple(classes)


def _classes_differ(
    where: str, train: str, test: str, ours: Iterable[str], theirs: Iterable[str]
) -> DataError:
    lacking = sorted(set(ours) - set(theirs))
    extra = sorted(set(theirs) - set(ours))
    parts = [
        f"{place} lacks {', '.join(map(repr, names[:5]))}{' ...' if len(names) > 5 else ''}"
        for place, names in ((test, lacking), (train, extra))
        if names
    ]
    hint = nearest(lacking[0], extra) if lacking and extra else ""
    return DataError(
        f"data.path: {where} has different classes to train and to test on "
        f"({'; '.join(parts)}){hint or '; give both the same class folders'}"
    )


def _read_list(files: Files, root: str, name: str) -> list[tuple[str, int]]:
    lines = files.read(f"{root}{name}").decode("utf-8", "replace").splitlines()
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        path, _, label = line.strip().rpartition(" ")
        place = f"{files.where}/{root}{name}, line {number}"
        if not path or not label.isdecimal():
            raise DataError(f"{place}: must be 'path label' with a label from 0 ({line.strip()!r})")
        file = root + str(PurePosixPath(path.strip()))
        if file not in files.sizes:
            beside = [other.rsplit("/", 1)[-1] for other in files.sizes]
            raise DataError(
                f"{place}: {path.strip()!r} is not there"
                f"{nearest(PurePosixPath(file).name, beside[:10_000])}"
            )
        entries.append((file, int(label)))
    if not entries:
        raise DataError(f"{files.where}/{root}{name}: lists no image")
    return entries


def _listed(files: Files, entries: list[tuple[str, int]], threads: int | None) -> FilePool:
    entries = sorted(entries)
    labels = np.array([label for _, label in entries], dtype=np.int64)
    return FilePool(files=files, ids=[path for path, _ in entries], labels=labels, threads=threads)
