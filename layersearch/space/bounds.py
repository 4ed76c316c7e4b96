"""Bounds: which subsets are in a search space, whatever they cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from layersearch.space.names import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Which subsets are in a search space, whatever they cost."""

    min_units: int = 0  # how many units a subset has, those that are always on included
    max_units: int | None = None
    always: tuple[str, ...] = ()  # on in every subset
    never: tuple[str, ...] = ()  # off in every subset
    # Only runs of exactly this many consecutive units by depth. Units that are always on come on
    # top and do not interrupt a run; units that are never on do.
    contiguous: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "always", tuple(self.always))
        object.__setattr__(self, "never", tuple(self.never))

    def problems(self, units: Sequence[str]) -> Iterator[str]:
        """Why these bounds cannot be kept with these units: where, what, remedy, one a line."""
        yield from self._unknown(units)
        for name in self.always:
            if name in self.never:
                yield f"space.always: {name!r} is also in space.never; take it out of one of them"
        there = len([name for name in units if name not in self.never])
        if there == 0:
            yield "space.never: no unit is left to search; take some out of it"
        if self.min_units < 0:
            yield f"space.min_units: must not be negative ({self.min_units})"
        if self.min_units > there:
            yield f"space.min_units: {self.min_units} units are more than the {there} there are"
        if self.max_units is not None:
            yield from self._problems_of_most(self.max_units)
        if self.contiguous is not None:
            yield from self._problems_of_runs(self.contiguous, there)

    def _unknown(self, units: Sequence[str]) -> Iterator[str]:
        for where, names in (("always", self.always), ("never", self.never)):
            for i, name in enumerate(names):
                if name not in units:
                    remedy = did_you_mean(name, units)
                    yield f"space.{where}[{i}]: {name!r} is not a unit of this backbone; {remedy}"

    def _problems_of_most(self, most: int) -> Iterator[str]:
        if most < 1:
            yield (
                f"space.max_units: must be at least 1 ({most}); the linear probe alone needs no "
                "search"
            )
        elif most < self.min_units:
            yield f"space.max_units: {most} is less than space.min_units {self.min_units}"
        if most < len(self.always):
            yield f"space.max_units: {most} is less than the {len(self.always)} units always on"

    def _problems_of_runs(self, length: int, there: int) -> Iterator[str]:
        free, total = there - len(self.always), length + len(self.always)
        if length < 1:
            yield f"space.contiguous: must be at least 1 ({length})"
        elif length > free:
            yield f"space.contiguous: a run of {length} is longer than the {free} units there are"
        elif total < self.min_units:
            yield (
                f"space.contiguous: a run of {length} makes {total} units, fewer than "
                f"space.min_units {self.min_units}"
            )
        elif self.max_units is not None and total > self.max_units:
            yield (
                f"space.contiguous: a run of {length} makes {total} units, more than "
                f"space.max_units {self.max_units}"
            )
