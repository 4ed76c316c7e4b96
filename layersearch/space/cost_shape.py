"""CostShape: a cost that is known by the first tuned stage, and by what each tuned part adds.

Notation: f: the first stage with a tuned unit, the last stage (the head) if there is none; T: the
stages with a tuned unit; S: the tuned units.

    cost(S) = first[f] + sum of stages[s] over s in T + sum of units[u] over u in S

Costs of training and serving have this shape: everything from f on is computed anew, which is
`first`, and each tuned part costs a little more than a frozen one. It is counted in whole steps of
`scale`, so that sums are exact in any order and subsets under a limit can be counted.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CostShape:
    """A cost of subsets, in whole steps."""

    first: tuple[int, ...]  # by the first tuned stage; never rising from one stage to the next
    stages: tuple[int, ...]  # for each stage that holds tuned units, once; not negative
    units: Mapping[str, int]  # for each tuned unit; not negative
    places: Mapping[str, tuple[int, ...]]  # unit -> the stages that it is a part of
    scale: float = 1.0  # what a step stands for

    def steps(self, subset: Collection[str]) -> int:
        """The cost in steps. Raises KeyError: for an unknown unit."""
        tuned = {stage for name in subset for stage in self.places[name]}
        first = min(tuned, default=len(self.first) - 1)
        own = sum(self.units.get(name, 0) for name in subset)
        return self.first[first] + sum(self.stages[stage] for stage in tuned) + own

    def __call__(self, subset: Collection[str]) -> float:
        """The cost in its own unit."""
        steps = self.steps(subset)
        return float(steps) if self.scale == 1.0 else round(steps * self.scale, 9)

    @property
    def rises(self) -> bool:
        """Whether no subset costs less than one that it contains."""
        falling = all(a >= b for a, b in zip(self.first, self.first[1:], strict=False))
        return falling and min((0, *self.stages, *self.units.values())) >= 0
