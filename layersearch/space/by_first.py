"""Choosing free units under limits on costs that depend mostly on the first tuned stage.

n free units in order of depth. Of the choices whose first unit is i, a cost of `CostShape` has its
`first` in common, and what deeper units add is a sum. So they are the choices of a knapsack of the
units after i: under the budget of trainable parameters where the limit leaves room for all that
deeper units add, which is nearly always, or under what the limit leaves.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

import numpy as np

from layersearch.space.cost_shape import CostShape
from layersearch.space.knapsack import Knapsack

Limited = tuple[CostShape, float]  # a shape, and the most that the cost may be


class ByFirst:
    """All choices of free units under a budget of parameters and limits on shaped costs.

    Args:
        free: the names of the free units, in order of depth.
        always: the names of those that are in every choice.
        sizes: of the free units, parameters.
        budget: what they may add up to; infinite: anything.
        least, most: how many free units a choice takes.
        limited: the shapes with their limits; all must rise (`CostShape.rises`).
    """

    def __init__(
        self,
        free: Sequence[str],
        *,
        always: Sequence[str],
        sizes: Mapping[str, int],
        budget: float,
        least: int,
        most: int,
        limited: Sequence[Limited],
    ) -> None:
        self._free = tuple(free)
        self._always = tuple(always)
        self._sizes = [sizes[name] for name in free]
        self._budget = budget
        self._least, self._most = least, most
        self._limited = [(shape, steps_within(shape, limit)) for shape, limit in limited]
        self.possible = tuple(name for name in free if self._fits([name]))
        nothing = least <= 0 and budget >= 0 and self._fits([])
        self._nothing = 1 if nothing else 0  # whether the choice of no free unit is one
        knapsacks = [self._after(item) for item in range(len(self._free))]
        self._given_up = any(knapsack is None for knapsack in knapsacks)
        self._knapsacks = [knapsack for knapsack in knapsacks if knapsack is not None]
        self._counts: list[int] | None = None

    def exact(self) -> bool:
        """Whether the choices can be told; False where two limits bind at once."""
        return not self._given_up

    def count(self) -> int | None:
        """How many choices there are; None if counting them takes too long."""
        counts = self._count_each()
        return None if counts is None else sum(counts)

    def draw(self, rng: np.random.Generator) -> tuple[int, ...]:
        """A choice drawn uniformly; `count` must have been positive."""
        counts = self._count_each()
        assert counts
        total = sum(counts)
        # Exact for counts beyond 2 ** 53, where a share of the total would not be.
        drawn = int.from_bytes(rng.bytes(total.bit_length() // 8 + 8), "big") % total
        place = bisect_right(list(accumulate(counts)), drawn)
        if place == len(self._free):
            return ()
        return (place, *(place + 1 + item for item in self._knapsacks[place].draw(rng)))

    def choices(self, count: int) -> Iterator[tuple[int, ...]]:
        """The choices of exactly `count` free units, in lexicographic order."""
        if count == 0:
            yield from [()] * self._nothing
            return
        for item, knapsack in enumerate(self._knapsacks):
            left = len(knapsack.sizes)
            if knapsack.budget < 0 or count - 1 > left:
                continue
            if knapsack.cheapest(0, count - 1) <= knapsack.budget:
                for rest in knapsack.choices(count - 1):
                    yield (item, *(item + 1 + other for other in rest))

    def _count_each(self) -> list[int] | None:
        """By the first unit, then without any; None if it takes too long."""
        if self._given_up:
            return None
        if self._counts is None:
            counts = [knapsack.count() for knapsack in self._knapsacks]
            known = [count for count in counts if count is not None]
            if len(known) < len(counts):
                return None
            self._counts = [*known, self._nothing]
        return self._counts

    def _after(self, item: int) -> Knapsack | None:
        """The choices of units after the first one; None if two limits bind at once."""
        later = self._free[item + 1 :]
        sizes = self._sizes[item + 1 :]
        budget: float = self._budget - self._sizes[item]
        binding: list[tuple[list[int], int]] = []
        for shape, most in self._limited:
            room = most - shape.steps([*self._always, self._free[item]])
            together = shape.steps([*self._always, *self._free[item:]])
            if room < 0:
                budget = -1
            elif together > most:
                extras = self._extras(shape, item)
                if extras is None:
                    return None
                binding.append((extras, room))
        if budget >= 0 and binding:
            if len(binding) > 1 or sum(sizes) > budget:
                return None
            sizes, budget = binding[0]
        return Knapsack(
            sizes[: len(later)],
            budget=budget,
            least=max(self._least - 1, 0),
            most=self._most - 1,
        )

    def _extras(self, shape: CostShape, item: int) -> list[int] | None:
        """What each unit after this one adds by itself; None if some share a stage's charge."""
        paid = {s for name in (*self._always, self._free[item]) for s in shape.places[name]}
        seen: set[int] = set()
        extras = []
        for name in self._free[item + 1 :]:
            charged = [s for s in shape.places[name] if s not in paid and shape.stages[s]]
            if seen.intersection(charged):
                return None
            seen.update(charged)
            extras.append(sum(shape.stages[s] for s in charged) + shape.units.get(name, 0))
        return extras

    def _fits(self, names: Sequence[str]) -> bool:
        chosen = [*self._always, *names]
        return all(shape.steps(chosen) <= most for shape, most in self._limited)


def steps_within(shape: CostShape, limit: float) -> int:
    """The most steps whose cost is within a limit, as `shape(subset) <= limit` has it."""
    steps = int(limit / shape.scale)
    while round((steps + 1) * shape.scale, 9) <= limit:
        steps += 1
    while steps >= 0 and round(steps * shape.scale, 9) > limit:
        steps -= 1
    return steps
