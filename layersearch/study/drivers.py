"""Drivers as a study knows them: who they are, and whether they may still be working."""

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from layersearch.study.attributes import DRIVER_PREFIX, TAKEN_PREFIX

STALE_AFTER = 120.0  # seconds without a heartbeat after which a driver elsewhere counts as dead

ASKING, HOLDING, LEFT = "asking", "holding", "left"


@dataclass(frozen=True, kw_only=True)
class DriverRecord:
    """What a driver says of itself in the study."""

    token: str
    host: str
    place: str  # machine, boot and process namespace: where `process` means something
    pid: int
    process: str  # when the process started, so that a reused pid is not taken for it
    state: str
    join: bool
    started: float  # seconds since 1970
    heartbeat: float
    worker: bool = False  # helps whoever drives the search, and keeps nobody from driving it
    stale_after: float = STALE_AFTER  # seconds of silence after which it has stopped for certain

    @property
    def holder(self) -> str:
        """Who it is, for a message."""
        since = datetime.fromtimestamp(self.started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"process {self.pid} on {self.host}, since {since}"

    @property
    def is_here(self) -> bool:
        """Whether its process can be seen from here."""
        return self.place == machine()

    @property
    def attribute(self) -> tuple[str, dict[str, Any]]:
        """Name and value under which the study keeps it."""
        return DRIVER_PREFIX + self.token, asdict(self)

    def is_live(self, *, now: float) -> bool:
        """Whether it may still be working: its process runs, or its heartbeat is recent."""
        if self.state not in (ASKING, HOLDING):
            return False
        if self.is_here:
            return process_start(self.pid) == self.process
        return now - self.heartbeat < self.stale_after


def driver_records(user_attrs: Mapping[str, Any]) -> list[DriverRecord]:
    """The drivers that a study has known, oldest first."""
    records = [
        DriverRecord(**value) for key, value in user_attrs.items() if key.startswith(DRIVER_PREFIX)
    ]
    return sorted(records, key=lambda record: (record.started, record.token))


def live_drivers(user_attrs: Mapping[str, Any], *, now: float) -> list[DriverRecord]:
    """Those that may still be working and that nobody has taken the study from."""
    return [
        record
        for record in driver_records(user_attrs)
        if TAKEN_PREFIX + record.token not in user_attrs and record.is_live(now=now)
    ]


@cache
def machine() -> str:
    """This machine since it booted, and its process namespace: containers may share a host name."""
    parts = [socket.gethostname()]
    for read in (_boot, _namespace):
        try:
            parts.append(read())
        except OSError:
            parts.append("")
    return "/".join(parts)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())


def process_start(pid: int) -> str | None:
    """When it started, in ticks since boot; '' where that is unknown; None: it does not run."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    # The name, in parentheses, may hold spaces. A zombie works on nothing.
    state, *rest = fields.rpartition(")")[2].split()
    return None if state in "ZX" else rest[18]
