"""A safetensors file with a description, sealed by a checksum over every byte of it.

The checksum (SHA-256) is in the file's own metadata: it is computed with 64 zeros in its place,
which the digest then replaces. It finds damage, not forgery: whoever can write the file can seal it
anew.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from layersearch.errors import TaskError
from layersearch.space.files import unwritable, write_whole

FORMAT = "layersearch.task"
VERSION = 1
_ZEROS = "0" * 64
_NOUNS = {FORMAT: "saved task", "layersearch.model": "merged model"}
_LENGTH = 8  # bytes that hold the length of the header, little-endian


def write_sealed(
    path: str | Path,
    tensors: dict[str, Tensor],
    description: dict[str, Any],
    *,
    kind: str = FORMAT,
) -> Path:
    """Writes tensors (contiguous, on the CPU) and description (JSON) as one file, in one step.

    Args:
        path: of the file.
        tensors: at least one.
        description: JSON.
        kind: what the file says it is, if it is no saved task.

    Raises: TaskError: if the file cannot be written; one that was there is as it was.
    """
    metadata = {
        "format": kind,
        "version": str(VERSION),
        "sha256": _ZEROS,
        "description": json.dumps(description, allow_nan=False, sort_keys=True),
    }
    content = save(tensors, metadata)
    digest = hashlib.sha256(content).hexdigest()
    try:
        return write_whole(path, content.replace(_seal(_ZEROS), _seal(digest), 1))
    except OSError as error:
        raise TaskError(unwritable(path, error)) from error


def read_sealed(
    path: str | Path, *, kind: str = FORMAT
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the description of a sealed file of a kind.

    Raises: TaskError: if it cannot be read, holds pickled code, is no saved task, is of another
        version, is cut short, or has any byte changed; the message names the file.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror or error})") from error
    metadata = _metadata(path, content)
    if metadata.get("format") != kind:
        raise TaskError(
            f"{path}: is no {_NOUNS.get(kind, 'file of that kind')} (it says it is "
            f"{metadata.get('format')!r:.80}, not {kind!r}), or is damaged"
        )
    if metadata.get("version") != str(VERSION):
        raise TaskError(
            f"{path}: is a saved task of format {metadata.get('version')!r:.80}; this version of "
            f"layersearch reads format '{VERSION}'; use the layersearch that saved it"
        )
    digest = str(metadata.get("sha256"))
    unsealed = content.replace(_seal(digest), _seal(_ZEROS), 1)
    if hashlib.sha256(unsealed).hexdigest() != digest:
        raise TaskError(f"{path}: is damaged (its checksum does not match); save or copy it again")
    try:
        return load(content), json.loads(metadata["description"])
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise TaskError(f"{path}: is no saved task ({error})") from error


def sealed_kind(path: str | Path) -> str:
    """What a sealed file says it is; whether that is true shows when it is read.

    Raises: TaskError: if it cannot be read, or is no such file.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror or error})") from error
    return str(_metadata(path, content).get("format"))


def _seal(digest: str) -> bytes:
    # Within the description's own text every quote is escaped, so this occurs nowhere else.
    return f'"sha256":"{digest}"'.encode()


def _metadata(path: str | Path, content: bytes) -> dict[str, Any]:
    """The metadata of a safetensors header; refuses what is none before anything is parsed."""
    # The length of a safetensors header may begin as a pickle does; its text, with a brace.
    brace = content[_LENGTH : _LENGTH + 1] == b"{"
    if content.startswith((b"\x80", b"PK\x03\x04")) and not brace:
        raise TaskError(
            f"{path}: holds pickled objects, which can run code when loaded; refused "
            "(saved tasks are safetensors files)"
        )
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    if len(content) < _LENGTH or end > len(content):
        raise TaskError(
            f"{path}: is cut short or no saved task ({len(content)} bytes); save or copy it again"
        )
    try:
        header = json.loads(content[_LENGTH:end])
        if isinstance(header, dict) and "__metadata__" not in header:
            raise TaskError(
                f"{path}: is a file of tensors, but not one that layersearch wrote: it does not "
                "say which backbone and classes they belong to; give a task that was saved by a "
                "search"
            )
        metadata = header["__metadata__"]
        size = max(entry["data_offsets"][1] for name, entry in header.items() if name[:2] != "__")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise TaskError(f"{path}: is damaged or no saved task ({error!r:.80})") from error
    if isinstance(size, int) and end + size > len(content):
        raise TaskError(
            f"{path}: is cut short ({len(content)} of {end + size} bytes); save or copy it again"
        )
    if not isinstance(metadata, dict):
        raise TaskError(f"{path}: is damaged or no saved task (it has no metadata)")
    return metadata
