"""Which units a lazy round tries."""

from layersearch.strategies.lazy import tried_units


def test_units_are_tried_while_they_may_win() -> None:
    gains = {"a": 0.1, "b": 0.3, "c": 0.0}
    assert tried_units(gains, {"a": 0.2, "b": 0.15, "c": 0.05}) == ["a", "b"]
    assert tried_units(gains, {"a": 0.2, "b": 0.05, "c": 0.04}) == ["a"]


def test_a_unit_without_a_bound_is_tried_first() -> None:
    gains = {"a": 0.1, "b": 0.3, "c": 0.0}
    assert tried_units(gains, {"a": 0.2}) == ["b", "c"]
    assert tried_units(gains, {}) == ["a", "b", "c"]


def test_gains_that_are_not_known_rule_nothing_out() -> None:
    unknown = float("-inf")
    assert tried_units({"a": unknown, "b": 0.1}, {"a": 0.3, "b": 0.2}) == ["a", "b"]
