"""How much better one subset is than another, on the same samples."""

from typing import Any

import numpy as np
import pytest

from layersearch.space import Subset, TrialRecord, TrialState
from layersearch.strategies import paired_gain
from layersearch.strategies.stop_rules import Standing, official_rule, paired_rule, paper_rule


def record(score: float, **more: Any) -> TrialRecord:
    return TrialRecord(number=0, subset=Subset(), state=TrialState.COMPLETE, score=score, **more)


def test_the_error_of_a_gain_is_that_of_the_differences_per_sample() -> None:
    base = np.array([True, True, False, False, True, False, True, True])
    better = np.array([True, True, True, False, True, True, False, True])
    gain = paired_gain(
        record(float(better.mean()), correct=better), record(float(base.mean()), correct=base)
    )
    differences = [0, 0, 1, 0, 0, 1, -1, 0]
    assert gain.mean == pytest.approx(np.mean(differences))
    assert gain.stderr == pytest.approx(np.std(differences, ddof=1) / np.sqrt(8))


def test_folds_are_compared_where_the_score_is_not_the_share_of_right_samples() -> None:
    correct = np.ones(10, dtype=bool)
    a = record(0.5, correct=correct, fold_scores=(0.4, 0.6, 0.5))
    b = record(0.4, correct=correct, fold_scores=(0.3, 0.4, 0.5))
    gain = paired_gain(a, b)
    assert gain.mean == pytest.approx(0.1)
    assert gain.stderr == pytest.approx(np.std([0.1, 0.2, 0.0], ddof=1) / np.sqrt(3))


def test_without_samples_or_folds_the_errors_are_those_of_independent_scores() -> None:
    gain = paired_gain(record(0.5, stderr=0.03), record(0.4, stderr=0.04))
    assert gain.mean == pytest.approx(0.1)
    assert gain.stderr == pytest.approx(0.05)
    assert paired_gain(record(0.5), record(0.5)).stderr == 0


def test_samples_of_another_number_are_not_compared() -> None:
    a = record(1.0, correct=np.ones(10, dtype=bool), stderr=0.1)
    b = record(1.0, correct=np.ones(9, dtype=bool), stderr=0.0)
    assert paired_gain(a, b).stderr == pytest.approx(0.1)


@pytest.mark.parametrize(("gain", "accepted"), [(0.02, True), (0.01, False), (-0.1, False)])
def test_the_paper_accepts_more_than_epsilon(gain: float, accepted: bool) -> None:
    verdict = paper_rule(0.015)(Standing(candidate=record(0.5 + gain), base=None, best=0.5))
    assert verdict.build_on == verdict.choose == accepted
    assert (verdict.stop is None) == accepted


@pytest.mark.parametrize(
    ("score", "goes_on", "chosen"), [(0.51, True, True), (0.495, True, False), (0.48, False, False)]
)
def test_official_stops_only_well_below_the_best(score: float, goes_on: bool, chosen: bool) -> None:
    verdict = official_rule(0.01)(Standing(candidate=record(score), base=None, best=0.5))
    assert verdict.build_on == goes_on
    assert verdict.choose == chosen
    assert (verdict.stop is None) == goes_on


def test_paired_asks_for_z_standard_errors_and_at_least_the_minimum() -> None:
    a, b = record(0.55, fold_scores=(0.5, 0.6)), record(0.5, fold_scores=(0.5, 0.5))
    standing = Standing(candidate=a, base=b, best=0.5)  # 0.05 ± 0.05
    assert paired_rule(0.0, 0.9)(standing).choose
    assert not paired_rule(0.0, 1.1)(standing).choose
    assert not paired_rule(0.06, 0.0)(standing).choose


def test_paired_accepts_the_first_where_the_base_has_no_score() -> None:
    assert paired_rule(0.0, 1.0)(Standing(candidate=record(0.1), base=None, best=0.5)).choose
