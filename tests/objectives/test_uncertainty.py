import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.errors import ObjectiveError
from layersearch.objectives import (
    binomial_standard_error,
    bootstrap_standard_error,
    combined_standard_error,
    paired_difference,
    standard_error,
)

numbers = st.floats(-100, 100)
hits = st.lists(st.booleans(), min_size=2, max_size=60)


@given(st.lists(numbers, min_size=2, max_size=30), numbers, st.floats(0, 10))
def test_standard_error_ignores_shifts_and_follows_scale(values, shift, scale):
    base = standard_error(values)
    assert standard_error([value + shift for value in values]) == pytest.approx(base, abs=1e-9)
    scaled = standard_error([value * scale for value in values])
    assert scaled == pytest.approx(base * scale, abs=1e-9)


@given(hits)
def test_binomial_error_is_that_of_the_hits_up_to_the_degree_of_freedom(correct):
    n = len(correct)
    expected = standard_error(correct) * math.sqrt((n - 1) / n)
    assert binomial_standard_error(correct) == pytest.approx(expected, abs=1e-12)


def test_one_value_says_nothing_about_its_spread():
    assert standard_error([0.5]) == math.inf
    assert paired_difference([True], [False]) == (1.0, math.inf)


@pytest.mark.parametrize("estimate", [standard_error, binomial_standard_error])
def test_no_values_are_refused(estimate):
    with pytest.raises(ObjectiveError, match="at least one value"):
        estimate([])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_paired_difference_is_antisymmetric_and_its_mean_is_that_of_the_scores(pairs):
    first, second = np.array(pairs).T
    mean, stderr = paired_difference(first, second)
    assert mean == pytest.approx(first.mean() - second.mean())
    assert paired_difference(second, first) == (pytest.approx(-mean), pytest.approx(stderr))
    disagreements = int((first != second).sum())
    n = len(first)
    variance = (disagreements / n - mean**2) / (n - 1)  # McNemar's, with n - 1
    assert stderr == pytest.approx(math.sqrt(max(variance, 0.0)), abs=1e-12)


@given(hits)
def test_nothing_differs_from_itself(correct):
    assert paired_difference(correct, correct) == (0.0, 0.0)


def test_pairing_is_surer_than_two_separate_errors_when_samples_are_shared():
    rng = np.random.default_rng(0)
    difficulty = rng.random(1000)
    first, second = difficulty < 0.80, difficulty < 0.82
    unpaired = combined_standard_error(
        [binomial_standard_error(first), binomial_standard_error(second)]
    )
    assert paired_difference(second, first)[1] < unpaired / 3


def test_different_numbers_of_samples_are_refused():
    with pytest.raises(ObjectiveError, match=r"same samples \(2 and 3\)"):
        paired_difference([True, False], [True, False, True])


def test_bootstrap_agrees_with_the_formula_for_a_mean():
    values = np.random.default_rng(1).normal(size=400)
    found = bootstrap_standard_error(lambda at: float(values[at].mean()), 400, seed=3, draws=1000)
    assert found == pytest.approx(standard_error(values), rel=0.1)


def test_bootstrap_is_the_same_for_the_same_seed():
    values = np.random.default_rng(1).normal(size=50)

    def mean(at):
        return float(values[at].mean())

    first = bootstrap_standard_error(mean, 50, seed=3)
    assert first == bootstrap_standard_error(mean, 50, seed=3)
    assert first != bootstrap_standard_error(mean, 50, seed=4)


def test_bootstrap_gives_up_when_most_draws_are_undefined():
    calls = iter(range(100))
    sparse = bootstrap_standard_error(
        lambda _: 1.0 if next(calls) % 3 == 0 else None, 10, seed=0, draws=100
    )
    assert sparse is None
