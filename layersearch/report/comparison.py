"""Whether the chosen subset is really better than a baseline, said no more surely than it is known.

Both were trained with the same seeds and tested on the same samples, so they are compared pair by
pair. Two sources of noise add up: the seeds (would another training turn out otherwise?) and the
test samples (would another test set?). S: seeds; N: test samples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit  # Student's quantiles; scipy.stats is slow to import

from layersearch.objectives import paired_difference, standard_error

Verdict = Literal["better", "worse", "within noise", "unknown"]
CONFIDENCE = 0.95  # of the interval that decides
_NO_SPREAD = 1e-12  # standard errors below it are rounding


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """By how much the chosen subset is better, in the metric's unit; negative: it is worse."""

    difference: float
    stderr: float | None = None  # of the difference; None: it cannot be told
    low: float | None = None  # the interval that holds the true difference, 19 times in 20
    high: float | None = None
    seeds: int = 1  # trainings of each
    samples: int = 0  # test samples compared pair by pair; 0: their noise is not in the interval

    @property
    def verdict(self) -> Verdict:
        """What may be claimed: a difference whose interval holds zero is within the noise."""
        if self.low is None or self.high is None:
            return "unknown"
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "within noise"

    def to_json(self) -> dict[str, Any]:
        """Plain values, the verdict among them."""
        return {
            "difference": self.difference,
            "stderr": self.stderr,
            "low": self.low,
            "high": self.high,
            "seeds": self.seeds,
            "samples": self.samples,
            "verdict": self.verdict,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Comparison":
        """Reads what `to_json` gave."""
        return cls(**{name: value for name, value in values.items() if name != "verdict"})


def compare(
    chosen: Sequence[float],
    baseline: Sequence[float],
    *,
    chosen_samples: ArrayLike | None = None,
    baseline_samples: ArrayLike | None = None,
    direction: str = "maximize",
) -> Comparison:
    """Compares the scores of the same seeds, and of the same test samples where they are given.

    Args:
        chosen: S scores of the chosen subset, a seed each.
        baseline: the same of the baseline.
        chosen_samples: (S, N) or (N,) what each test sample contributes to the score: whether it
            was right, for accuracy; None if the metric is no mean over samples.
        baseline_samples: the same of the baseline.
        direction: 'maximize' or 'minimize': which scores are better.

    The interval is Student's, its degrees of freedom by Welch and Satterthwaite from both sources:
    with three seeds and nothing else, it is 4.3 standard errors wide to each side, not 2.
    """
    sign = 1.0 if direction == "maximize" else -1.0
    parts: list[tuple[float, int]] = []  # standard error, degrees of freedom
    paired = len(chosen) == len(baseline)
    difference = float(np.mean(chosen) - np.mean(baseline))
    if paired and len(chosen) > 1:
        parts.append((paired_difference(chosen, baseline)[1], len(chosen) - 1))
    elif not paired:
        parts += [(standard_error(s), len(s) - 1) for s in (chosen, baseline) if len(s) > 1]
    samples = 0
    if chosen_samples is not None and baseline_samples is not None:
        first, second = _over_seeds(chosen_samples), _over_seeds(baseline_samples)
        samples = first.size
        if samples > 1:
            parts.append((paired_difference(first, second)[1], samples - 1))
    return _judged(sign * difference, parts, seeds=min(len(chosen), len(baseline)), samples=samples)


def compare_summaries(
    chosen: Mapping[str, Any], baseline: Mapping[str, Any], *, direction: str = "maximize"
) -> Comparison:
    """Compares what a result says of both: their seeds' scores if it has them, else mean and error.

    Args:
        chosen: `{mean, stderr, seeds, scores?}`.
        baseline: the same; or with `against`, a comparison made when the samples were at hand.
        direction: 'maximize' or 'minimize'.
    """
    if "against" in baseline:
        return Comparison.from_json(baseline["against"])
    if chosen.get("scores") and baseline.get("scores"):
        return compare(chosen["scores"], baseline["scores"], direction=direction)
    sign = 1.0 if direction == "maximize" else -1.0
    parts = [
        (float(side["stderr"]), int(side["seeds"]) - 1)
        for side in (chosen, baseline)
        if side.get("stderr") is not None and side.get("seeds", 1) > 1
    ]
    difference = sign * (float(chosen["mean"]) - float(baseline["mean"]))
    known = parts if len(parts) == 2 else []
    seeds = min(int(chosen.get("seeds", 1)), int(baseline.get("seeds", 1)))
    return _judged(difference, known, seeds=seeds, samples=0)


def _over_seeds(values: ArrayLike) -> Any:
    array = np.asarray(values, dtype=np.float64)
    return array if array.ndim == 1 else array.mean(axis=0)


def _judged(
    difference: float, parts: Sequence[tuple[float, int]], *, seeds: int, samples: int
) -> Comparison:
    """parts: standard errors of independent sources of noise, with their degrees of freedom."""
    if not parts:
        return Comparison(difference=difference, seeds=seeds, samples=samples)
    stderr = math.hypot(*(error for error, _ in parts))
    if stderr < _NO_SPREAD < abs(difference):
        # Two seeds that happened to differ alike are no proof: what is left is not known.
        return Comparison(difference=difference, seeds=seeds, samples=samples)
    reach = 0.0
    if stderr >= _NO_SPREAD:
        freedom = 1 / sum((error / stderr) ** 4 / freedom for error, freedom in parts)
        reach = stderr * float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))
    return Comparison(
        difference=difference,
        stderr=stderr,
        low=difference - reach,
        high=difference + reach,
        seeds=seeds,
        samples=samples,
    )
