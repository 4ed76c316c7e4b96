"""Random search: subsets drawn from the space one after the other, none of them twice."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from layersearch.space import SearchSpace, Subset, derive_seed
from layersearch.strategies.exhaustive import COUNTED
from layersearch.strategies.listed import Listed
from layersearch.strategies.protocol import MAX_FAILURES

_SMALL = 4_096  # subsets of a space that is shuffled instead of drawn from
_IN_VAIN = 200  # draws in a row that are no news; then the rest of the space is listed


def random_subsets(space: SearchSpace, *, seed: int, max_failures: int = MAX_FAILURES) -> Listed:
    """Subsets in an order that the seed fixes, whoever asks and however often."""
    count = space.count(at_most=COUNTED)
    return Listed(
        space,
        partial(draws, space, seed),
        lists=space.__contains__,
        total=None if count == COUNTED else count,
        what="random subsets",
        max_failures=max_failures,
    )


def draws(space: SearchSpace, seed: int) -> Iterator[Subset]:
    """Every subset of the space once, in random order."""
    rng = np.random.default_rng(derive_seed(seed, "random search"))
    if space.count(at_most=_SMALL + 1) <= _SMALL:
        subsets = list(space.enumerate())
        yield from (subsets[int(i)] for i in rng.permutation(len(subsets)))
        return
    seen, in_vain = set[Subset](), 0
    while in_vain < _IN_VAIN:
        subset = space.sample(rng)
        in_vain += 1
        if subset not in seen:
            seen.add(subset)
            in_vain = 0
            yield subset
    yield from (subset for subset in space.enumerate() if subset not in seen)
