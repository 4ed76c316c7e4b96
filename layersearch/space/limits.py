"""Limits: what a subset costs, known before any training, and how much it may cost."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from layersearch.errors import SpaceError
from layersearch.space.names import did_you_mean
from layersearch.space.subset import Subset
from layersearch.space.unit import Unit

PARAMETERS = "trainable_parameters"  # the cost that does not fall when a unit is added

_CACHED = 65_536  # subsets whose costs are kept


class Limits:
    """What subsets cost and how much they may.

    Args:
        units: all of the space.
        limits: cost name -> maximum.
        floors: cost name -> minimum.
        costs: subset -> {cost name: value}, in addition to the sum of the units' parameters,
            which it may replace by its own `trainable_parameters`.

    Raises:
        SpaceError: a limit on an unknown cost, or below 0.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        limits: Mapping[str, float],
        costs: Callable[[Subset], Mapping[str, float]] | None,
        *,
        floors: Mapping[str, float] | None = None,
    ) -> None:
        self.maximum = dict(limits)
        self.minimum = dict(floors or {})
        self.numel = {unit.name: unit.numel for unit in units}
        self._user_costs = costs
        self.costs = lru_cache(maxsize=_CACHED)(self._compute)
        known = self.costs(Subset()) if self else {}
        for name, limit in (*self.maximum.items(), *self.minimum.items()):
            if name not in known:
                remedy = did_you_mean(name, known)
                raise SpaceError(f"objective.constraints: the cost {name!r} is unknown; {remedy}")
            if not limit >= 0:
                raise SpaceError(f"objective.constraints.{name}: must not be negative ({limit})")

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "costs"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.costs = lru_cache(maxsize=_CACHED)(self._compute)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.maximum or self.minimum)

    def why_over(self, subset: Subset) -> str | None:
        """Which limit the subset breaks, in words; None if it is within all of them."""
        if not self:
            return None
        costs = self.costs(subset)
        for name, limit in self.maximum.items():
            if not costs[name] <= limit:
                return f"{name} {_plain(costs[name])} > {_plain(limit)}"
        for name, limit in self.minimum.items():
            if not costs[name] >= limit:
                return f"{name} {_plain(costs[name])} < {_plain(limit)}"
        return None

    def excess(self, subset: Subset) -> float:
        """The largest ratio of a cost to its maximum, or of a minimum to its cost; inside up to 1.

        Below 0, as a cost that is measured may be, everything is within a maximum.
        """
        costs = self.costs(subset)
        over = [costs[name] / max(limit, 1e-9) for name, limit in self.maximum.items()]
        under = [limit / max(costs[name], 1e-9) for name, limit in self.minimum.items()]
        return max(over + under)

    def trainable_parameters(self, subset: Subset) -> int:
        """How many values a trial of this subset tunes, without its head."""
        if self._user_costs is None:
            return self.size(subset)
        return int(self.costs(subset)[PARAMETERS])

    def size(self, subset: Subset) -> int:
        """The sum of the units' parameters."""
        return sum(self.numel.get(name, 0) for name in subset)

    @cached_property
    def budget(self) -> float:
        """What the units' parameters may add up to; infinite where the sum is not what is limited.

        A cost function of the user's may say how many parameters are trained. It is taken for
        the sum if it equals it for nothing, for every single unit and for everything.
        """
        limit = self.maximum.get(PARAMETERS, float("inf"))
        if self._user_costs is None or PARAMETERS not in self.maximum:
            return limit
        probes = [Subset(), Subset(self.numel), *(Subset([name]) for name in self.numel)]
        is_sum = all(self.costs(probe)[PARAMETERS] == self.size(probe) for probe in probes)
        return limit if is_sum else float("inf")

    @property
    def beyond_budget(self) -> bool:
        """Whether there are limits that `budget` does not stand for."""
        others = any(name != PARAMETERS for name in self.maximum) or bool(self.minimum)
        return others or self.own_count

    @property
    def own_count(self) -> bool:
        """Whether trainable parameters are limited, but are not the sum of the units'."""
        return PARAMETERS in self.maximum and self.budget != self.maximum[PARAMETERS]

    def _compute(self, subset: Subset) -> Mapping[str, float]:
        own = {PARAMETERS: float(self.size(subset))}
        return own if self._user_costs is None else {**own, **self._user_costs(subset)}


def _plain(value: float) -> str:
    """Whole numbers in full, others to as many digits as tell them from a limit nearby."""
    return str(int(value)) if float(value).is_integer() else f"{value:.6g}"
