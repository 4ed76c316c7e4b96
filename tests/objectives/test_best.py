"""The set of subsets that may be the best, and intervals: judged by simulation."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from layersearch.objectives import Best

RUNS = 150


def right(rng, chances, samples, *, alike=0.9):
    """(K, N) which samples each gets right: mostly the same ones, as networks do."""
    hard = rng.normal(size=(1, samples))
    own = rng.normal(size=(len(chances), samples))
    latent = np.sqrt(alike) * hard + np.sqrt(1 - alike) * own
    return latent < stats.norm.ppf(chances)[:, None]


def best_of(correct):
    return Best(correct.mean(axis=1), correct=list(correct))


@pytest.mark.parametrize(
    ("chances", "samples"),
    [
        (np.full(12, 0.88), 100),  # all equal: the hardest case
        (np.full(25, 0.88), 300),
        (np.linspace(0.86, 0.90, 25), 300),
        (np.append(np.full(11, 0.85), 0.92), 200),  # one is clearly the best
    ],
)
def test_the_set_holds_the_true_best_at_least_as_often_as_it_says(chances, samples):
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(RUNS):
        good = best_of(right(rng, chances, samples)).good
        held += bool(good[np.argmax(chances)])
    # 95%, less what so many runs leave open: 3 standard errors of a share of 0.95.
    assert held / RUNS >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / RUNS)


@pytest.mark.parametrize("chances", [np.full(15, 0.88), np.linspace(0.84, 0.92, 15)])
def test_intervals_of_the_pick_hold_the_true_difference_where_plain_ones_do_not(chances):
    rng = np.random.default_rng(1)
    fixed, runner_up, plain = 0, 0, 0
    for _ in range(RUNS):
        correct = right(rng, chances, 300)
        best = best_of(correct)
        order = np.argsort(-best.means, kind="stable")
        pick, second = int(order[0]), int(order[1])
        for other in (0, second):
            interval = best.interval(pick, other)
            held = interval.low <= chances[pick] - chances[other] <= interval.high
            fixed, runner_up = fixed + (held and other == 0), runner_up + (held and other == second)
        differences = correct[pick].astype(float) - correct[0]
        error = differences.std(ddof=1) / np.sqrt(differences.size)
        plain += abs(differences.mean() - (chances[pick] - chances[0])) <= 1.96 * error
    least = 0.95 - 3 * np.sqrt(0.95 * 0.05 / RUNS)
    assert min(fixed, runner_up) / RUNS >= least
    assert plain < fixed  # the winner's curse


def test_what_is_clearly_worse_is_ruled_out_and_its_interval_says_so():
    correct = right(np.random.default_rng(0), np.array([0.9, 0.9, 0.6]), 1000)
    best = best_of(correct)
    assert list(best.good) == [True, True, False]
    assert best.interval(0, 2).verdict == "better"
    assert best.interval(2, 0).verdict == "worse"
    assert best.interval(0, 1).verdict == "within noise"


@given(st.integers(2, 30), st.integers(2, 150), st.integers(0, 10**6), st.floats(0.2, 0.98))
def test_the_highest_score_is_always_in_the_set_and_whoever_is_in_it_is_not_beaten(
    count, samples, seed, chance
):
    rng = np.random.default_rng(seed)
    best = best_of(rng.random((count, samples)) < chance)
    top = int(best.means.argmax())
    assert best.good[top]
    for other in np.flatnonzero(best.good):
        if other != top:
            assert best.interval(top, int(other)).low <= 1e-12
    assert best_of(rng.random((count, samples)) < chance).good is not None


def test_the_same_scores_give_the_same_answer():
    correct = right(np.random.default_rng(0), np.full(30, 0.9), 300)
    assert list(best_of(correct).good) == list(best_of(correct).good)
    assert best_of(correct).interval(0, 1) == best_of(correct).interval(0, 1)


def test_two_that_differ_on_no_sample_are_not_known_to_be_equal():
    same = np.arange(200) < 180
    interval = best_of(np.stack([same, same])).interval(0, 1)
    assert interval.difference == 0
    assert interval.low < 0 < interval.high
    assert interval.high < 0.02


def test_of_two_the_interval_is_that_of_one_paired_comparison():
    rng = np.random.default_rng(0)
    first, second = right(rng, np.array([0.9, 0.88]), 2000)
    found = Best([first.mean(), second.mean()], correct=[first, second]).interval(0, 1)
    b, c = (first & ~second).sum(), (second & ~first).sum()
    error = np.sqrt(b + c + 1 - (b - c) ** 2 / 2002) / 2002  # Agresti and Min 2005
    assert found.stderr == pytest.approx(error)
    assert found.high - found.difference == pytest.approx(1.96 * error, rel=0.05)


def test_the_more_are_compared_the_less_is_sure():
    rng = np.random.default_rng(0)
    correct = right(rng, np.full(60, 0.88), 500)
    few, many = (best_of(correct[:count]).interval(0, 1) for count in (2, 60))
    assert many.high - many.low > 1.5 * (few.high - few.low)
    # The samples that all get right alike make it less than as if they were independent.
    bonferroni = stats.norm.ppf(1 - 0.025 / 59)
    assert (many.high - many.difference) / many.stderr < 0.97 * bonferroni


def test_scores_by_fold_are_compared_by_students_quantiles_of_bonferroni():
    rng = np.random.default_rng(0)
    folds = rng.normal(0.8, 0.02, size=(4, 5))
    best = Best(folds.mean(axis=1), folds=folds.tolist())
    assert (best.basis, best.pairs, best.method) == ("folds", 5, "bonferroni")
    interval = best.interval(0, 1)
    error = stats.sem(folds[0] - folds[1])
    assert interval.stderr == pytest.approx(error, rel=1e-5)
    reach = stats.t.ppf(1 - 0.025 / 3, 4) * error
    assert interval.high - interval.difference == pytest.approx(reach, rel=1e-5)


def test_folds_that_happen_to_differ_alike_prove_nothing():
    best = Best([0.9, 0.8], folds=[[0.9] * 5, [0.8] * 5])
    assert best.interval(0, 1) is None
    assert list(best.good) == [True, True]


def test_scores_with_errors_alone_count_as_independent():
    best = Best([0.9, 0.85, 0.5], stderrs=[0.03, 0.04, 0.03], folds=[[0.9], [0.8], [0.5]])
    assert best.basis == "independent"
    assert best.interval(0, 1).stderr == pytest.approx(0.05)
    assert list(best.good) == [True, True, False]


def test_samples_that_not_all_have_are_not_compared():
    hits = np.arange(200) < 150
    assert Best([0.7, 0.7], correct=[hits, None], stderrs=[0.1, 0.1]).basis == "independent"
    assert Best([0.7, 0.7], correct=[hits, hits[:100]], stderrs=[0.1, 0.1]).basis == "independent"


@pytest.mark.parametrize("stderrs", [(), (None, 0.1), (inf, 0.1)])
def test_without_any_error_nothing_is_claimed(stderrs):
    best = Best([0.9, 0.1], stderrs=stderrs)
    assert best.basis is None
    assert best.good is None
    assert best.interval(0, 1) is None


def test_one_alone_may_be_the_best():
    assert list(Best([0.5], correct=[np.arange(200) < 100]).good) == [True]
    assert list(Best([0.5], stderrs=[0.1]).good) == [True]


def test_thousands_are_compared_by_bonferroni_rather_than_slowly():
    rng = np.random.default_rng(0)
    correct = rng.random((3000, 120)) < 0.8
    best = best_of(correct)
    assert best.method == "bonferroni"
    assert best.good.sum() > 2000
