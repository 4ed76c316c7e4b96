"""A lease: which driver holds a study.

Each driver keeps one user attribute of the study, `driver:<token>`, and renews its heartbeat there.
Mutual exclusion needs nothing but a storage whose single reads and writes are ordered: a driver
first writes that it asks, then reads who else is there. Of two that ask at the same time, the later
reader sees the other and backs off, so at most one goes on to hold.

On one machine a dead process frees its lease at once. Elsewhere only the heartbeat's age tells.
"""

import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna

from layersearch.errors import StudyError
from layersearch.study.attributes import DRIVER_PREFIX

HEARTBEAT = 15.0  # seconds between two heartbeats
STALE_AFTER = 120.0  # seconds without a heartbeat after which a driver elsewhere counts as dead
_ATTEMPTS = 40  # to take a lease that others ask for at the same moment

ASKING, HOLDING, LEFT, TAKEN = "asking", "holding", "left", "taken"


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

    @property
    def holder(self) -> str:
        """Who it is, for a message."""
        since = datetime.fromtimestamp(self.started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"process {self.pid} on {self.host}, since {since}"

    def is_live(self, *, stale_after: float, now: float) -> bool:
        """Whether it may still be working: its process runs, or its heartbeat is recent."""
        if self.state not in (ASKING, HOLDING):
            return False
        if self.place == _place():
            return _process(self.pid) == self.process
        return now - self.heartbeat < stale_after


class Lease:
    """One driver's hold on a study; renews itself in a thread until it is released.

    Args:
        study: the study to hold.
        join: whether to share the study with the drivers that hold it.
        worker: whether it only helps: it is always let in, and keeps nobody out.
        stale_after: seconds without a heartbeat after which a driver on another machine counts as
            dead.
        heartbeat: seconds between two heartbeats; None: 15, or a quarter of `stale_after` where
            that is less.

    Raises:
        StudyError: somebody else holds the study; says who.
    """

    def __init__(
        self,
        study: optuna.Study,
        *,
        join: bool = False,
        worker: bool = False,
        stale_after: float = STALE_AFTER,
        heartbeat: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._study = study
        self._stale_after = stale_after
        self._interval = min(HEARTBEAT, stale_after / 4) if heartbeat is None else heartbeat
        self._clock = clock
        now = clock()
        self._record = DriverRecord(
            token=secrets.token_hex(8),
            host=socket.gethostname(),
            place=_place(),
            pid=os.getpid(),
            process=_process(os.getpid()) or "",
            state=ASKING,
            join=join or worker,
            started=now,
            heartbeat=now,
            worker=worker,
        )
        self._lost = False
        self._stop = threading.Event()
        self._acquire()
        self._thread = threading.Thread(target=self._renew, name="layersearch-lease", daemon=True)
        self._thread.start()

    @property
    def token(self) -> str:
        """Names this driver in the trials that it runs."""
        return self._record.token

    @property
    def lost(self) -> bool:
        """Whether another driver took the study, because this one seemed dead."""
        return self._lost

    def live_tokens(self) -> frozenset[str]:
        """The drivers that may still be working, this one among them."""
        now = self._clock()
        live = (
            record.token
            for record in driver_records(self._study.user_attrs)
            if record.is_live(stale_after=self._stale_after, now=now)
        )
        return frozenset([self.token, *live])

    def release(self) -> None:
        """Lets others have the study; may be called more than once."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=self._interval + 5)
        if self._record.state == HOLDING and not self._lost:
            self._write(state=LEFT)

    def _acquire(self) -> None:
        for _ in range(_ATTEMPTS):
            self._write(state=ASKING)
            others = [record for record in self._live_others() if not record.worker]
            held = [record for record in others if record.state == HOLDING]
            if self._record.join or not others:
                break
            if held:
                self._write(state=LEFT)
                raise StudyError(_refusal(self._study.study_name, held[0], self._stale_after))
            self._write(state=LEFT)
            time.sleep(random.uniform(0.02, 0.4))
        else:
            raise StudyError(
                f"study.name: several drivers ask for '{self._study.study_name}' at the same "
                "moment; start one alone, and others with study.join=true"
            )
        if not self._record.join:
            self._mark_dead()
        self._write(state=HOLDING)

    def _live_others(self) -> Iterator[DriverRecord]:
        now = self._clock()
        for record in driver_records(self._study.user_attrs):
            if record.token != self.token and record.is_live(
                stale_after=self._stale_after, now=now
            ):
                yield record

    def _mark_dead(self) -> None:
        """Tells drivers that seemed dead, should they wake up, that the study is not theirs."""
        live = self.live_tokens()
        for record in driver_records(self._study.user_attrs):
            if record.token not in live and record.state in (ASKING, HOLDING):
                taken = replace(record, state=TAKEN)
                self._study.set_user_attr(DRIVER_PREFIX + record.token, asdict(taken))

    def _write(self, *, state: str) -> None:
        self._record = replace(self._record, state=state, heartbeat=self._clock())
        self._study.set_user_attr(DRIVER_PREFIX + self.token, asdict(self._record))

    def _renew(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                mine = self._study.user_attrs.get(DRIVER_PREFIX + self.token, {})
                if mine.get("state") == TAKEN:
                    self._lost = True
                    return
                self._write(state=HOLDING)
            except Exception:  # noqa: BLE001 - a storage away for a moment; the next beat may succeed
                continue


def driver_records(user_attrs: Mapping[str, Any]) -> list[DriverRecord]:
    """The drivers that a study has known, oldest first."""
    records = [
        DriverRecord(**value) for key, value in user_attrs.items() if key.startswith(DRIVER_PREFIX)
    ]
    return sorted(records, key=lambda record: (record.started, record.token))


def seconds_driven(user_attrs: Mapping[str, Any], *, now: float, token: str) -> float:
    """Seconds in which at least one driver worked on the study; `token`'s own last until `now`."""
    total, covered = 0.0, float("-inf")
    for record in driver_records(user_attrs):
        end = now if record.token == token else record.heartbeat
        total += max(0.0, end - max(record.started, covered))
        covered = max(covered, end)
    return total


def _refusal(name: str, holder: DriverRecord, stale_after: float) -> str:
    elsewhere = (
        ""
        if holder.place == _place()
        else f" (it counts as dead after {stale_after:.0f} s without a sign of life)"
    )
    return (
        f"study.name: '{name}' is held by {holder.holder}{elsewhere}; wait for it, stop it, or "
        "share the work with study.join=true"
    )


def _place() -> str:
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


def _process(pid: int) -> str | None:
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
