"""Choosing items under a budget: counting the choices, drawing one uniformly, listing them.

n items of integer sizes, in a fixed order; a choice takes between `least` and `most` of them and
its sizes add up to at most `budget`. Counting is exact: dynamic programming over the pairs
(items taken, size spent) that can be reached, which stops where the rest is unconstrained and
binomial coefficients finish the job. Without a budget that is at the first item.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, combinations

import numpy as np
from numpy.typing import NDArray

_State = tuple[int, int]  # (items taken, size spent)


class Knapsack:
    """All choices of items under a budget.

    Args:
        sizes: of the items, not negative.
        budget: what the sizes of a choice may add up to; infinite: anything.
        least, most: how many items a choice takes.
        max_states: the dynamic programming gives up beyond that many states (`count` is None).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        budget: float,
        least: int,
        most: int,
        max_states: int = 300_000,
    ) -> None:
        self.sizes = tuple(sizes)
        self.budget = budget
        self.least = max(least, 0)
        self.most = min(most, len(self.sizes))
        self._max_states = max_states
        self._rest = [*reversed(list(accumulate(reversed(self.sizes)))), 0]  # sum of sizes[i:]
        self._sorted: dict[int, list[int]] = {}
        self._ways: list[dict[_State, int]] | None = None
        self._given_up = False
        self._count: int | None = None
        self._shares: dict[_State, NDArray[np.float64]] = {}  # of the counts of free items

    def cheapest(self, start: int, count: int) -> int:
        """The smallest sum of `count` sizes among items `start`, `start` + 1 and so on."""
        if start not in self._sorted:
            self._sorted[start] = [0, *accumulate(sorted(self.sizes[start:]))]
        return self._sorted[start][count]

    def cheapest_items(self, count: int) -> tuple[int, ...]:
        """The `count` items of the smallest sizes, in order."""
        by_size = sorted(range(len(self.sizes)), key=lambda item: (self.sizes[item], item))
        return tuple(sorted(by_size[:count]))

    def possible(self) -> bool:
        """Whether there is any choice."""
        return self.least <= self.most and self.cheapest(0, self.least) <= self.budget

    def count(self) -> int | None:
        """How many choices there are; None if counting them takes too many states."""
        if not self.possible():
            return 0
        if self._ways is None and not self._given_up:
            self._ways = self._tabulate()
            self._given_up = self._ways is None
            if self._ways is not None:
                self._count = self._number(0, (0, 0), self._ways)
        return self._count

    def draw(self, rng: np.random.Generator) -> tuple[int, ...]:
        """A choice drawn uniformly; `count` must have been positive."""
        total = self.count()
        assert total
        assert self._ways is not None
        state, items = (0, 0), list[int]()
        for item, size in enumerate(self.sizes):
            if state[1] + self._rest[item] <= self.budget:  # nothing limits the rest but its number
                return (*items, *self._draw_free(item, state[0], rng))
            taken = (state[0] + 1, state[1] + size)
            with_item = self._number(item + 1, taken, self._ways)
            without = self._number(item + 1, state, self._ways)
            if rng.random() < with_item / (with_item + without):
                items.append(item)
                state = taken
        return tuple(items)

    def choices(self, count: int) -> Iterator[tuple[int, ...]]:
        """The choices of exactly `count` items, in lexicographic order; no dead ends are walked."""
        if self._rest[0] <= self.budget:
            return combinations(range(len(self.sizes)), count)
        return self._walk(0, count, 0, ())

    def _walk(
        self, start: int, count: int, spent: int, items: tuple[int, ...]
    ) -> Iterator[tuple[int, ...]]:
        if count == 0:
            if spent <= self.budget:
                yield items
            return
        for item in range(start, len(self.sizes) - count + 1):
            cost = spent + self.sizes[item]
            if cost + self.cheapest(item + 1, count - 1) <= self.budget:
                yield from self._walk(item + 1, count - 1, cost, (*items, item))

    def _tabulate(self) -> list[dict[_State, int]] | None:
        layers: list[dict[_State, int]] = [{(0, 0): 0}]
        states = 0
        for item, size in enumerate(self.sizes):
            following: dict[_State, int] = {}
            for taken, spent in layers[item]:
                if self._closed_form(item, (taken, spent)) is None:
                    following[(taken, spent)] = 0
                    following[(taken + 1, spent + size)] = 0
            states += len(following)
            if states > self._max_states:
                return None
            layers.append(following)
        for item in reversed(range(len(self.sizes))):
            size = self.sizes[item]
            for taken, spent in layers[item]:
                layers[item][taken, spent] = self._number(
                    item + 1, (taken, spent), layers
                ) + self._number(item + 1, (taken + 1, spent + size), layers)
        return layers

    def _number(self, item: int, state: _State, layers: list[dict[_State, int]]) -> int:
        closed = self._closed_form(item, state)
        return layers[item][state] if closed is None else closed

    def _closed_form(self, item: int, state: _State) -> int | None:
        """How many ways to go on from a state, where that needs no table."""
        taken, spent = state
        left = len(self.sizes) - item
        need = max(self.least - taken, 0)
        if taken > self.most or need > left or spent + self.cheapest(item, need) > self.budget:
            return 0
        if spent + self._rest[item] > self.budget:
            return None
        return sum(math.comb(left, k) for k in range(need, min(left, self.most - taken) + 1))

    def _draw_free(self, start: int, taken: int, rng: np.random.Generator) -> list[int]:
        """Items from `start` on, of which any will do as long as they are not too many or few."""
        left = len(self.sizes) - start
        need = max(self.least - taken, 0)
        if (start, taken) not in self._shares:
            counts = range(need, min(left, self.most - taken) + 1)
            ways = list(accumulate(math.comb(left, count) for count in counts))
            self._shares[start, taken] = np.array([share / ways[-1] for share in ways])
        count = need + int(np.searchsorted(self._shares[start, taken], rng.random(), side="right"))
        return sorted((start + rng.permutation(left)[:count]).tolist())
