"""Disks that fill up, for tests with the fixture `small_disk`."""

import contextlib
from pathlib import Path


def fill(disk: Path) -> Path:
    """Writes a file that takes all the space that is left on the disk; delete it to free that."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler
