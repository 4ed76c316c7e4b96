from hypothesis import given
from hypothesis import strategies as st

from layersearch.space.cost_shape import CostShape

SHAPE = CostShape(
    first=(70, 50, 20, 5),
    stages=(4, 3, 2, 0),
    units={"a.norm": 1},
    places={"stem": (0,), "a": (1,), "a.norm": (1,), "b": (2,), "everywhere": (0, 2)},
)


def test_nothing_tuned_costs_what_the_head_does():
    assert SHAPE([]) == 5


def test_a_tuned_stage_is_paid_once_however_many_of_its_units_are_tuned():
    assert SHAPE(["a"]) == 50 + 3
    assert SHAPE(["a", "a.norm"]) == 50 + 3 + 1
    assert SHAPE(["a", "b"]) == 50 + 3 + 2


def test_a_unit_of_several_stages_counts_from_the_first_and_in_each():
    assert SHAPE(["everywhere"]) == 70 + 4 + 2


def test_steps_are_worth_their_scale():
    fine = CostShape(first=(3,), stages=(0,), units={}, places={}, scale=0.001)
    assert fine([]) == 0.003


@given(st.sets(st.sampled_from(sorted(SHAPE.places))), st.sampled_from(sorted(SHAPE.places)))
def test_a_shape_that_rises_never_falls_when_a_unit_is_added(subset, more):
    assert SHAPE.rises
    assert SHAPE({*subset, more}) >= SHAPE(subset)


def test_a_shape_that_may_fall_says_so():
    falling = CostShape(first=(1, 2), stages=(0, 0), units={}, places={})
    assert not falling.rises
