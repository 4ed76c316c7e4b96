"""The Pareto front: what no other beats in all values at once, and which member of it to take.

n: points; m: values of each, oriented so that higher is better.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from layersearch.errors import ObjectiveError

Rule = Literal["best", "one_stderr", "knee"]
RULES: tuple[Rule, ...] = ("best", "one_stderr", "knee")


def pareto_front(points: Sequence[Sequence[float]]) -> list[int]:
    """Which of the n points are on the front, the best first value first.

    A point is on the front unless another is as good in every value and better in one; points that
    are equal in all are all on it.
    """
    order = sorted(range(len(points)), key=lambda i: tuple(-value for value in points[i]))
    front: list[int] = []
    values = np.empty((0, len(points[0]) if points else 0))
    for index in order:  # whatever beats a point comes before it
        point = np.asarray(points[index], dtype=np.float64)
        as_good = (values >= point).all(axis=1)
        if not bool((as_good & (values > point).any(axis=1)).any()):
            front.append(index)
            values = np.vstack([values, point])
    return front


def choose(
    points: Sequence[Sequence[float]], rule: Rule, *, stderr: Sequence[float | None] = ()
) -> int:
    """Which member of a front to take.

    Args:
        points: those of the front, at least one.
        rule: 'best': the best first value, of equals the best in what follows. 'one_stderr': of
            those whose first value is within one standard error of the best, the best in the second
            value (the one-standard-error rule of Breiman et al. 1984, which they use for the
            smallest tree that is as good as any). 'knee': the nearest to the best of all values at
            once, each scaled to its range on the front.
        stderr: n standard errors of the first value, as far as they are known.

    Raises: ObjectiveError: an unknown rule.
    """
    values = np.asarray(points, dtype=np.float64)
    best = max(range(len(points)), key=lambda i: tuple(points[i]))
    if rule == "best":
        return best
    if rule == "one_stderr":
        error = (stderr[best] if best < len(stderr) else None) or 0.0
        near = [i for i in range(len(points)) if points[i][0] >= points[best][0] - error]
        return max(near, key=lambda i: (*points[i][1:], points[i][0]))
    if rule == "knee":
        low, high = values.min(axis=0), values.max(axis=0)
        missing = (high - values) / np.where(high > low, high - low, 1.0)
        distance = np.sqrt((missing**2).sum(axis=1))
        return min(range(len(points)), key=lambda i: (distance[i], tuple(-values[i])))
    raise ObjectiveError(f"objective.choose: must be one of {', '.join(RULES)} (got {rule!r})")
