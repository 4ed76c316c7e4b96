"""Archives of image folders, read by member: nothing is unpacked under a name of its own.

A .tar is read where it lies, a .zip through its directory. A compressed tar cannot be read at
random, so it is decompressed once into the cache folder, as one plain .tar beside an index of its
members (offset, size, checksum), and later searches read just the members they choose. Since no
member's name ever becomes a path, no archive can write outside the cache; names that try are
refused all the same, as are links, which would stand for files that are not there.
"""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import tarfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from layersearch.errors import DataError

ARCHIVE_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")

_INDEX_VERSION = 1


class TarFiles:
    """The members of a tar archive, compressed or not.

    Args:
        archive: the file.
        cache: the folder for what is derived from it.

    Raises:
        DataError: the archive is damaged, or holds what no data set should.
    """

    def __init__(self, archive: Path, *, cache: Path) -> None:
        self.where = str(archive)
        key = cache_key(archive)
        index = cache / f"{key}.index.json"
        plain = archive if archive.suffix == ".tar" else cache / f"{key}.tar"
        members = _read_index(index, plain)
        if members is None:
            try:
                cache.mkdir(parents=True, exist_ok=True)
                if plain is not archive:
                    _decompress(archive, plain)
                members = _scan(archive, plain)
                _write_index(index, plain, members)
            except OSError as error:
                raise DataError(
                    f"data.path: {archive} cannot be prepared in {cache} ({error}); "
                    "free some space, or choose another folder by LAYERSEARCH_CACHE"
                ) from error
        self._members = members
        self.sizes: Mapping[str, int] = {name: size for name, (_, size, _) in members.items()}
        self._index, self._plain = index, plain
        self._handle = os.open(plain, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)

    def read(self, name: str) -> bytes:
        """The contents of one member. Raises: OSError: they are not what was indexed."""
        offset, size, checksum = self._members[name]
        content = os.pread(self._handle, size, offset)
        if zlib.crc32(content) != checksum:
            self._index.unlink(missing_ok=True)  # The next search prepares it afresh.
            raise OSError(f"{self._plain} was damaged since it was prepared; run again")
        return content


class ZipFiles:
    """The members of a zip archive.

    Raises:
        DataError: the archive is damaged, or holds what no data set should.
    """

    def __init__(self, archive: Path) -> None:
        self.where = str(archive)
        self._lock = threading.Lock()
        try:
            self._archive = zipfile.ZipFile(archive)
        except zipfile.BadZipFile as error:
            raise _damaged(archive, error) from error
        members = {_safe(member.filename, archive): member for member in self._archive.infolist()}
        self._members = {name: member for name, member in members.items() if not _hidden(name)}
        self.sizes: Mapping[str, int] = {
            name: member.file_size for name, member in self._members.items()
        }
        if any(member.flag_bits & 1 for member in self._archive.infolist()):
            raise DataError(f"data.path: {archive} is encrypted; give one that is not")

    def read(self, name: str) -> bytes:
        """The contents of one member. Raises: OSError."""
        try:
            with self._lock:
                return self._archive.read(self._members[name])
        except (zipfile.BadZipFile, zlib.error) as error:
            raise OSError(str(error)) from error


def default_cache() -> Path:
    """`LAYERSEARCH_CACHE`, or ~/.cache/layersearch."""
    return Path(os.environ.get("LAYERSEARCH_CACHE", "~/.cache/layersearch")).expanduser()


def cache_key(path: Path) -> str:
    """Names a file's state: another path, size or time of change, another key."""
    state = path.stat()
    text = f"{path.resolve()}\n{state.st_size}\n{state.st_mtime_ns}"
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _decompress(archive: Path, plain: Path) -> None:
    """Writes aside, then renames: whoever finds `plain` finds it complete."""
    aside = plain.with_suffix(f".{os.getpid()}.{threading.get_ident()}.part")
    try:
        with _uncompressed(archive) as source, aside.open("wb") as target:
            while block := _read_block(source, archive):
                target.write(block)
        aside.replace(plain)
    finally:
        aside.unlink(missing_ok=True)


def _read_block(source: IO[bytes], archive: Path) -> bytes:
    # Separate from writing: an OSError here is the archive's fault, there it is the disk's.
    try:
        return source.read(1 << 20)
    except (EOFError, OSError, zlib.error, ValueError) as error:
        raise _damaged(archive, error) from error


def _uncompressed(archive: Path) -> IO[bytes]:
    openers = {".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    opened: IO[bytes] = openers[archive.suffix](archive, "rb")  # type: ignore[operator]
    return opened


Members = dict[str, tuple[int, int, int]]  # name: offset, size, CRC-32


def _scan(archive: Path, plain: Path) -> Members:
    members: Members = {}
    try:
        with tarfile.open(plain, "r:") as tar, plain.open("rb") as content:
            for member in tar:
                name = _safe(member.name, archive)
                if member.isdir():
                    members[name.rstrip("/") + "/"] = (0, 0, 0)
                elif not member.isreg() or member.sparse is not None:
                    raise DataError(
                        f"data.path: {archive} holds {member.name!r}, which is a link or no "
                        "ordinary file; pack it again with the files themselves (tar -h)"
                    )
                elif not _hidden(name):
                    content.seek(member.offset_data)
                    block = content.read(member.size)
                    if len(block) < member.size:
                        raise tarfile.ReadError(f"{member.name} is cut short")
                    members[name] = (member.offset_data, member.size, zlib.crc32(block))
            # Cut off between two members, a tar looks complete but for the zeros at its end.
            content.seek(max(0, plain.stat().st_size - tarfile.BLOCKSIZE))
            if content.read().strip(b"\0"):
                raise tarfile.ReadError("it has no end mark")
    except tarfile.TarError as error:
        raise _damaged(archive, error) from error
    return members


def _safe(name: str, archive: Path) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DataError(
            f"data.path: {archive} holds {name!r}, a name that leads out of the archive; "
            "this is how malicious archives look: get it from where you trust"
        )
    return str(path) + ("/" if name.endswith("/") else "")


def _hidden(name: str) -> bool:
    # '._x.jpg' and '__MACOSX/' are what macOS adds to archives; no image is in them.
    return any(p.startswith(".") or p == "__MACOSX" for p in PurePosixPath(name).parts)


def _damaged(archive: Path, error: BaseException) -> DataError:
    return DataError(f"data.path: {archive} is damaged or no such archive ({error}); get it again")


def _read_index(index: Path, plain: Path) -> Members | None:
    """None: there is none, or it does not belong to the tar that lies there."""
    try:
        content = json.loads(index.read_text())
        if content["version"] != _INDEX_VERSION or content["size"] != plain.stat().st_size:
            return None
        return {name: (entry[0], entry[1], entry[2]) for name, entry in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _write_index(index: Path, plain: Path, members: Members) -> None:
    aside = index.with_suffix(f".{os.getpid()}.{threading.get_ident()}.part")
    content = {"version": _INDEX_VERSION, "size": plain.stat().st_size, "files": members}
    try:
        aside.write_text(json.dumps(content))
        aside.replace(index)
    finally:
        aside.unlink(missing_ok=True)
