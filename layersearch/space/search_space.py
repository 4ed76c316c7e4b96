"""SearchSpace: which subsets of the units a search may try, and what each costs.

A subset is in the space if its size, its fixed units, its shape (`Bounds`) and its costs
(`limits`) are allowed, all of which is known before anything is trained. n: free units, those
that are neither always on nor never.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import combinations, islice
from typing import Any

import numpy as np

from layersearch.errors import SpaceError
from layersearch.space.bounds import Bounds
from layersearch.space.by_first import ByFirst
from layersearch.space.cost_shape import CostShape
from layersearch.space.knapsack import Knapsack
from layersearch.space.limits import PARAMETERS, Limits
from layersearch.space.names import did_you_mean
from layersearch.space.subset import Subset
from layersearch.space.unit import Unit

NOTHING = ("none", "linear_probe")  # words for the empty subset
EVERYTHING = ("all", "full_finetune")  # words for the subset of all units

_TRIES = 100  # draws that may be rejected before a subset is repaired instead
_SEARCHED = 2_000  # subsets looked at for one that fits the limits, before a search starts


class SearchSpace:
    """The subsets that a search may try.

    Args:
        units: what is switched on and off; they are put in order of depth.
        bounds: sizes, fixed units, runs.
        limits: cost name -> maximum; a subset over any of them is not in the space.
        floors: cost name -> minimum; the same below.
        costs: subset -> {cost name: value}. `trainable_parameters`, the sum of the units' sizes,
            is known without it, and must not fall when a unit is added.
        shapes: of costs, by name, where they have one: limits on them are counted and drawn under
            without trying subsets.

    Raises:
        SpaceError: unknown units, bounds or limits that leave nothing to search.
    """

    units: tuple[Unit, ...]  # in order of depth
    free: tuple[str, ...]  # the names of those that are switched, in order of depth
    limits: Mapping[str, float]  # cost name -> maximum
    floors: Mapping[str, float]  # cost name -> minimum

    def __init__(
        self,
        units: Sequence[Unit],
        *,
        bounds: Bounds = Bounds(),  # noqa: B008 (frozen)
        limits: Mapping[str, float] | None = None,
        floors: Mapping[str, float] | None = None,
        costs: Callable[[Subset], Mapping[str, float]] | None = None,
        shapes: Mapping[str, CostShape] | None = None,
    ) -> None:
        self.units = tuple(sorted(units, key=lambda unit: unit.depth))
        self.bounds = bounds
        self._position = {unit.name: i for i, unit in enumerate(self.units)}
        fixed = {*bounds.always, *bounds.never}
        self.free = tuple(unit.name for unit in self.units if unit.name not in fixed)
        self._always = self._ordered(bounds.always)
        self._check_bounds()
        self._limits = Limits(self.units, limits or {}, costs, floors=floors)
        self.limits = self._limits.maximum
        self.floors = self._limits.minimum
        self._shapes = dict(shapes or {})
        self._check_not_empty()

    def subset(self, names: Iterable[str], *, where: str = "subset") -> Subset:
        """The units of these names as a subset, in order of depth; it may be outside the space.

        Also takes the words 'none' or 'linear_probe', and 'all' or 'full_finetune'. `where` is
        what a message calls them.

        Raises:
            SpaceError: a name is unknown; the message names the nearest.
        """
        given = [names] if isinstance(names, str) else list(names)
        if len(given) == 1 and given[0] not in self._position:
            if given[0] in NOTHING:
                return Subset()
            if given[0] in EVERYTHING:
                return Subset(unit.name for unit in self.units)
        self._check_known(where, given, words=(*NOTHING, *EVERYTHING) if len(given) == 1 else ())
        return self._ordered(given)

    def why_not(self, subset: Subset) -> str | None:
        """The reason why a subset is outside the space, in words; None for one that is inside."""
        return self._why_not_in_bounds(subset) or self.why_over(subset)

    def why_over(self, subset: Subset) -> str | None:
        """The limit that a subset costs too much for, in words; bounds are not looked at."""
        return self._limits.why_over(subset)

    def __contains__(self, subset: object) -> bool:
        return isinstance(subset, Subset) and self.why_not(subset) is None

    def costs(self, subset: Subset) -> Mapping[str, float]:
        """What the subset costs, by name; `trainable_parameters` is always among them."""
        return self._limits.costs(subset)

    def trainable_parameters(self, subset: Subset) -> int:
        """How many values of the backbone a trial of this subset tunes, without its head."""
        return self._limits.trainable_parameters(subset)

    def count(self, *, at_most: int | None = None) -> int:
        """How many subsets are in the space; counting stops at `at_most`.

        Exact and quick without limits, and with those on trainable parameters and on costs whose
        shape is known, unless several bind at once; with other limits the subsets are listed to be
        counted, which takes as long as there are subsets: say `at_most` where there may be many.
        """
        counted = None
        if self._by_first is not None:
            counted = self._by_first.count()
        elif self._runs is None and not self._limits.beyond_budget:
            counted = self._knapsack.count()
        if counted is None:
            counted = sum(1 for _ in islice(self.enumerate(), at_most))
        return counted if at_most is None else min(counted, at_most)

    def enumerate(self) -> Iterator[Subset]:
        """The subsets in the space, in order of size, then of depth."""
        for subset in self._candidates():
            if self._limits.why_over(subset) is None:
                yield subset

    def runs(self, length: int) -> tuple[Subset, ...]:
        """Every run of `length` consecutive units, with the units that are always on.

        They keep to the fixed units, not to the other bounds and limits.
        """
        runs = []
        for start in range(len(self.free) - length + 1):
            run = self.free[start : start + length]
            between = self.units[self._position[run[0]] : self._position[run[-1]]]
            if length > 0 and not any(unit.name in self.bounds.never for unit in between):
                runs.append(self._ordered((*self.bounds.always, *run)))
        return tuple(runs)

    def sample(self, rng: np.random.Generator) -> Subset:
        """A subset of the space, drawn uniformly, or nearly so where limits are narrow."""
        for _ in range(_TRIES):
            subset = self._draw(rng)
            if self._limits.why_over(subset) is None:
                return subset
        return self.repair(self._draw(rng), rng)

    def neighbours(self, subset: Subset) -> Iterator[Subset]:
        """The subsets of the space with one unit more, then one less, then one swapped.

        Each in order of depth.
        """
        off = [name for name in self.free if name not in subset]
        on = [name for name in self.free if name in subset]
        for name in off:
            yield from self._inside((*subset, name))
        for name in on:
            yield from self._inside(other for other in subset if other != name)
        for name in on:
            for other in off:
                yield from self._inside((*(kept for kept in subset if kept != name), other))

    def repair(self, subset: Subset, rng: np.random.Generator) -> Subset:
        """A subset of the space near this one: units are removed, then added, at random."""
        if self.why_not(subset) is None:
            return subset
        if self._runs is not None:
            return self._nearest_run(subset, rng)
        possible = self.free if self._by_first is None else self._by_first.possible
        wanted = [name for name in possible if name in subset]
        others = [name for name in possible if name not in subset]
        order = [*_shuffled(wanted, rng), *_shuffled(others, rng)]
        repaired = self._filled(order, wanted=len(wanted))
        return repaired if self.why_not(repaired) is None else self._shrunk(repaired, rng)

    def to_parameters(self, subset: Subset) -> dict[str, bool]:
        """One boolean a free unit, named after it."""
        return {name: name in subset for name in self.free}

    def from_parameters(self, parameters: Mapping[str, bool]) -> Subset:
        """The subset of these booleans; the other way round than `to_parameters`.

        Raises:
            SpaceError: a name is not that of a free unit.
        """
        for name in parameters:
            if name not in self.free:
                remedy = did_you_mean(name, self.free)
                raise SpaceError(f"space: {name!r} is not a unit that is switched; {remedy}")
        on = (name for name, value in parameters.items() if value)
        return self._ordered((*self.bounds.always, *on))

    def positions(self, subset: Subset) -> tuple[int, ...]:
        """Where its units stand in the order of depth: for ties, the smaller comes first."""
        return tuple(self._position[name] for name in subset)

    def describe(self) -> dict[str, Any]:
        """The space in plain values, for a study's fingerprint."""
        units = [{"name": u.name, "depth": u.depth, "numel": u.numel} for u in self.units]
        bounds = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.bounds).items()}
        described = {
            "units": units,
            "bounds": bounds,
            "limits": dict(sorted(self._limits.maximum.items())),
        }
        if self._limits.minimum:
            described["floors"] = dict(sorted(self._limits.minimum.items()))
        return described

    # --- Refusals, before any work ----------------------------------------------------------------

    def _check_known(self, where: str, names: Sequence[str], *, words: Sequence[str] = ()) -> None:
        known = (*self._position, *words)
        unknown = [
            f"{where}: {name!r} is no unit of this backbone; {did_you_mean(name, known)}"
            for name in names
            if name not in self._position
        ]
        if unknown:
            raise SpaceError("; ".join(unknown))

    def _check_bounds(self) -> None:
        names = [unit.name for unit in self.units]
        problems = [] if names else ["space.units: there is no unit to search"]
        problems += [
            f"space.units: {name!r} is there more than once"
            for name in dict.fromkeys(names)
            if names.count(name) > 1
        ]
        problems += self.bounds.problems(names) if names else []
        if problems:
            raise SpaceError("\n".join(problems))
        if self._runs == ():
            raise SpaceError(
                f"space.contiguous: no {self.bounds.contiguous} units are consecutive once those "
                f"of space.never ({', '.join(self.bounds.never)}) are left out"
            )

    def _check_not_empty(self) -> None:
        """The linear probe alone is no search, so one more subset must be within the limits."""
        if not self._limits:
            return
        nearest: tuple[float, Subset] | None = None
        for seen, subset in enumerate(self._some_candidates()):
            if self._limits.why_over(subset) is None:
                return
            excess = self._limits.excess(subset)
            if nearest is None or excess < nearest[0]:
                nearest = (excess, subset)
            if seen == 0 and self._runs is None and self._limits.size(subset) > self._limits.budget:
                break  # it has the fewest parameters of all
            if seen == _SEARCHED:
                if len(self.limits) + len(self._limits.minimum) > 1:
                    return  # what is near one limit may be far from another: nothing is certain
                nearest = self._descended(*nearest)
                break
        assert nearest is not None
        why = self._limits.why_over(nearest[1])
        if why is None:
            return
        below = " < " in why
        which, what = (
            ("nearest", "lower the minimum") if below else ("cheapest", "raise the maximum")
        )
        raise SpaceError(
            f"objective.constraints: they leave nothing to search; the {which} subset, "
            f"{nearest[1]}, has {why}; {what}"
        )

    def _descended(self, excess: float, subset: Subset) -> tuple[float, Subset]:
        """The subset that is left when no swap of one unit brings a cost nearer to its limit."""
        while True:
            on = [name for name in self.free if name in subset]
            off = [name for name in self.free if name not in subset]
            swapped = (
                self._ordered((*(kept for kept in subset if kept != name), other))
                for name in on
                for other in off
            )
            better = min(((self._limits.excess(s), s.names, s) for s in swapped), default=None)
            if better is None or better[0] >= excess:
                return excess, subset
            excess, subset = better[0], better[2]

    def _some_candidates(self) -> Iterator[Subset]:
        """Subsets within the bounds, whatever they cost, from the one of fewest parameters."""
        if self._runs is not None:
            yield from self._runs
            return
        low, high = self._free_sizes()
        low = max(low, 0 if self._always else 1)
        yield self._from_items(self._knapsack.cheapest_items(low))
        free = len(self.free)
        yield self._from_items(range(free - low, free))  # the deepest: of the shortest way back
        yield self._from_items(range(free - high, free))
        for size in range(low, high + 1):
            yield from map(self._from_items, combinations(range(free), size))

    # --- Inside or outside ------------------------------------------------------------------------

    def _why_not_in_bounds(self, subset: Subset) -> str | None:
        bounds, size = self.bounds, len(subset)
        for name in subset:
            if name not in self._position:
                return f"{name} is not a unit of this space"
            if name in bounds.never:
                return f"{name} is never on"
        for name in bounds.always:
            if name not in subset:
                return f"{name} is always on"
        if size < bounds.min_units:
            return f"{size} units < min_units {bounds.min_units}"
        if bounds.max_units is not None and size > bounds.max_units:
            return f"{size} units > max_units {bounds.max_units}"
        if self._runs is not None and subset not in self._runs_set:
            return f"not a run of {bounds.contiguous} consecutive units"
        return None

    def _inside(self, names: Iterable[str]) -> Iterator[Subset]:
        subset = self._ordered(names)
        if self.why_not(subset) is None:
            yield subset

    # --- Choosing among the free units ------------------------------------------------------------

    @cached_property
    def _knapsack(self) -> Knapsack:
        low, high = self._free_sizes()
        return Knapsack(
            [self._limits.numel[name] for name in self.free],
            budget=self._limits.budget - self._limits.size(self._always),
            least=low,
            most=high,
        )

    @cached_property
    def _by_first(self) -> ByFirst | None:
        """The choices under limits on costs of a known shape; None: there are other limits."""
        shaped = [name for name in self.limits if name != PARAMETERS or self._limits.own_count]
        known = all(name in self._shapes and self._shapes[name].rises for name in shaped)
        if self._runs is not None or not shaped or not known or self._limits.minimum:
            return None
        low, high = self._free_sizes()
        found = ByFirst(
            self.free,
            always=self._always.names,
            sizes=self._limits.numel,
            budget=self._limits.budget - self._limits.size(self._always),
            least=low,
            most=high,
            limited=[(self._shapes[name], self.limits[name]) for name in shaped],
        )
        return found if found.exact() else None

    def _free_sizes(self) -> tuple[int, int]:
        """How many free units a subset has, at least and at most."""
        fixed, most = len(self._always), self.bounds.max_units
        high = len(self.free) if most is None else min(len(self.free), most - fixed)
        return max(self.bounds.min_units - fixed, 0), high

    @cached_property
    def _runs(self) -> tuple[Subset, ...] | None:
        if self.bounds.contiguous is None:
            return None
        low, high = self.bounds.min_units, self.bounds.max_units
        return tuple(
            run
            for run in self.runs(self.bounds.contiguous)
            if low <= len(run) and (high is None or len(run) <= high)
        )

    @cached_property
    def _runs_set(self) -> frozenset[Subset]:
        return frozenset(self._runs or ())

    def _candidates(self) -> Iterator[Subset]:
        """The subsets within the bounds, without those whose trainable parameters are too many."""
        if self._runs is not None:
            yield from self._runs
            return
        low, high = self._free_sizes()
        for size in range(low, high + 1):
            yield from (self._from_items(items) for items in self._choices(size))

    def _choices(self, size: int) -> Iterator[tuple[int, ...]]:
        if self._by_first is not None:
            return self._by_first.choices(size)
        if not self._limits.own_count:
            return self._knapsack.choices(size)
        return self._costed_choices(0, size, ())

    def _costed_choices(
        self, start: int, size: int, items: tuple[int, ...]
    ) -> Iterator[tuple[int, ...]]:
        # Trainable parameters do not fall when units are added: what is over stays over.
        if self.costs(self._from_items(items))[PARAMETERS] > self._limits.maximum[PARAMETERS]:
            return
        if size == 0:
            yield items
            return
        for item in range(start, len(self.free) - size + 1):
            yield from self._costed_choices(item + 1, size - 1, (*items, item))

    def _draw(self, rng: np.random.Generator) -> Subset:
        if self._runs is not None:
            return self._runs[int(rng.integers(len(self._runs)))]
        if self._by_first is not None and self._by_first.count():
            return self._from_items(self._by_first.draw(rng))
        if self._knapsack.count():
            return self._from_items(self._knapsack.draw(rng))
        low, high = self._free_sizes()
        size = int(rng.integers(low, high + 1))
        return self._filled(_shuffled(self.free, rng), wanted=size)

    def _filled(self, order: Sequence[str], *, wanted: int) -> Subset:
        """Units taken in this order while what is still needed after them fits the budget."""
        low, high = self._free_sizes()
        target = min(max(wanted, low), high)
        budget = self._knapsack.budget
        spent, chosen = 0, list[str]()
        left = sorted((self._limits.numel[name], name) for name in order)
        for place, name in enumerate(order):
            if len(chosen) >= target or (place >= wanted and len(chosen) >= low):
                break
            left.remove((self._limits.numel[name], name))
            need = max(low - len(chosen) - 1, 0)
            cost = spent + self._limits.numel[name]
            if need <= len(left) and cost + sum(size for size, _ in left[:need]) <= budget:
                spent = cost
                chosen.append(name)
        return self._ordered((*self.bounds.always, *chosen))

    def _shrunk(self, subset: Subset, rng: np.random.Generator) -> Subset:
        """Units removed at random until all limits hold; the space's first subset if none does."""
        for _ in range(_TRIES):
            names = _shuffled([name for name in self.free if name in subset], rng)
            while names:
                names.pop()
                shrunk = self._ordered((*self.bounds.always, *names))
                if self.why_not(shrunk) is None:
                    return shrunk
            subset = self._draw(rng)
            if self.why_not(subset) is None:
                return subset
        for first in self.enumerate():
            return first
        raise SpaceError("space: no subset is within the limits; raise objective.constraints")

    def _nearest_run(self, subset: Subset, rng: np.random.Generator) -> Subset:
        runs = list(self.enumerate())
        shared = [sum(name in subset for name in run) for run in runs]
        nearest = [run for run, count in zip(runs, shared, strict=True) if count == max(shared)]
        return nearest[int(rng.integers(len(nearest)))]

    def _from_items(self, items: Iterable[int]) -> Subset:
        names = [self.free[item] for item in items]
        return self._ordered((*self.bounds.always, *names)) if self.bounds.always else Subset(names)

    def _ordered(self, names: Iterable[str]) -> Subset:
        position = self._position
        return Subset(sorted(names, key=lambda name: position.get(name, len(position))))


def _shuffled(names: Sequence[str], rng: np.random.Generator) -> list[str]:
    return [names[int(i)] for i in rng.permutation(len(names))]
