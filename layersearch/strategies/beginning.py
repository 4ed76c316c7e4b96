"""Where a greedy search begins."""

from collections.abc import Iterator
from itertools import islice, takewhile

from layersearch.errors import ConfigError, Problem
from layersearch.space import SearchSpace, Subset

MAX_FIRST_ROUND = 1_000  # trials; beyond it a search that begins in the middle is refused


def find_start(space: SearchSpace, *, forward: bool) -> Subset | None:
    """The subset that units are added to or left out of; None: the smallest subsets come first.

    Forward: the units that are always on. Backward: everything, without the largest units where
    that is over a limit.
    """
    always = space.bounds.always
    if space.bounds.contiguous is not None:
        return None  # runs are not built from one another
    if forward:
        start = space.subset(always)
        return start if start in space else None
    left = sorted(space.free, key=lambda name: space.trainable_parameters(space.subset([name])))
    while left:
        start = space.subset((*always, *left))
        if start in space:
            return start
        left.pop()
    return None


def smallest_subsets(space: SearchSpace) -> Iterator[Subset]:
    """All subsets of the space that have as few units as any."""
    subsets = space.enumerate()
    first = next(subsets, None)
    if first is not None:
        yield first
        yield from takewhile(lambda subset: len(subset) == len(first), subsets)


def check_first_round(space: SearchSpace) -> None:
    """Subsets that are not built up one by one are as many as there are of them.

    Raises:
        ConfigError: that is too many.
    """
    begin = list(islice(smallest_subsets(space), MAX_FIRST_ROUND + 1))
    if len(begin) > MAX_FIRST_ROUND:
        what = f"greedy would begin with all subsets of {len(begin[0])} units, over "
        remedy = "lower space.min_units, choose direction 'backward' or another strategy"
        problem = Problem(where="strategy", what=f"{what}{MAX_FIRST_ROUND}", remedy=remedy)
        raise ConfigError([problem])
