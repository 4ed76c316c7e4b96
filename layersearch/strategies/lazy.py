"""Lazy rounds: candidates that can hardly win, by what they gained last, are not tried.

The lazy evaluation of greedy (Minoux 1978): where a unit's gain never grows as the subset does, its
last gain bounds the next. Of networks that is not true, only cheap to be wrong about
(`docs/benchmarks.md`), so bounds may allow for an error.
"""

from collections.abc import Mapping
from math import inf


def tried_units(gains: Mapping[str, float], bounds: Mapping[str, float]) -> list[str]:
    """The units that a round tries, in this order: the highest bounds first, while they may win.

    Args:
        gains: unit -> what it gains in this round, as far as that is known, else minus infinity.
        bounds: unit -> the most that it is thought to gain; a unit without one is always tried.
    """
    tried, most = list[str](), -inf
    for unit in sorted(gains, key=lambda unit: -bounds.get(unit, inf)):
        if bounds.get(unit, inf) < most:
            break
        tried.append(unit)
        most = max(most, gains[unit])
    return tried
