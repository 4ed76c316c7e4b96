import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.errors import ObjectiveError
from layersearch.objectives import COSTS, step_multiply_adds, subset_costs, training_flops
from layersearch.space.unit import Unit

STAGES = [100, 200, 300, 40]  # stem, two blocks, head
UNITS = [
    Unit(name=name, depth=depth, parameters=(f"{name}.w",), numel=numel)
    for depth, (name, numel) in enumerate([("stem", 10), ("a", 20), ("b", 30)])
]
subsets = st.sets(st.sampled_from([unit.name for unit in UNITS]))


def test_a_linear_probe_pays_for_the_head_twice():
    assert step_multiply_adds([], UNITS, stages=STAGES) == 2 * 40


def test_tuning_everything_pays_three_forward_passes_less_the_first_stage():
    assert step_multiply_adds(["stem", "a", "b"], UNITS, stages=STAGES) == 3 * 640 - 100


def test_a_frozen_stage_after_the_first_tuned_one_pays_no_weight_gradients():
    # forward 200 + 300 + 40, values 300 + 40, weights 200 + 40
    assert step_multiply_adds(["a"], UNITS, stages=STAGES) == 540 + 340 + 240


@given(subsets, subsets)
def test_no_cost_falls_when_units_are_added(first, more):
    def costs(subset):
        return subset_costs(subset, UNITS, stages=STAGES, head_parameters=7, buffers={"a": 4})

    smaller, larger = costs(first), costs(first | more)
    assert smaller.keys() <= COSTS.keys()
    assert all(larger[name] >= smaller[name] for name in smaller)


def test_what_a_task_adds_counts_the_head_and_its_bytes_the_statistics_too():
    costs = subset_costs(["a"], UNITS, stages=STAGES, head_parameters=7, buffers={"a": 4, "b": 9})
    assert costs["trainable_parameters"] == 20
    assert costs["added_parameters"] == 27
    assert costs["task_bytes"] == 4 * (27 + 4)


def test_a_training_pays_two_flops_a_multiply_add():
    assert training_flops(80, samples=10, epochs=3) == 2 * 80 * 10 * 3


def test_unknown_units_and_stages_are_refused():
    with pytest.raises(ObjectiveError, match="'c'"):
        step_multiply_adds(["c"], UNITS, stages=STAGES)
    with pytest.raises(ObjectiveError, match="depths from 0 to 1"):
        step_multiply_adds(["b"], UNITS, stages=[1, 2])
