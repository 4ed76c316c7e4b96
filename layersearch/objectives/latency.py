"""The table that says how much longer serving takes with a subset tuned, from plain numbers.

Notation: B: images served at once; s: a stage of the chain; f: the first stage with a tuned unit,
the head's (the last) if there is none; T: the stages with a tuned unit, and the head's. Serving one
new task beside the original (Kaplun et al. 2023, section 4) runs the stages before f once. From f
on there is a branch beside the original, which runs as it did alone: so that its answers stay the
same to the last bit. The latency added to the original's is

    overhead + tuned[head] + factor * sum over s >= f, s < head, of (tuned[s] or frozen[s])

tuned for s in T, frozen for the others; `factor`, which is near 1, is how much longer the stages
take in whole networks than where they are timed one by one.

Frozen, a stage of the branch reads weights that the original has just read; tuned, its own. Running
both branches' frozen stages as one batch of 2 B (`joined`) may be quicker, but would change the
last bits of the original's answers; it is measured for comparison.

What is added up are medians of measurements. That the sum is what a whole forked network takes is
not taken on trust: subsets that the table did not see are timed, and `error` is how far off it was.
"""

import json
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from layersearch.errors import ObjectiveError
from layersearch.space.cost_shape import CostShape

VERSION = 1
_STEPS = 2_000  # the original's latency in steps, at least; ten times as fine is noise


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Milliseconds of repeated runs."""

    median: float
    spread: float  # half the distance between the quartiles
    repeats: int

    @classmethod
    def of(cls, durations: Sequence[float]) -> "Timing":
        """Of durations in milliseconds, at least one."""
        if len(durations) == 1:
            return cls(median=_rounded(durations[0]), spread=0.0, repeats=1)
        low, median, high = statistics.quantiles(durations, n=4, method="inclusive")
        return cls(
            median=_rounded(median), spread=_rounded((high - low) / 2), repeats=len(durations)
        )


@dataclass(frozen=True, kw_only=True)
class StageTiming:
    """What one stage takes, in milliseconds for a batch."""

    alone: Timing  # in the original
    frozen: Timing  # in a branch that does not tune it
    tuned: Timing  # in a branch that does
    joined: Timing | None = None  # the original on a batch of 2 B; None: that cannot be


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A subset whose whole forked network was timed, and no part of the table."""

    subset: tuple[str, ...]
    predicted: float  # added milliseconds
    measured: float
    spread: float  # of the measured ones


@dataclass(frozen=True, kw_only=True)
class TableError:
    """How far predictions were from measurements of whole forked networks, in milliseconds."""

    mean: float  # of the absolute differences
    largest: float
    subsets: int


@dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """Added serving latency of any subset of one backbone, on one device."""

    backbone: str  # its name
    architecture: str  # key of what the numbers are of: the shapes of its stages and units
    device: str  # in words, such as 'cpu (AMD EPYC 7763)'
    batch_size: int
    precision: str  # 'fp32', 'bf16' or 'fp16'
    threads: int  # of the CPU
    torch: str  # its version
    traced: bool  # False: the backbone cannot be cut, so that a task is a second whole network
    original: Timing  # of the whole original network
    overhead: float  # milliseconds that forking takes beside the stages
    stages: tuple[StageTiming, ...]  # the last is the head's
    units: Mapping[str, tuple[int, ...]]  # unit -> the stages that it is a part of, by depth
    held_out: tuple[HeldOut, ...] = ()
    factor: float = 1.0  # by which stages take longer in whole networks

    def predict(self, subset: Collection[str]) -> float:
        """Added milliseconds: of the original and this subset's task, beyond the original alone.

        Raises: ObjectiveError: for a unit that is not in the table.
        """
        try:
            return self.shape(subset)
        except KeyError as error:
            raise ObjectiveError(
                f"latency_ms: {error.args[0]!r} is not in the latency table of {self.backbone}; "
                "measure it again for these units"
            ) from error

    @property
    def error(self) -> TableError | None:
        """Of the predictions for the held-out subsets; None if there are none."""
        off = [abs(held.predicted - held.measured) for held in self.held_out]
        if not off:
            return None
        return TableError(mean=statistics.fmean(off), largest=max(off), subsets=len(off))

    @cached_property
    def shape(self) -> CostShape:
        """The latency as a cost of subsets, in steps of a 2,000th of the original's or finer.

        What noise has made negative counts as nothing: tuning more never serves faster.
        """
        scale = self._scale()

        def steps(milliseconds: float) -> int:
            return max(0, round(milliseconds / scale))

        first = [steps(self.overhead + self.stages[-1].tuned.median)]
        extra = [0]
        for stage in reversed(self.stages[:-1]):
            first.append(first[-1] + steps(self.factor * stage.frozen.median))
            extra.append(steps(self.factor * (stage.tuned.median - stage.frozen.median)))
        return CostShape(
            first=tuple(reversed(first)),
            stages=tuple(reversed(extra)),
            units={},
            places=self.units,
            scale=scale,
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` reads them."""
        return {"version": VERSION, **_plain(asdict(self))}

    @classmethod
    def from_json(cls, values: Any, *, where: str = "latency table") -> "LatencyTable":
        """The table that `to_json` made.

        Raises: ObjectiveError: it is none, of another version, or damaged.
        """
        if not isinstance(values, Mapping) or "stages" not in values:
            raise ObjectiveError(f"{where}: is no latency table; measure one: layersearch latency")
        if values.get("version") != VERSION:
            raise ObjectiveError(
                f"{where}: is a latency table of version {values.get('version')!r}, "
                f"this reads {VERSION}; measure it again"
            )
        try:
            return cls(
                **{
                    **{f.name: values[f.name] for f in fields(cls) if f.name in values},
                    "original": Timing(**values["original"]),
                    "stages": tuple(_stage(stage) for stage in values["stages"]),
                    "units": {name: tuple(at) for name, at in values["units"].items()},
                    "held_out": tuple(
                        HeldOut(**{**held, "subset": tuple(held["subset"])})
                        for held in values["held_out"]
                    ),
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ObjectiveError(f"{where}: is damaged ({error}); measure it again") from error

    @classmethod
    def read(cls, text: str, *, where: str) -> "LatencyTable":
        """The table of a JSON text. Raises: ObjectiveError: as `from_json`, or it is no JSON."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ObjectiveError(f"{where}: is no JSON ({error})") from error
        return cls.from_json(values, where=where)

    def _scale(self) -> float:
        digits = 0
        while self.original.median * 10**digits < _STEPS and digits < 9:  # 9: a picosecond
            digits += 1
        return float(f"1e-{digits}")


def _rounded(milliseconds: float) -> float:
    return round(milliseconds, 6)  # to a nanosecond


def _stage(values: Mapping[str, Any]) -> StageTiming:
    joined = values["joined"]
    return StageTiming(
        alone=Timing(**values["alone"]),
        frozen=Timing(**values["frozen"]),
        tuned=Timing(**values["tuned"]),
        joined=None if joined is None else Timing(**joined),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
