"""Which of many subsets may be the best: multiple comparisons with the best (Hsu 1981, 1984).

The chosen subset is the maximum of many noisy scores, so its score flatters it, and a plain paired
test against any other would find a difference too often. Here every subset i in turn is given the
chance to be the best: it is ruled out only if some other j scores better than it by more than

    max over j of (Y_j - Y_i) / s_ij,    Y: scores, s_ij: standard error of the paired difference,

exceeds in one case of twenty where none is better than i: a one-sided test of Dunnett's (1955) with
i as the control. The true best is ruled out with a probability of 5% at most, however the chosen
one was found: so the set of those that are left holds it with at least 95%. (Edwards and Hsu 1983
have the case of unequal errors s_ij; the set is also Gupta's, 1965.)

An interval for Y_c - Y_i is Dunnett's two-sided one with i as the control: it holds for all c at
once, so for the chosen one too. It is wider than the bound of the set, so whoever is in the set has
0 in its interval, or is better than the chosen one.

Subsets score on the same samples and get mostly the same ones right, so their scores are strongly
correlated. The distribution of the maximum is that of a Gaussian multiplier bootstrap, which keeps
the correlation, and holds for more subsets than samples (Chernozhukov, Chetverikov and Kato, Annals
of Statistics 41, 2013). Where it does not hold (few samples, or scores by fold), or would take too
long, the bound is Bonferroni's with Student's quantiles: safe, and wider.

What is noise here is the choice of validation samples; a training with another seed is not in it.

K: subsets, N: samples, F: folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, isfinite
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit  # Student's quantiles; scipy.stats is slow to import

LEVEL = 0.95
FEWEST_SAMPLES = 100  # for the bootstrap
FEWEST_FOLDS = 5  # below it, Student's quantiles are so wide that they say nothing
_DRAWS = 1_000  # of the bootstrap; the level is then right to about 0.7%
_MOST_WORK = 2_000_000_000  # draws * subsets * controls; a few seconds
_ROWS = 256  # subsets at a time: all pairs of 10,000 do not fit into memory
_NO_SPREAD = 1e-7  # standard errors below it are rounding

Basis = Literal["samples", "folds", "independent"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """By how much the first of two is better; negative: it is worse."""

    difference: float
    stderr: float
    low: float
    high: float

    @property
    def verdict(self) -> Literal["better", "worse", "within noise"]:
        """What may be claimed of the first one."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "within noise"


class Best:
    """Scores of K networks that were compared with each other, higher being better.

    Args:
        means: (K,) the scores.
        correct: (N,) bools for each of the K, whose share is the score; None where there is none.
        folds: (F,) the score by fold for each, the same folds; empty where there are none.
        stderrs: of each score; None where it is not known.
        level: of the set and of each interval.
        seed: of the bootstrap; the same scores give the same answer.
    """

    def __init__(
        self,
        means: ArrayLike,
        *,
        correct: Sequence[NDArray[np.bool_] | None] = (),
        folds: Sequence[Sequence[float]] = (),
        stderrs: Sequence[float | None] = (),
        level: float = LEVEL,
        seed: int = 0,
    ) -> None:
        self.means: Floats = np.asarray(means, dtype=np.float64)
        self.level = level
        self._seed = seed
        self._right = _stacked(correct, len(self.means), fewest=2)
        self._folds = _stacked(folds, len(self.means), fewest=FEWEST_FOLDS)
        self._stderrs = _known(stderrs, len(self.means))
        self._two_sided: dict[int, float] = {}

    @property
    def basis(self) -> Basis | None:
        """What is compared pair by pair; None: how noisy the scores are is not known."""
        if self._right is not None:
            return "samples"
        if self._folds is not None:
            return "folds"
        return None if self._stderrs is None else "independent"

    @property
    def pairs(self) -> int:
        """How many samples or folds are compared; 0: none, scores count as independent."""
        found = self._right if self._right is not None else self._folds
        return 0 if found is None else found.shape[1]

    @property
    def method(self) -> Literal["max-t", "bonferroni"]:
        """How the bounds allow for the number of subsets."""
        few = self._right is None or self.pairs < FEWEST_SAMPLES
        return "bonferroni" if few or self._too_many else "max-t"

    @cached_property
    def good(self) -> NDArray[np.bool_] | None:
        """(K,) which may be the best; together they hold the best with probability `level`."""
        if self.basis is None:
            return None
        worst = self._worst
        ruled_out = worst > self._bonferroni(sides=1)
        if self.method == "max-t":
            # Between the quantile of one comparison and Bonferroni's, the bootstrap decides.
            for control in self._doubtful:
                ruled_out[control] = worst[control] > self._quantile(int(control), sides=1)
        return ~ruled_out

    def interval(self, first: int, second: int) -> Interval | None:
        """How much better the first is than the second, whatever made one choose the first.

        Returns: None where the noise of the scores, or of this difference, is not known.
        """
        if self.basis is None:
            return None
        difference = float(self.means[first] - self.means[second])
        stderr = float(self._errors([first])[0, second])
        if not isfinite(stderr):
            return None
        if second not in self._two_sided:
            self._two_sided[second] = (
                self._quantile(second, sides=2)
                if self.method == "max-t"
                else self._bonferroni(sides=2)
            )
        reach = self._two_sided[second] * stderr
        return Interval(
            difference=difference, stderr=stderr, low=difference - reach, high=difference + reach
        )

    # --- Errors and quantiles -------------------------------------------------------------------

    def _errors(self, controls: Sequence[int]) -> Floats:
        """(C, K) standard errors of the differences between these and all."""
        if self._right is not None:
            return _matched(self._right[controls], self._right)
        if self._folds is not None:
            return _by_fold(self._folds[controls], self._folds)
        assert self._stderrs is not None
        return np.asarray(np.hypot(self._stderrs[controls][:, None], self._stderrs[None, :]))

    @cached_property
    def _worst(self) -> Floats:
        """(K,) by how many standard errors the most clearly better one is ahead of each."""
        count = len(self.means)
        found = np.empty(count)
        for start in range(0, count, _ROWS):
            controls = list(range(start, min(start + _ROWS, count)))
            ahead = self.means[None, :] - self.means[controls][:, None]  # (control, other)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = np.where(ahead == 0, 0.0, ahead / self._errors(controls))
            ratios[np.arange(len(controls)), controls] = -inf
            found[controls] = ratios.max(axis=1)
        return found

    @cached_property
    def _doubtful(self) -> NDArray[np.int64]:
        """The controls whose fate one comparison and Bonferroni's bound leave open."""
        low, high = self._student(1 - self.level), self._bonferroni(sides=1)
        return np.flatnonzero((self._worst > low) & (self._worst <= high))

    @property
    def _too_many(self) -> bool:
        count = len(self.means)
        return count * len(self._doubtful) * _DRAWS > _MOST_WORK

    @property
    def _freedom(self) -> float:
        return self.pairs - 1 if self.pairs else inf

    def _student(self, tail: float) -> float:
        """The quantile that Student's t exceeds with this probability."""
        freedom = self._freedom if isfinite(self._freedom) else 1e9
        return float(stdtrit(freedom, 1 - tail))

    def _bonferroni(self, *, sides: int) -> float:
        return self._student((1 - self.level) / sides / max(1, len(self.means) - 1))

    @cached_property
    def _draws(self) -> NDArray[np.float32]:
        """(K, draws) errors of the scores as the samples' own spread makes them."""
        assert self._right is not None
        rng = np.random.default_rng(self._seed)
        centred = self._right - self._right.mean(axis=1, keepdims=True)
        normal = rng.standard_normal((self.pairs, _DRAWS), dtype=np.float32)
        # Standard errors are estimates too: one factor a draw makes the normal ones Student's.
        spread = np.sqrt(rng.chisquare(self._freedom, _DRAWS) / self._freedom).astype(np.float32)
        return np.asarray(centred @ normal / self.pairs / spread)

    def _quantile(self, control: int, *, sides: int) -> float:
        """What the largest of the studentised differences from the control rarely exceeds."""
        if len(self.means) < 2:
            return inf
        scale = 1 / self._errors([control])[0].astype(np.float32)
        scale[control] = 0.0
        differences = self._draws - self._draws[control]  # (K, draws)
        differences *= scale[:, None]
        if sides == 2:
            np.abs(differences, out=differences)
        differences[control] = -inf  # it does not compete with itself
        found = float(np.quantile(differences.max(axis=0), self.level))
        # Networks that got all samples right alike have no spread to draw from.
        return max(found, self._student((1 - self.level) / sides))


def _stacked(
    rows: Sequence[ArrayLike | None], count: int, *, fewest: int
) -> NDArray[np.float32] | None:
    """Rows of one length as an array; None if one is missing, of another length or too short."""
    known = [np.asarray(row, dtype=np.float32) for row in rows if row is not None]
    lengths = {len(row) for row in known}
    if len(known) < count or len(lengths) != 1 or min(lengths) < fewest:
        return None
    return np.stack(known)


def _known(stderrs: Sequence[float | None], count: int) -> Floats | None:
    known = [float(error) for error in stderrs if error is not None and isfinite(error)]
    return np.array(known) if count and len(known) == count else None


def _matched(right: NDArray[np.float32], others: NDArray[np.float32]) -> Floats:
    """(C, K) standard errors of differences between shares of the same samples.

    b, c: samples that only the one, or only the other, got right. Half a sample is added to each
    cell of the table (Agresti and Min, Statistics in Medicine 24, 2005): without it, two subsets
    that differ on no sample at all would be known to be equal.
    """
    count = right.shape[1]
    both = (right @ others.T).astype(np.float64)
    b = right.sum(axis=1, dtype=np.float64)[:, None] - both
    c = others.sum(axis=1, dtype=np.float64)[None, :] - both
    return np.asarray(np.sqrt(b + c + 1 - (b - c) ** 2 / (count + 2)) / (count + 2))


def _by_fold(folds: NDArray[np.float32], others: NDArray[np.float32]) -> Floats:
    """(C, K) standard errors of differences between means over the same folds."""
    differences = folds[:, None, :].astype(np.float64) - others[None, :, :]  # (C, K, F)
    errors = differences.std(axis=2, ddof=1) / np.sqrt(folds.shape[1])
    # Folds that happen to differ alike are no proof: how sure that is is not known.
    return np.where(errors < _NO_SPREAD, inf, errors)
