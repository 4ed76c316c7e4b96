"""Files that are whole or absent: written aside, then renamed.

A reader, a crash or a full disk never meets half a file, and what was there before stays until the
new one is complete.
"""

import errno
import os
import secrets
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_whole(path: str | Path, content: bytes) -> Path:
    """Writes the file in one step, making its folder if there is none.

    Returns: the path.
    Raises: OSError: if it cannot be written; a file that was there is as it was, and nothing is
        left beside it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.part")
    try:
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # the rename must not reach the disk before the content
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return path


def unwritable(path: str | Path, error: OSError) -> str:
    """What to tell a user when `write_whole` failed: the file, the reason, the remedy."""
    if error.errno in _FULL:
        remedy = "free space there"
    elif error.errno in _FORBIDDEN:
        remedy = "get the right to write there, or name another folder"
    else:
        remedy = "see to that, or name another folder"
    return (
        f"{path}: cannot be written ({error.strerror or error}); what was there is as it was; "
        f"{remedy}, then run the same command again"
    )
