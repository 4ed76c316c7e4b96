"""What each unit adds, from the scores of many subsets together: a Bayesian additive model.

score of a subset = level + sum of the effects of its units + noise. Every score tells something of
every unit; greedy search learns one candidate's gain from one pair of trainings. (It is why
factorial experiments vary all factors at once: Box, Hunter and Hunter 2005, Statistics for
Experimenters, chapter 5.) Effects have a normal prior around zero. Its width, in units of the
noise, is not known: the answers for several widths are averaged, each as probable as the scores are
under it (MacKay 1992, Bayesian interpolation).

Effects are relative to that of the average unit: subsets are compared as if they were of one size.
What all units have in common is left to the level.

n: units; N: scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layersearch.space import Subset

_WIDTHS = tuple(10.0**power for power in np.arange(-3, 4.01, 0.5))  # prior variances / noise's
_LEVEL = 1e-6  # prior precision of the level, next to none
_GUESSED = 4.0  # scores that the guess at the noise counts as


@dataclass(frozen=True, kw_only=True, eq=False)
class Additive:
    """The effects of units, as far as the scores tell: a normal posterior."""

    units: tuple[str, ...]
    level: float  # of the score of subsets whose units are average
    mean: NDArray[np.float64]  # (n,) in units of the score; they sum to zero
    covariance: NDArray[np.float64]  # (n, n) of the same
    noise: float  # standard deviation of a score around the model

    @property
    def effects(self) -> Mapping[str, float]:
        """Unit -> what it adds more than the average unit, in units of the score."""
        return dict(zip(self.units, self.mean.tolist(), strict=True))

    def predict(self, subset: Subset) -> float:
        """The score that a subset is expected to have, but for what its size does to it."""
        return self.level + float(sum(self.mean[[unit in subset for unit in self.units]]))


def fit(
    units: Sequence[str], subsets: Sequence[Subset], scores: Sequence[float], *, noise: float
) -> Additive:
    """The posterior after these scores.

    Args:
        units: n names, whose effects are asked for.
        subsets: N of them.
        scores: N, higher being better.
        noise: a guess at their standard deviation around the model; counts as four scores.
    """
    on = np.array([[unit in subset for unit in units] for subset in subsets], dtype=np.float64)
    on = on.reshape(len(subsets), len(units))
    on -= on.mean(axis=1, keepdims=True)
    y = np.asarray(scores, dtype=np.float64)
    center = float(y.mean())
    fits = [_fit(on, y - center, width, noise) for width in _WIDTHS]
    evidence = np.array([fit.log_evidence for fit in fits])
    probable = np.exp(evidence - evidence.max())
    probable /= probable.sum()
    weights = sum(p * fit.weights for p, fit in zip(probable, fits, strict=True))
    covariance = sum(
        p * (fit.covariance + np.outer(fit.weights - weights, fit.weights - weights))
        for p, fit in zip(probable, fits, strict=True)
    )
    variance = sum(p * fit.variance for p, fit in zip(probable, fits, strict=True))
    relative = np.eye(len(units)) - 1 / max(1, len(units))
    return Additive(
        units=tuple(units),
        level=center + float(weights[0]),
        mean=relative @ weights[1:],
        covariance=relative @ covariance[1:, 1:] @ relative,
        noise=float(np.sqrt(variance)),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fit:
    """The posterior for one width of the prior; the level comes first."""

    log_evidence: float  # up to a constant
    weights: NDArray[np.float64]  # (1 + n,)
    covariance: NDArray[np.float64]  # (1 + n, 1 + n)
    variance: float  # of the noise


def _fit(on: NDArray[np.float64], y: NDArray[np.float64], width: float, noise: float) -> _Fit:
    count, n = on.shape
    design = np.column_stack([np.ones(count), on])
    precision = design.T @ design + np.diag([_LEVEL, *np.full(n, 1 / width)])
    weights = np.linalg.solve(precision, design.T @ y)
    squares = float(y @ (y - design @ weights)) + _GUESSED * noise**2
    freedom = count + _GUESSED
    log_evidence = -0.5 * (
        freedom * np.log(squares) + np.linalg.slogdet(precision)[1] + n * np.log(width)
    )
    variance = squares / (freedom - 3)  # of Student's posterior; the level takes one degree
    return _Fit(
        log_evidence=log_evidence,
        weights=weights,
        covariance=variance * np.linalg.inv(precision),
        variance=variance,
    )
