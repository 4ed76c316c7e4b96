"""Timing runs against each other: in turns, after warming up, away from what disturbs them.

A run marks where its parts begin and end. What is compared runs in turns, so that a machine that
slows down slows all of it down. On a CPU the operating system may interrupt a run for other work,
which is no latency of the network: with one thread what was lost is taken off, with several the
runs that were interrupted are left out where enough others remain.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch

from layersearch.objectives.latency import Timing

LEAST = 3  # timed runs, however little time there is
_WARM_UP_SHARE = 0.2  # of the time, at most
_KEPT_SHARE = 0.25  # of the runs: the least disturbed, if all were


@dataclass(frozen=True)
class Lap:
    """What passed between two marks."""

    milliseconds: float
    interrupted: int = 0  # how often the operating system took the processor away meanwhile

    def __add__(self, other: "Lap") -> "Lap":
        return Lap(self.milliseconds + other.milliseconds, self.interrupted + other.interrupted)


class Timer(Protocol):
    """Marks points of a run."""

    def mark(self) -> None:
        """Marks what has been asked of the device so far."""

    def take(self) -> list[Lap]:
        """The laps between the marks since the last call, which are forgotten."""


class CpuTimer:
    """Marks the wall clock.

    Args:
        wait: for a device that works while the CPU goes on: waits for it.
        alone: whether this thread alone computes. What it lost to interruptions can be told then:
            a lap that was interrupted counts by the processor time that it had.
    """

    def __init__(self, wait: Callable[[], object] = lambda: None, *, alone: bool = False) -> None:
        self._wait = wait
        self._alone = alone
        self._marks: list[tuple[float, float, int]] = []

    def mark(self) -> None:
        """As `Timer`."""
        self._wait()
        self._marks.append((time.perf_counter(), time.thread_time(), _interruptions()))

    def take(self) -> list[Lap]:
        """As `Timer`."""
        marks, self._marks = self._marks, []
        return [self._lap(start, end) for start, end in pairwise(marks)]

    def _lap(self, start: tuple[float, float, int], end: tuple[float, float, int]) -> Lap:
        wall, busy, interrupted = (after - before for before, after in zip(start, end, strict=True))
        if interrupted and self._alone:
            return Lap(1e3 * busy)
        return Lap(1e3 * wall, int(interrupted))


class CudaTimer:
    """Marks by events in the GPU's own stream: what it waits for between kernels counts."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[torch.cuda.Event] = []

    def mark(self) -> None:
        """As `Timer`."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's
        event.record(torch.cuda.current_stream(self._device))
        self._marks.append(event)

    def take(self) -> list[Lap]:
        """As `Timer`."""
        torch.cuda.synchronize(self._device)
        marks, self._marks = self._marks, []
        return [Lap(start.elapsed_time(end)) for start, end in pairwise(marks)]


def timer_of(device: torch.device, *, threads: int) -> Timer:
    """The timer for a device, on which so many CPU threads compute."""
    if device.type == "cuda":
        return CudaTimer(device)
    if device.type == "mps":
        return CpuTimer(torch.mps.synchronize)
    return CpuTimer(alone=threads == 1)


def in_turns(
    runs: Mapping[str, Callable[[], object]],
    *,
    timer: Timer,
    repeats: int,
    warm_up: int,
    seconds: float = float("inf"),
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, list[list[Lap]]]:
    """Runs each `repeats` times, one after the other, and again.

    Args:
        runs: by name; each marks its own parts with the timer.
        timer: that they mark with.
        repeats: timed rounds; at least `LEAST`.
        warm_up: rounds before, which do not count.
        seconds: the rounds are fewer where they would take longer; never less than one to warm
            up, where any is wanted, and `LEAST` timed ones.
        clock: in seconds.

    Returns: for every run its laps, round by round.
    """
    laps: dict[str, list[list[Lap]]] = {name: [] for name in runs}
    names = list(runs)
    started = clock()

    def play(shift: int) -> dict[str, list[Lap]]:
        found = {}
        for place in range(len(names)):  # who begins changes: nobody always follows the same one
            name = names[(place + shift) % len(names)]
            runs[name]()
            found[name] = timer.take()
        return found

    for number in range(warm_up):
        play(number)
        if clock() - started >= _WARM_UP_SHARE * seconds:
            break
    for number in range(max(repeats, LEAST)):
        if number >= LEAST and clock() - started >= seconds:
            break
        for name, found in play(number).items():
            laps[name].append(found)
    return laps


def timing(laps: Sequence[Lap]) -> Timing:
    """Median and spread of the laps that nothing interrupted; of the least interrupted, if few."""
    calm = [lap for lap in laps if not lap.interrupted]
    enough = max(LEAST, round(_KEPT_SHARE * len(laps)))
    if len(calm) < enough:
        calm = sorted(laps, key=lambda lap: lap.interrupted)[:enough]
    return Timing.of([lap.milliseconds for lap in calm])


def _interruptions() -> int:
    """How often this process was made to wait although it could have gone on."""
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # not on Windows
        return 0
    return getrusage(RUSAGE_SELF).ru_nivcsw
