"""A lease: which driver holds a study.

Each driver keeps one user attribute of the study, `driver:<token>`, and renews its heartbeat there.
Mutual exclusion needs nothing but a storage whose single reads and writes are ordered: a driver
first writes that it asks, then reads who else is there. Of two that ask at the same time, the later
reader sees the other and backs off, so at most one goes on to hold.

On one machine a dead process frees its lease at once. Elsewhere only the heartbeat's age tells:
each driver states after how many seconds of silence it has stopped for certain, which is longer
than it waits for its storage. So a driver that is cut off ends before another may take its work,
and a storage that was away from all of them makes nobody look dead.

Who takes a driver for dead writes `taken:<token>`, which that driver never writes itself: should it
have been asleep, it sees when it wakes that the study is not its own any more.
"""

import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import optuna

from layersearch.errors import StudyError
from layersearch.study.attributes import TAKEN_PREFIX
from layersearch.study.drivers import (
    ASKING,
    HOLDING,
    LEFT,
    STALE_AFTER,
    DriverRecord,
    driver_records,
    live_drivers,
    machine,
    process_start,
)

HEARTBEAT = 15.0  # seconds between two heartbeats
_ATTEMPTS = 40  # to take a lease that others ask for at the same moment


class Lease:
    """One driver's hold on a study; renews itself in a thread until it is released.

    Args:
        study: the study to hold.
        join: whether to share the study with the drivers that hold it.
        worker: whether it only helps: it is always let in, and keeps nobody out.
        stale_after: seconds without a heartbeat after which this driver counts as dead on other
            machines.
        heartbeat: seconds between two heartbeats; None: 15, or an eighth of `stale_after` where
            that is less.
        at_once: entered by the thread that renews: within it the storage is not waited for.

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
        at_once: Callable[[], AbstractContextManager[None]] = nullcontext,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._study = study
        self._interval = min(HEARTBEAT, stale_after / 8) if heartbeat is None else heartbeat
        self._at_once = at_once
        self._clock = clock
        now = clock()
        self._record = DriverRecord(
            token=secrets.token_hex(8),
            host=socket.gethostname(),
            place=machine(),
            pid=os.getpid(),
            process=process_start(os.getpid()) or "",
            state=ASKING,
            join=join or worker,
            started=now,
            heartbeat=now,
            stale_after=stale_after,
            worker=worker,
        )
        self._lost = False
        self._beaten = time.monotonic()
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
        """Whether another driver took the study, because this one seemed dead.

        After a silence, as when the machine slept or the storage is away, it asks the study first.

        Raises:
            StudyError: the storage does not answer.
        """
        asleep = max(time.monotonic() - self._beaten, self._clock() - self._record.heartbeat)
        if not self._lost and not self._stop.is_set() and asleep > 2 * self._interval:
            self._beat()
        return self._lost

    def live_tokens(self) -> frozenset[str]:
        """The drivers that may still be working, this one among them."""
        live = live_drivers(self._study.user_attrs, now=self._clock())
        return frozenset([self.token, *(record.token for record in live)])

    def condemn(self, tokens: Collection[str]) -> frozenset[str]:
        """Takes the study from drivers that seem dead.

        Returns: those that still seem so after they could have read of it.
        """
        known = {record.token: record for record in driver_records(self._study.user_attrs)}
        for token in tokens:
            # A process that is gone from this machine reads nothing.
            if token in known and not known[token].is_here:
                self._take(token)
        after = {record.token: record for record in driver_records(self._study.user_attrs)}
        return frozenset(
            token
            for token in tokens
            if token not in after or not after[token].is_live(now=self._clock())
        )

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
                raise StudyError(_refusal(self._study.study_name, held[0]))
            self._write(state=LEFT)
            time.sleep(random.uniform(0.02, 0.4))
        else:
            raise StudyError(
                f"study.name: several drivers ask for '{self._study.study_name}' at the same "
                "moment; start one alone, and others with study.join=true"
            )
        if not self._record.join:
            self._take_from_the_dead()
        self._write(state=HOLDING)

    def _live_others(self) -> Iterator[DriverRecord]:
        for record in live_drivers(self._study.user_attrs, now=self._clock()):
            if record.token != self.token:
                yield record

    def _take_from_the_dead(self) -> None:
        """Tells drivers that seemed dead, should they wake up, that the study is not theirs."""
        attrs = self._study.user_attrs
        live = self.live_tokens()
        for record in driver_records(attrs):
            taken = TAKEN_PREFIX + record.token in attrs
            if record.token not in live and record.state in (ASKING, HOLDING) and not taken:
                self._take(record.token)

    def _take(self, token: str) -> None:
        value = {"by": self.token, "at": self._clock()}
        self._study.set_user_attr(TAKEN_PREFIX + token, value)

    def _write(self, *, state: str) -> None:
        self._record = replace(self._record, state=state, heartbeat=self._clock())
        self._study.set_user_attr(*self._record.attribute)
        self._beaten = time.monotonic()

    def _beat(self) -> None:
        """Says that it lives, then looks whether anybody thought otherwise: in this order."""
        self._write(state=HOLDING)
        if TAKEN_PREFIX + self.token in self._study.user_attrs:
            self._lost = True

    def _renew(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                with self._at_once():
                    self._beat()
            except Exception:  # noqa: BLE001 - a storage away for a moment; the next beat may succeed
                continue
            if self._lost:
                return


def seconds_driven(user_attrs: Mapping[str, Any], *, now: float, token: str) -> float:
    """Seconds in which at least one driver worked on the study; `token`'s own last until `now`."""
    total, covered = 0.0, float("-inf")
    for record in driver_records(user_attrs):
        end = now if record.token == token else record.heartbeat
        total += max(0.0, end - max(record.started, covered))
        covered = max(covered, end)
    return total


def _refusal(name: str, holder: DriverRecord) -> str:
    elsewhere = (
        ""
        if holder.is_here
        else f" (it counts as dead after {holder.stale_after:.0f} s without a sign of life)"
    )
    return (
        f"study.name: '{name}' is held by {holder.holder}{elsewhere}; wait for it, stop it, or "
        "share the work with study.join=true"
    )
