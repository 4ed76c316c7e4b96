"""When greedy search accepts a round's best subset, and when it stops.

`paper`     algorithm 1 of Kaplun et al. 2023, to the letter: the best score starts at 0; a round's
            best subset is accepted if it exceeds the best so far by more than ε, else the search
            stops. On a validation set of 1,000 images ε below 0.016 is inside the noise.
`official`  as the paper's code does it: a round's best subset is built upon whether or not it
            gains, the best one seen is kept, and the search stops when a round falls more than ε
            below the best. It spends the most: on a plateau it never stops.
`paired`    the gain is measured against the subset that the round builds on, on the same
            validation samples: mean gain > max(ε, z · standard error of the paired differences).
            Common samples cancel most of the noise, since both subsets get the easy ones right.

`paired` has a selection bias: the subset it tests is the best of a round, and the best of k equal
candidates gains something by luck alone (with z = 1 and k = 16 independent candidates that change
nothing, 94% of rounds would have one over the threshold; k candidates of one round are far from
independent, so it is less). z = 1 is the one-standard-error rule, made to miss little; the outcome
on the test split is what tells whether the choice was worth it. For a level of 5% a round choose
z = 2.7 for k = 16 (Bonferroni).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from layersearch.space import TrialRecord

# Per-sample correctness stands for the score if its mean is the score up to this much: folds of
# unequal size make a mean over folds differ a little from the pooled mean.
_SAME_METRIC = 0.01

Stop = Literal["paper", "official", "paired"]
OFFICIAL_MIN_GAIN = 0.01  # the default of the paper's code


@dataclass(frozen=True, kw_only=True)
class Gain:
    """A difference of scores, higher being better, with its standard error."""

    mean: float
    stderr: float
    compared: str  # in words: 'on the same 1000 samples'


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a round's best subset leads to."""

    build_on: bool  # whether the next round builds on it
    choose: bool  # whether it is the answer so far
    stop: str | None = None  # why there is no next round


def paired_gain(candidate: TrialRecord, base: TrialRecord) -> Gain:
    """How much better a candidate is than the subset it builds on, on the same samples.

    The standard error is that of the differences per validation sample where the score is the
    share of samples that are right; else per fold; else that of two independent scores.
    """
    assert candidate.score is not None
    assert base.score is not None
    a, b = _correct(candidate), _correct(base)
    if a is not None and b is not None and len(a) == len(b) >= 2:
        return _mean_of(a - b, compared=f"on the same {len(a)} samples")
    folds = len(candidate.fold_scores)
    if folds >= 2 and folds == len(base.fold_scores):
        differences = np.subtract(candidate.fold_scores, base.fold_scores)
        return _mean_of(differences, compared=f"over the same {folds} folds")
    variance = (candidate.stderr or 0.0) ** 2 + (base.stderr or 0.0) ** 2
    mean = candidate.score - base.score
    return Gain(mean=mean, stderr=sqrt(variance), compared="of independent scores")


def _mean_of(differences: NDArray[np.float64], *, compared: str) -> Gain:
    stderr = float(differences.std(ddof=1)) / sqrt(len(differences))
    return Gain(mean=float(differences.mean()), stderr=stderr, compared=compared)


def _correct(record: TrialRecord) -> NDArray[np.float64] | None:
    """Which samples were right, 1 or 0, (N,); None where the score is not their share."""
    assert record.score is not None
    if record.correct is None or len(record.correct) == 0:
        return None
    correct = record.correct.astype(np.float64)
    return correct if abs(float(correct.mean()) - record.score) <= _SAME_METRIC else None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a rule judges by: the round's best subset, the one it builds on, the best score."""

    candidate: TrialRecord  # with a finite score
    base: TrialRecord | None  # None: never scored
    best: float  # score of the answer so far; the rule's start before there is one


Rule = Callable[[Standing], Verdict]


def stop_rule(stop: Stop, *, min_gain: float | None, z: float) -> Rule:
    """The rule of a name.

    Args:
        stop: 'paired', 'paper' or 'official'.
        min_gain: the paper's ε, in units of the score. None: 0, and 0.01 for 'official'.
        z: for 'paired', standard errors that a gain must exceed.
    """
    if stop == "paper":
        return paper_rule(0.0 if min_gain is None else min_gain)
    if stop == "official":
        return official_rule(OFFICIAL_MIN_GAIN if min_gain is None else min_gain)
    return paired_rule(0.0 if min_gain is None else min_gain, z)


def paper_rule(min_gain: float) -> Rule:
    """Accept what exceeds the best so far by more than `min_gain`, else stop."""

    def judge(standing: Standing) -> Verdict:
        assert standing.candidate.score is not None
        gain = standing.candidate.score - standing.best
        if gain > min_gain:
            return Verdict(build_on=True, choose=True)
        return _refused(f"the best gains {gain:+.4f}, not more than {min_gain:g}")

    return judge


def official_rule(min_gain: float) -> Rule:
    """Build on every round's best, keep the best seen, stop well below it."""

    def judge(standing: Standing) -> Verdict:
        score = standing.candidate.score
        assert score is not None
        stop = None
        if score < standing.best - min_gain:
            fall = standing.best - score
            stop = f"the best falls {fall:.4f} below the best seen, more than {min_gain:g}"
        return Verdict(build_on=stop is None, choose=score > standing.best, stop=stop)

    return judge


def paired_rule(min_gain: float, z: float) -> Rule:
    """Accept what is better than what it builds on by more than chance, on the same samples."""

    def judge(standing: Standing) -> Verdict:
        if standing.base is None:
            return Verdict(build_on=True, choose=True)
        gain = paired_gain(standing.candidate, standing.base)
        threshold = max(min_gain, z * gain.stderr)
        if gain.mean > threshold:
            return Verdict(build_on=True, choose=True)
        return _refused(
            f"the best gains {gain.mean:+.4f} ± {gain.stderr:.4f} {gain.compared}, "
            f"not more than {threshold:.4f}"
        )

    return judge


def _refused(reason: str) -> Verdict:
    return Verdict(build_on=False, choose=False, stop=reason)
