"""How sure a score is: standard errors, and differences judged on the same samples.

All of these describe the noise of the samples that scored a subset, or of the seeds that retrained
it. None of them knows that the folds of a cross-validation share training samples, which makes
every estimate here a little too confident (Bengio and Grandvalet, JMLR 2004).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from layersearch.errors import ObjectiveError


def standard_error(values: ArrayLike) -> float:
    """The standard error of the mean of `values`: s / sqrt(n), s with n - 1 degrees of freedom.

    Returns: infinity for a single value, of which nothing is known.
    Raises: ObjectiveError: if there is no value at all.
    """
    array = _numbers(values, "standard_error")
    if array.size == 1:
        return math.inf
    return float(array.std(ddof=1) / math.sqrt(array.size))


def binomial_standard_error(correct: ArrayLike) -> float:
    """The standard error of a share of hits: sqrt(p (1 - p) / n). correct: (N,) of 0 and 1."""
    hits = _numbers(correct, "binomial_standard_error")
    share = float(hits.mean())
    return math.sqrt(share * (1.0 - share) / hits.size)


def bootstrap_standard_error(
    statistic: Callable[[NDArray[np.int64]], float | None],
    size: int,
    *,
    seed: int,
    draws: int = 100,  # the error of the standard error is about 1 / sqrt(2 draws): 7%
) -> float | None:
    """The spread of `statistic` over samples drawn anew with replacement (Efron 1979).

    Args:
        statistic: of the samples with the given positions, (size,) int64; None where it is not
            defined for a draw, such as one that misses a class.
        size: how many samples there are.
        seed: the same seed draws the same samples, so that two subsets are judged alike.
        draws: how often the samples are drawn anew.

    Returns: None if the statistic was defined for fewer than half of the draws.
    """
    rng = np.random.default_rng(seed)
    positions = (rng.integers(0, size, size=size) for _ in range(draws))
    values = [value for draw in positions if (value := statistic(draw)) is not None]
    if len(values) < max(2, draws // 2):
        return None
    return float(np.std(values, ddof=1))


def paired_difference(first: ArrayLike, second: ArrayLike) -> tuple[float, float]:
    """How much better `first` is than `second` on the same samples, and how sure that is.

    Args:
        first: (N,) correctness of each sample, or any numbers whose mean is the score; the scores
            of several seeds serve as well.
        second: (N,) the same of the other subset, in the same order.

    Returns: the mean of first - second, and its standard error s / sqrt(N); what both subsets get
        right or wrong alike cancels, so this is smaller than from two separate standard errors.
        The error is infinity for a single pair.
    Raises: ObjectiveError: if the two do not have the same number of samples, or none.
    """
    a, b = _numbers(first, "paired_difference"), _numbers(second, "paired_difference")
    if a.shape != b.shape:
        raise ObjectiveError(
            f"paired_difference: both sides need the same samples ({a.size} and {b.size})"
        )
    difference = a - b
    return float(difference.mean()), standard_error(difference)


def combined_standard_error(errors: Sequence[float]) -> float:
    """The standard error of a difference (or sum) of independent estimates."""
    return math.sqrt(sum(error * error for error in errors))


def _numbers(values: ArrayLike, where: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if array.size == 0:
        raise ObjectiveError(f"{where}: needs at least one value (got none)")
    return array
