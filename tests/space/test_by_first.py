from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layersearch.space import Bounds, SearchSpace, Subset
from layersearch.space.by_first import steps_within
from layersearch.space.cost_shape import CostShape
from layersearch.space.unit import Unit


def make_space(first, extras, *, limit, bounds=None, shared=(), parameters=None, scale=1.0):
    """A space of one unit a stage (two in the stages of `shared`) under a limit on 'latency'."""
    units, places = [], {}
    for stage in range(len(extras)):
        for part in ("a", "b") if stage in shared else ("a",):
            name = f"u{stage}{part}"
            units.append(Unit(name=name, depth=stage, parameters=(name,), numel=stage + 1))
            places[name] = (stage,)
    shape = CostShape(first=tuple(first), stages=(*extras, 0), units={}, places=places, scale=scale)
    limits = {"latency": limit} | (
        {} if parameters is None else {"trainable_parameters": parameters}
    )
    return SearchSpace(
        units,
        bounds=bounds or Bounds(),
        limits=limits,
        costs=lambda subset: {"latency": shape(subset)},
        shapes={"latency": shape},
    )


def by_trying(space):
    names = [unit.name for unit in space.units]
    subsets = (
        Subset(name for place, name in enumerate(names) if bits >> place & 1)
        for bits in range(2 ** len(names))
    )
    return {subset for subset in subsets if subset in space}


rising = st.lists(st.integers(0, 9), min_size=5, max_size=7).map(
    lambda steps: tuple(np.cumsum(steps)[::-1].tolist())
)


@settings(max_examples=150, deadline=None)
@given(
    first=rising,
    extras=st.lists(st.integers(0, 4), min_size=7, max_size=7),
    limit=st.integers(5, 60),
    shared=st.sets(st.integers(0, 3), max_size=2),
    least=st.integers(0, 2),
    most=st.none() | st.integers(2, 4),
    parameters=st.none() | st.integers(6, 20),
    always=st.booleans(),
)
def test_what_is_counted_and_listed_is_what_is_inside(
    first, extras, limit, shared, least, most, parameters, always
):
    bounds = Bounds(min_units=least, max_units=most, always=("u2a",) if always else ())
    try:
        space = make_space(
            first,
            extras[: len(first) - 1],
            limit=limit,
            bounds=bounds,
            shared=shared,
            parameters=parameters,
        )
    except Exception as error:  # noqa: BLE001 - nothing inside: refused, which others test
        assert "leave nothing to search" in str(error)  # noqa: PT017
        return
    inside = by_trying(space)
    assert space.count() == len(inside)
    assert set(space.enumerate()) == inside
    listed = list(space.enumerate())
    assert listed == sorted(listed, key=lambda s: (len(s), space.positions(s)))
    rng = np.random.default_rng(0)
    for _ in range(5):
        assert space.sample(rng) in inside
        assert space.repair(Subset(unit.name for unit in space.units), rng) in inside


def test_draws_are_uniform_where_the_limit_binds():
    space = make_space((20, 12, 6, 3, 1), (3, 2, 2, 1), limit=15)
    inside = by_trying(space)
    assert 3 < len(inside) < 15
    rng = np.random.default_rng(1)
    drawn = Counter(space.sample(rng) for _ in range(200 * len(inside)))
    assert drawn.keys() == inside
    assert all(count == pytest.approx(200, rel=0.3) for count in drawn.values())


def test_a_hundred_units_are_counted_and_drawn_without_trying():
    calls = []
    units = [Unit(name=f"u{i}", depth=i, parameters=(f"u{i}",), numel=7) for i in range(100)]
    shape = CostShape(
        first=tuple(range(1000, -1, -10)),
        stages=(1,) * 101,
        units={},
        places={unit.name: (unit.depth,) for unit in units},
        scale=0.001,
    )

    def costs(subset):
        calls.append(subset)
        return {"latency_ms": shape(subset)}

    space = SearchSpace(
        units, limits={"latency_ms": 0.405}, costs=costs, shapes={"latency_ms": shape}
    )
    # From unit 60 on everything fits but when nearly all of the 40 units are on.
    calls.clear()
    count = space.count()
    assert 2**36 < count < 2**41
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(20)]
    assert all(shape(subset) <= 0.405 for subset in drawn)
    assert len(calls) <= 20
    everything = Subset(unit.name for unit in units)
    repaired = space.repair(everything, rng)
    assert repaired in space
    assert len(repaired) >= 10


def test_steps_are_those_that_a_limit_admits():
    shape = CostShape(first=(0,), stages=(0,), units={}, places={}, scale=0.1)
    for steps in range(50):
        limit = round(steps * 0.1, 9)
        assert steps_within(shape, limit) == steps
        assert steps_within(shape, limit + 0.05) == steps
        assert steps_within(shape, limit - 0.05) == steps - 1
