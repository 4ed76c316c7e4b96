"""Turning any wish into a subset that is worth training: in the space, and not tried before."""

from itertools import chain, islice

import numpy as np

from layersearch.space import SearchSpace, Subset
from layersearch.strategies.protocol import Done, Ledger, Wait

_DRAWS = 200  # samples of the space that may all be known before it is listed


class Fresh:
    """The subsets of a space that are open.

    Args:
        space: the subsets that may be tried.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._at_least = 0  # so many subsets are in the space

    def near(self, wish: Subset, ledger: Ledger, rng: np.random.Generator) -> Subset | None:
        """The wish itself, repaired, if it is open; else an open neighbour; else any open subset.

        None if every subset of the space is settled or running.
        """
        wish = self.space.repair(wish, rng)
        if ledger.open(wish):
            return wish
        some = islice(self.space.neighbours(wish), 2 * len(self.space.free))
        neighbours = [subset for subset in some if ledger.open(subset)]
        if neighbours:
            return neighbours[int(rng.integers(len(neighbours)))]
        if self.exhausted(ledger) is not None:
            return None
        drawn = (self.space.sample(rng) for _ in range(_DRAWS))
        return next(filter(ledger.open, chain(drawn, self.space.enumerate())), None)

    def exhausted(self, ledger: Ledger) -> Wait | Done | None:
        """What to do if no subset of the space is open; None if there is one."""
        if self._has_more_than(ledger.taken_at_most):
            return None
        taken = {*ledger.settled_subsets(), *ledger.running}
        if self._has_more_than(len(taken)):
            return None
        inside = {subset for subset in taken if subset in self.space}
        if self._has_more_than(len(inside)):
            return None
        running = [subset for subset in inside if not ledger.settled(subset)]
        if running:
            return Wait(f"the last {len(running)} subsets of the space are running")
        return Done(f"all {len(inside)} subsets of the space are tried")

    def _has_more_than(self, count: int) -> bool:
        if self._at_least <= count:
            self._at_least = self.space.count(at_most=2 * count + 64)
        return self._at_least > count
