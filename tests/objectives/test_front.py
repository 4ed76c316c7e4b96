import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.errors import ObjectiveError
from layersearch.objectives import choose, pareto_front

POINTS = st.integers(1, 3).flatmap(
    lambda m: st.lists(st.tuples(*[st.integers(0, 5)] * m), min_size=1, max_size=30)
)


def beats(a, b):
    return all(x >= y for x, y in zip(a, b, strict=True)) and a != b


@given(POINTS)
def test_what_nothing_beats_is_on_the_front_and_nothing_else(points):
    expected = [
        i for i, point in enumerate(points) if not any(beats(other, point) for other in points)
    ]
    assert sorted(pareto_front(points)) == expected


@given(POINTS)
def test_the_front_is_that_of_optuna(points):
    study = optuna.create_study(directions=["maximize"] * len(points[0]))
    for point in points:
        study.add_trial(optuna.trial.create_trial(values=list(map(float, point))))
    if len(points[0]) > 1:
        best = sorted(trial.number for trial in study.best_trials)
        assert sorted(pareto_front(points)) == best


@given(POINTS)
def test_the_front_begins_with_the_best_first_value(points):
    firsts = [points[i][0] for i in pareto_front(points)]
    assert firsts == sorted(firsts, reverse=True)
    assert firsts[0] == max(point[0] for point in points)


def test_nothing_has_no_front():
    assert pareto_front([]) == []


FRONT = [(0.90, -1000.0), (0.895, -400.0), (0.85, -100.0), (0.80, 0.0)]


def test_best_is_the_best_first_value_and_of_equals_the_best_in_what_follows():
    assert choose(FRONT, "best") == 0
    assert choose([(0.9, -2.0), (0.9, -1.0)], "best") == 1


@pytest.mark.parametrize(("stderr", "chosen"), [(None, 0), (0.001, 0), (0.01, 1), (0.06, 2)])
def test_within_one_standard_error_the_cheapest_is_taken(stderr, chosen):
    assert choose(FRONT, "one_stderr", stderr=[stderr] * 4) == chosen


def test_the_knee_is_nearest_to_the_best_of_all():
    assert choose(FRONT, "knee") == 1
    assert choose(FRONT[:1], "knee") == 0


def test_an_unknown_rule_is_refused():
    with pytest.raises(ObjectiveError, match="must be one of best, one_stderr, knee"):
        choose(FRONT, "nearest")
