import json

import pytest

from layersearch.errors import ObjectiveError
from layersearch.objectives.latency import HeldOut, LatencyTable, StageTiming, Timing


def timing(median):
    return Timing(median=median, spread=0.1, repeats=5)


def stage(alone, frozen, tuned):
    return StageTiming(
        alone=timing(alone), frozen=timing(frozen), tuned=timing(tuned), joined=timing(2 * alone)
    )


def table(**changes):
    values = {
        "backbone": "little",
        "architecture": "abc",
        "device": "cpu (a chip)",
        "batch_size": 1,
        "precision": "fp32",
        "threads": 1,
        "torch": "2.6",
        "traced": True,
        "original": timing(17.0),
        "overhead": 0.5,
        "stages": (stage(4, 4, 5), stage(5, 6, 6), stage(6, 5, 8), stage(1, 1, 2)),
        "units": {"stem": (0,), "a": (1,), "b": (2,), "norms": (0, 1, 2)},
        "held_out": (
            HeldOut(subset=("a",), predicted=13.5, measured=14.0, spread=0.2),
            HeldOut(subset=("b", "a"), predicted=16.5, measured=15.0, spread=0.2),
        ),
    }
    return LatencyTable(**{**values, **changes})


def test_nothing_tuned_adds_the_head_and_the_forking():
    assert table().predict([]) == 2.5


def test_a_branch_runs_everything_from_the_first_tuned_stage_on():
    assert table().predict(["b"]) == 2.5 + 8
    assert table().predict(["a"]) == 2.5 + 5 + 6
    assert table().predict(["a", "b"]) == 2.5 + 8 + 6


def test_a_unit_of_many_stages_is_tuned_in_each():
    assert table().predict(["norms"]) == 2.5 + 8 + 6 + 5


def test_noise_never_makes_more_tuning_cheaper():
    noisy = table(stages=(stage(4, 4, 3), stage(5, -1, -2), stage(1, 1, 2)), units={"a": (1,)})
    assert noisy.predict(["a"]) == noisy.predict([])
    assert noisy.shape.rises


def test_a_unit_that_was_not_measured_is_refused_by_name():
    with pytest.raises(ObjectiveError, match=r"'c' is not in the latency table of little"):
        table().predict(["c"])


def test_the_error_is_that_of_the_held_out_subsets():
    error = table().error
    assert (error.mean, error.largest, error.subsets) == (1.0, 1.5, 2)
    assert table(held_out=()).error is None


def test_predictions_are_as_fine_as_a_2000th_of_the_original():
    assert table(original=timing(0.02), overhead=0.0000123).predict([]) == 2.00001
    assert table(original=timing(5000.0)).predict([]) == 2.0  # 0.5 is rounded to even


def test_a_table_survives_json():
    before = table(stages=(*table().stages[:-1], StageTiming(alone=timing(1), frozen=timing(1),
                                                              tuned=timing(2))))  # fmt: skip
    assert LatencyTable.read(json.dumps(before.to_json()), where="file") == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "file: is no JSON"),
        ("[]", "file: is no latency table"),
        ('{"stages": []}', "file: is a latency table of version None"),
        ('{"version": 1, "stages": [{}]}', "file: is damaged"),
        ('{"version": 1, "stages": 3}', "file: is damaged"),
    ],
)
def test_what_is_no_table_is_refused(text, message):
    with pytest.raises(ObjectiveError, match=message):
        LatencyTable.read(text, where="file")


def test_the_spread_is_half_the_distance_of_the_quartiles():
    assert Timing.of([1.0, 2.0, 3.0, 4.0, 50.0]) == Timing(median=3.0, spread=1.0, repeats=5)
    assert Timing.of([7.0]) == Timing(median=7.0, spread=0.0, repeats=1)
