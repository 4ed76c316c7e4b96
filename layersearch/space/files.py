"""Files that are whole or absent: written aside, then renamed.

A reader, a crash or a full disk never meets half a file, and what was there before stays until the
new one is complete.
"""

import os
import secrets
from pathlib import Path


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
