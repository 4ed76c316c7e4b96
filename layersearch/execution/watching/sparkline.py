"""Learning curves in one line of text."""

from collections.abc import Sequence
from itertools import pairwise

BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.-=+*#@"  # the second for terminals without Unicode
_GAP = " "  # between folds


def sparkline(
    folds: Sequence[Sequence[float]], *, low: float, high: float, width: int, plain: bool = False
) -> str:
    """The curves of a trial's folds side by side, each point a bar.

    Args:
        folds: the scores of each fold that has begun, an epoch each.
        low: the score of the lowest bar; all curves that are to be compared share it.
        high: that of the highest.
        width: characters, at most; where there are more epochs each bar is the mean of several,
            and where there are too many folds the first are left out.
        plain: whether to use ASCII only.
    """
    curves = [list(curve) for curve in folds if curve]
    if not curves or width < 1:
        return ""
    while len(curves) > 1 and (
        2 * len(curves) - 1 > width  # a bar each, and the gaps
        or _each(width, len(curves)) < min(3, max(map(len, curves)))
    ):
        curves.pop(0)
    most = _each(width, len(curves))
    bars = PLAIN_BARS if plain else BARS
    return _GAP.join(
        "".join(_bar(value, low, high, bars) for value in _fewer(curve, most)) for curve in curves
    )


def _each(width: int, curves: int) -> int:
    """Bars that each of so many curves may have."""
    return max(1, (width - (curves - 1) * len(_GAP)) // curves)


def _fewer(curve: Sequence[float], most: int) -> list[float]:
    if len(curve) <= most:
        return list(curve)
    edges = [round(index * len(curve) / most) for index in range(most + 1)]
    return [sum(curve[begin:end]) / (end - begin) for begin, end in pairwise(edges)]


def _bar(value: float, low: float, high: float, bars: str) -> str:
    if high <= low:
        return bars[len(bars) // 2]
    share = (value - low) / (high - low)
    return bars[min(len(bars) - 1, max(0, int(share * len(bars))))]
