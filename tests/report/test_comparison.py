import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from layersearch.report import Comparison, compare, compare_summaries

scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8)


@given(scores)
def test_seeds_are_compared_as_a_paired_t_test(pairs):
    first, second = np.array(pairs).T
    found = compare(first.tolist(), second.tolist())
    if (first - second).std() > 1e-6:
        test = stats.ttest_rel(first, second)
        assert (found.verdict != "within noise") == (test.pvalue < 0.05)
        interval = test.confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@given(scores)
def test_swapping_the_sides_or_the_direction_swaps_the_verdict(pairs):
    first, second = (list(side) for side in zip(*pairs, strict=True))
    there = compare(first, second)
    for back in (compare(second, first), compare(first, second, direction="minimize")):
        assert back.difference == pytest.approx(-there.difference)
        swapped = {"better": "worse", "worse": "better"}
        assert back.verdict == swapped.get(there.verdict, there.verdict)


def test_test_samples_add_their_noise_to_that_of_the_seeds():
    rng = np.random.default_rng(0)
    chosen, baseline = rng.random((3, 1000)) < 0.90, rng.random((3, 1000)) < 0.88
    scores = [side.mean(axis=1).tolist() for side in (chosen, baseline)]
    seeds = compare(*scores)
    both = compare(*scores, chosen_samples=chosen, baseline_samples=baseline)
    assert both.stderr > seeds.stderr
    assert both.samples == 1000
    assert both.difference == seeds.difference


def test_a_verdict_of_better_is_rarely_false():
    """Two equal subsets: 'better' or 'worse' comes up in one comparison of twenty, or fewer."""
    rng = np.random.default_rng(0)
    claims = 0
    for _ in range(300):
        chances = rng.random(400)
        sides = [rng.random((3, 400)) < chances + rng.normal(0, 0.01, (3, 1)) for _ in range(2)]
        scores = [side.mean(axis=1).tolist() for side in sides]
        found = compare(*scores, chosen_samples=sides[0], baseline_samples=sides[1])
        claims += found.verdict != "within noise"
    assert claims / 300 < 0.06


def test_a_real_difference_is_found():
    rng = np.random.default_rng(0)
    hard = rng.random(4000)
    sides = [np.stack([hard < p + rng.normal(0, 0.002) for _ in range(3)]) for p in (0.89, 0.87)]
    scores = [side.mean(axis=1).tolist() for side in sides]
    found = compare(*scores, chosen_samples=sides[0], baseline_samples=sides[1])
    assert found.verdict == "better"
    assert found.low < 0.02 < found.high


def test_one_seed_and_no_samples_tell_nothing():
    assert compare([0.9], [0.1]).verdict == "unknown"


def test_two_seeds_that_differ_alike_are_no_proof():
    assert compare([0.75, 0.5], [0.5, 0.25]).verdict == "unknown"
    assert compare([0.5, 0.25], [0.5, 0.25]).verdict == "within noise"


def test_different_numbers_of_seeds_are_compared_without_pairs():
    first, second = [0.90, 0.91, 0.92], [0.80, 0.82]
    found = compare(first, second)
    expected = np.hypot(*(stats.sem(side) for side in (first, second)))
    assert found.stderr == pytest.approx(expected)


def test_summaries_without_scores_are_compared_by_their_errors():
    chosen = {"mean": 0.9, "stderr": 0.003, "seeds": 5}
    found = compare_summaries(chosen, {"mean": 0.8, "stderr": 0.004, "seeds": 5})
    assert found.stderr == pytest.approx(0.005)
    assert found.verdict == "better"
    unsure = {"mean": 0.8, "stderr": None, "seeds": 1}
    assert compare_summaries(chosen, unsure).verdict == "unknown"


def test_a_comparison_kept_in_the_result_is_taken_as_it_is():
    kept = Comparison(difference=0.01, stderr=0.02, low=-0.03, high=0.05, seeds=3, samples=10)
    baseline = {"mean": 0.0, "stderr": 0.0, "seeds": 3, "against": kept.to_json()}
    found = compare_summaries({"mean": 1.0, "stderr": 0.0, "seeds": 3}, baseline)
    assert found == kept
    assert found.to_json()["verdict"] == "within noise"
