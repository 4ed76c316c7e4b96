"""Exhaustive search: every subset of the space, in order of size, then of depth."""

from layersearch.space import SearchSpace
from layersearch.strategies.listed import Listed
from layersearch.strategies.protocol import MAX_FAILURES

COUNTED = 1_000_000  # beyond it the space is called very large instead of counted


def every_subset(space: SearchSpace, *, max_failures: int = MAX_FAILURES) -> Listed:
    """Every subset of the space; the answer is the best of all."""
    count = space.count(at_most=COUNTED)
    return Listed(
        space,
        space.enumerate,
        lists=space.__contains__,
        total=None if count == COUNTED else count,
        what="subsets of the space",
        max_failures=max_failures,
    )
