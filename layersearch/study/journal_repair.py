"""Mends a journal that a crash has torn.

A line is one record. A process that dies while it writes leaves a beginning of one at the end of
the file; if Optuna then appends to it, the beginning and the next record share a line, and the
journal cannot be read any more. What was torn was never read by anybody, so it may go; records that
follow it on its line are whole and stay.
"""

import json
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from layersearch.errors import StudyError

_BEGIN = b'{"op_code":'
_OPERATION = re.compile(rb'\{"op_code":(\d+),')
_NUMBERED = (0, 4)  # they make studies and trials: without them all that follow have other numbers


def looks_whole(data: bytes) -> bool:
    """Whether every line seems to be one record; quick, and never wrong about what is torn."""
    lines = data.count(b"\n")
    return (not data or data.endswith(b"\n")) and data.count(_BEGIN) == lines


def mended(data: bytes, path: Path) -> tuple[bytes, list[str]]:
    """The journal without what is torn, and what was done about each line that was.

    Raises:
        StudyError: a record is damaged on which the numbers of others depend.
    """
    kept: list[bytes] = []
    notes: list[str] = []
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        last = number == len(lines)
        if last and not line:
            break
        if _is_record(line):
            kept.append(line)
            if last:
                notes.append(f"line {number} had no end")
            continue
        found = _records_within(line)
        if not found and not last:
            _check_droppable(line, number, path)
        kept.extend(found)
        notes.append(
            f"line {number} was torn" + (", and holds a whole record that is kept" * bool(found))
        )
    return b"".join(line + b"\n" for line in kept), notes


def mend(path: Path) -> str:
    """Mends the file, of which a copy is kept; what was done, in one line, or '' if nothing.

    Whoever calls it holds the journal's lock.

    Raises:
        StudyError: it cannot be mended.
        OSError: it cannot be written; it is as it was.
    """
    data = path.read_bytes()
    whole, notes = mended(data, path)
    if not notes:
        return ""
    copy = Path(f"{path}.torn-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}")
    aside = Path(f"{path}.mending")
    try:
        shutil.copy2(path, copy)
        aside.write_bytes(whole)
        shutil.copymode(path, aside)
        _flush(aside)
        aside.replace(path)
        _flush(path.parent)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    shown = "; ".join(notes[:3]) + (f"; and {len(notes) - 3} more" if len(notes) > 3 else "")
    return f"study.storage: the journal {path} was torn and is mended ({shown}); as it was: {copy}"


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "op_code" in record


def _records_within(line: bytes) -> list[bytes]:
    """The whole records of a line that holds more than one beginning."""
    begins = [match.start() for match in re.finditer(re.escape(_BEGIN), line)]
    found: list[bytes] = []
    done = 0
    for begin in begins:
        if begin < done:  # text within a record that was found
            continue
        for end in [*(other for other in begins if other > begin), len(line)]:
            if _is_record(line[begin:end]):
                found.append(line[begin:end])
                done = end
                break
    return found


def _check_droppable(line: bytes, number: int, path: Path) -> None:
    operation = _OPERATION.match(line)
    if operation is None or int(operation[1]) in _NUMBERED:
        raise StudyError(
            f"study.storage: the journal {path} is damaged at line {number}, and what follows "
            "depends on it; restore the file from a copy, or give this search another study.name"
        )


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
