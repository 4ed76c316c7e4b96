"""The additive model: against the closed form, and on scores that are additive."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.space import Subset
from layersearch.strategies.additive import fit

UNITS = ("a", "b", "c", "d", "e", "f")


def some_subsets(rng: np.random.Generator, count: int, *, size: int = 2) -> list[Subset]:
    return [Subset(rng.choice(UNITS, size, replace=False).tolist()) for _ in range(count)]


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_exact_scores_of_enough_subsets_give_the_effects(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    effects = rng.normal(0, 0.02, len(UNITS))
    subsets = [Subset(chosen) for chosen in combinations(UNITS, size)]
    scores = [0.8 + sum(effects[UNITS.index(u)] for u in subset) for subset in subsets]
    model = fit(UNITS, subsets, scores, noise=1e-4)
    assert model.mean == pytest.approx(effects - effects.mean(), abs=1e-3)
    assert model.mean.sum() == pytest.approx(0, abs=1e-9)
    assert model.level == pytest.approx(0.8 + size * effects.mean(), abs=1e-3)
    assert [model.predict(s) for s in subsets] == pytest.approx(scores, abs=1e-3)


@given(st.integers(0, 10**6), st.floats(-5, 5))
def test_a_shift_of_all_scores_shifts_the_level_only(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    subsets = some_subsets(rng, 15)
    scores = rng.normal(0.9, 0.01, 15)
    plain = fit(UNITS, subsets, scores.tolist(), noise=0.004)
    shifted = fit(UNITS, subsets, (scores + shift).tolist(), noise=0.004)
    assert shifted.mean == pytest.approx(plain.mean, abs=1e-8)
    assert shifted.level == pytest.approx(plain.level + shift, abs=1e-6)
    assert shifted.noise == pytest.approx(plain.noise)


def test_a_unit_that_was_never_on_is_less_known_than_the_others() -> None:
    rng = np.random.default_rng(0)
    subsets = [Subset(rng.choice(UNITS[:5], 2, replace=False).tolist()) for _ in range(20)]
    scores = [0.8 + 0.02 * ("a" in s) + rng.normal(0, 0.002) for s in subsets]
    model = fit(UNITS, subsets, scores, noise=0.002)
    error = np.sqrt(np.diag(model.covariance))
    assert error[5] > 1.5 * error[1]
    assert max(model.effects, key=lambda unit: model.effects[unit]) == "a"


def test_noise_alone_shrinks_effects_to_almost_nothing() -> None:
    rng = np.random.default_rng(3)
    spreads = []
    for _ in range(50):
        subsets = some_subsets(rng, 20)
        model = fit(UNITS, subsets, rng.normal(0.9, 0.01, 20).tolist(), noise=0.01)
        spreads.append(np.abs(model.mean).max())
    # Least squares would find effects of about 2 x 0.01 / sqrt(20) = 0.0045 and the largest of six
    # about twice that.
    assert np.median(spreads) < 0.003


def test_its_errors_are_as_large_as_it_says() -> None:
    rng = np.random.default_rng(4)
    deviations = []
    for _ in range(200):
        effects = rng.normal(0, 0.01, len(UNITS))
        subsets = some_subsets(rng, 18)
        scores = [sum(effects[UNITS.index(u)] for u in s) + rng.normal(0, 0.005) for s in subsets]
        model = fit(UNITS, subsets, scores, noise=0.005)
        relative = effects - effects.mean()
        deviations.append((model.mean - relative) / np.sqrt(np.diag(model.covariance)))
    assert np.std(deviations) == pytest.approx(1, abs=0.15)
    assert np.mean(deviations) == pytest.approx(0, abs=0.1)


def test_one_score_is_enough_for_a_model_without_opinions() -> None:
    model = fit(UNITS, [Subset(["a"])], [0.7], noise=0.01)
    assert model.predict(Subset(["b"])) == pytest.approx(0.7, abs=1e-6)
    assert np.isfinite(model.covariance).all()
