"""Bounds that a subset must keep: on what it costs, or on another metric.

`{"trainable_parameters": {"max": 200_000}, "recall[cat]": {"min": 0.8}}`: bounds on costs, known
before any training, are limits of the search space: what they rule out is never trained (hard).
Those on metrics are judged at the end: what they rule out is never chosen (soft).
"""

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from layersearch.errors import ObjectiveError
from layersearch.objectives.costs import COSTS
from layersearch.objectives.metrics import Metric, find_metric, metric_names
from layersearch.objectives.outcome import Outcome
from layersearch.space.names import did_you_mean

End = Literal["max", "min"]
_ENDS: tuple[End, ...] = ("max", "min")


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """One bound on a cost, or on a metric of the pooled validation samples."""

    name: str
    end: End
    bound: float
    metric: Metric | None = None  # None: a cost

    @property
    def key(self) -> str:
        """What the constraint is called in results: 'trainable_parameters.max'."""
        return f"{self.name}.{self.end}"

    @property
    def hard(self) -> bool:
        """Whether it is known before any training."""
        return self.metric is None

    def for_classes(self, classes: Sequence[str]) -> "Constraint":
        """The constraint for data of these classes; see `Metric.for_classes`."""
        if self.metric is None:
            return self
        return replace(self, metric=self.metric.for_classes(classes))

    def excess(self, outcome: Outcome) -> float:
        """By how much the outcome breaks the bound, in the unit of the cost; feasible when <= 0.

        Raises: ObjectiveError: if the outcome does not know the cost, or it is not finite.
        """
        if self.metric is not None:
            value = self.metric.measure(outcome.logits, outcome.targets)
        elif self.name in outcome.costs:
            value = float(outcome.costs[self.name])
        else:
            known = ", ".join(sorted(outcome.costs)) or "none"
            raise ObjectiveError(
                f"objective.constraints.{self.name}: this trial has no such cost (it has {known})"
            )
        if not math.isfinite(value):
            raise ObjectiveError(f"objective.constraints.{self.name}: must be finite (got {value})")
        return value - self.bound if self.end == "max" else self.bound - value


def read_constraints(bounds: Mapping[str, Any]) -> tuple[Constraint, ...]:
    """The constraints that `{name: {"max": …, "min": …}}` describes.

    Raises: ObjectiveError: for an unknown name, with the nearest ones; for no bound, an unknown
        one, one that is not a finite number, or a minimum above its maximum.
    """
    found = []
    for name, ends in bounds.items():
        where = f"objective.constraints.{name}"
        if not isinstance(ends, Mapping) or not ends or not set(ends) <= set(_ENDS):
            raise ObjectiveError(f"{where}: needs 'max', 'min' or both, as numbers (got {ends!r})")
        for end, bound in ends.items():
            real = isinstance(bound, numbers.Real) and not isinstance(bound, bool)
            if not real or not math.isfinite(bound):
                raise ObjectiveError(f"{where}.{end}: must be a finite number (got {bound!r})")
        if ends.get("min", -math.inf) > ends.get("max", math.inf):
            raise ObjectiveError(
                f"{where}: min {ends['min']} is above max {ends['max']}; nothing can meet both"
            )
        metric = _metric(name)
        for end in _ENDS:
            if end in ends:
                bound = float(ends[end])
                found.append(Constraint(name=name, end=end, bound=bound, metric=metric))
    return tuple(found)


def _metric(name: str) -> Metric | None:
    if name in COSTS:
        return None
    try:
        return find_metric(name)
    except ObjectiveError as error:
        meant = did_you_mean(name, [*COSTS, *metric_names()])
        raise ObjectiveError(
            f"objective.constraints: {name!r} is not a cost or a metric; {meant} "
            f"(costs: {', '.join(COSTS)})"
        ) from error
