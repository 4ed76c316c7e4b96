"""Adding several units at once, by what each gains alone.

What units gain alone nearly adds up (`docs/benchmarks.md`: the sum over its units ranks subsets of
up to three better than a short training of each subset does, because the noise of its terms
averages out). So one round of single units orders them, and tells how many of the first are worth
tuning together: as many as have the largest summed gain in standard errors, all units' errors taken
as equal. What this cannot see is that a unit does what another does already; of large subsets the
sum says too much, and the root of their number, by which it is divided, keeps them small.
"""

from collections.abc import Mapping, Sequence
from math import isfinite, sqrt

from layersearch.space import SearchSpace, Subset


def nested_path(
    space: SearchSpace, start: Subset, scores: Mapping[str, float]
) -> list[tuple[str, Subset]]:
    """Units, those that score best alone first, and the subsets to which they lead.

    Ties: the smaller, then in the order given. A unit with which the subset would leave the space
    is passed over.

    Args:
        space: of the subsets.
        start: that units are added to.
        scores: unit -> score of the start with that unit alone, higher being better.
    """

    def rank(unit: str) -> tuple[float, int]:
        return -scores[unit], space.trainable_parameters(space.subset((*start, unit)))

    path, subset = list[tuple[str, Subset]](), start
    for unit in sorted(scores, key=rank):
        longer = space.subset((*subset, unit))
        if longer in space:
            subset = longer
            path.append((unit, subset))
    return path


def worth_together(gains: Sequence[float]) -> int:
    """How many of the first units have the largest sum of gains over the root of their number.

    Args:
        gains: of units alone, the largest first; up to the first that is not finite.

    Returns:
        0 if no unit gains anything.
    """
    found, best, total = 0, 0.0, 0.0
    for units, gain in enumerate(gains, start=1):
        if not isfinite(gain):
            break
        total += gain
        if total / sqrt(units) > best:
            found, best = units, total / sqrt(units)
    return found
