"""The search space against brute force over all subsets of few units."""

import pickle
from collections import Counter
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.errors import SpaceError
from layersearch.space import Bounds, SearchSpace, Subset, Unit


def units(*numels: int) -> list[Unit]:
    return [
        Unit(name=f"layer{i}", depth=i, parameters=(f"layer{i}.weight",), numel=numel)
        for i, numel in enumerate(numels)
    ]


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Spaces of up to 7 units with any bounds and limits that leave something to search."""
    numels = draw(st.lists(st.integers(0, 30), min_size=1, max_size=7))
    names = [unit.name for unit in units(*numels)]
    fixed = {name: draw(st.sampled_from(["free", "free", "on", "off"])) for name in names}
    bounds = Bounds(
        min_units=draw(st.integers(0, 3)),
        max_units=draw(st.none() | st.integers(1, 7)),
        always=tuple(name for name in names if fixed[name] == "on"),
        never=tuple(name for name in names if fixed[name] == "off"),
        contiguous=draw(st.none() | st.integers(1, 3)),
    )
    limits = {}
    if draw(st.booleans()):
        limits["trainable_parameters"] = draw(st.integers(0, 100))
    costs = draw(st.sampled_from([None, latency, other_count]))
    if costs is not None and draw(st.booleans()):
        limits["latency"] = draw(st.integers(0, 6))
    floors = {}
    if draw(st.booleans()):
        floors["trainable_parameters"] = draw(st.integers(0, 40))
    try:
        return SearchSpace(units(*numels), bounds=bounds, limits=limits, floors=floors, costs=costs)
    except SpaceError:
        from hypothesis import assume

        assume(False)
        raise


def latency(subset: Subset) -> dict[str, float]:
    """Grows with the distance of the first tuned unit from the output."""
    return {"latency": 6 - int(subset.names[0][5:]) if subset else 0}


def other_count(subset: Subset) -> dict[str, float]:
    """Trainable parameters that are not the sum of the units'."""
    return {**latency(subset), "trainable_parameters": 7.0 * len(subset)}


def brute_force(space: SearchSpace) -> list[Subset]:
    """All subsets inside, in order of size, then depth, judged one by one from the definition."""
    names = [unit.name for unit in space.units]
    every = [Subset(c) for size in range(len(names) + 1) for c in combinations(names, size)]
    return [subset for subset in every if inside(space, subset)]


def inside(space: SearchSpace, subset: Subset) -> bool:
    bounds = space.bounds
    if len(subset) < bounds.min_units or len(subset) > (bounds.max_units or 99):
        return False
    if not set(bounds.always) <= set(subset) or set(bounds.never) & set(subset):
        return False
    if bounds.contiguous is not None:
        run = [unit.depth for unit in space.units if unit.name in subset]
        run = [i for i in run if f"layer{i}" not in bounds.always]
        between = [f"layer{i}" for i in range(run[0], run[-1] + 1)] if run else []
        if len(run) != bounds.contiguous or not set(between) <= set(subset):
            return False
    costs = space.costs(subset)
    above = all(costs[name] >= limit for name, limit in space.floors.items())
    return above and all(costs[name] <= limit for name, limit in space.limits.items())


@given(spaces())
def test_enumerates_and_counts_what_brute_force_finds(space: SearchSpace) -> None:
    expected = brute_force(space)
    assert list(space.enumerate()) == expected
    assert [subset.names for subset in space.enumerate()] == [s.names for s in expected]
    assert space.count() == len(expected)
    assert space.count(at_most=3) == min(3, len(expected))


@given(spaces(), st.integers(0, 1000))
def test_samples_repairs_and_neighbours_stay_inside(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    expected = set(brute_force(space))
    subset = space.sample(rng)
    assert subset in expected
    anything = Subset(unit.name for unit in space.units if rng.random() < 0.5)
    assert space.repair(anything, rng) in expected
    assert space.repair(subset, rng) == subset
    for neighbour in space.neighbours(subset):
        assert neighbour in expected
        assert len(set(neighbour) ^ set(subset)) in {1, 2}


@given(spaces(), st.integers(0, 1000))
def test_a_subset_survives_the_way_through_parameters(space: SearchSpace, seed: int) -> None:
    subset = space.sample(np.random.default_rng(seed))
    parameters = space.to_parameters(subset)
    assert list(parameters) == list(space.free)
    assert space.from_parameters(parameters) == subset


@given(spaces())
def test_says_why_a_subset_is_outside(space: SearchSpace) -> None:
    names = [unit.name for unit in space.units]
    for size in range(len(names) + 1):
        for chosen in combinations(names, size):
            subset = Subset(chosen)
            assert (space.why_not(subset) is None) == inside(space, subset)
            assert (subset in space) == inside(space, subset)


@given(spaces())
def test_a_pickled_space_holds_the_same_subsets(space: SearchSpace) -> None:
    copy = pickle.loads(pickle.dumps(space))
    assert list(copy.enumerate()) == list(space.enumerate())
    assert copy.describe() == space.describe()


def test_neighbours_of_an_unbounded_space_are_all_single_changes() -> None:
    space = SearchSpace(units(1, 1, 1, 1))
    found = [str(s) for s in space.neighbours(space.subset(["layer1"]))]
    assert found == [
        "{layer0, layer1}",
        "{layer1, layer2}",
        "{layer1, layer3}",
        "{}",
        "{layer0}",
        "{layer2}",
        "{layer3}",
    ]


def test_counts_a_large_space_without_listing_it() -> None:
    assert SearchSpace(units(*[1] * 300)).count() == 2**300
    bounded = SearchSpace(units(*[1] * 200), bounds=Bounds(min_units=1, max_units=3))
    assert bounded.count() == comb(200, 1) + comb(200, 2) + comb(200, 3)


def test_counts_a_large_space_with_a_parameter_budget() -> None:
    numels = [10] * 40 + [20] * 40
    space = SearchSpace(units(*numels), limits={"trainable_parameters": 50})
    expected = sum(comb(40, a) * comb(40, b) for a in range(6) for b in range(3) if a + 2 * b <= 5)
    assert space.count() == expected


def test_lists_the_first_of_a_large_space_at_once() -> None:
    # Over 10^17 subsets, of which only the cheap ones are in the space: no dead ends are walked.
    numels = [1000 + i for i in range(100)]
    space = SearchSpace(
        units(*numels),
        bounds=Bounds(min_units=10),
        limits={"trainable_parameters": sum(numels[:10]) + 1},
    )
    assert [len(subset) for subset in space.enumerate()] == [10, 10]


def test_samples_are_uniform_over_the_space() -> None:
    space = SearchSpace(
        units(1, 2, 3, 4, 5), bounds=Bounds(min_units=1), limits={"trainable_parameters": 7}
    )
    rng = np.random.default_rng(0)
    draws = 20_000
    seen = Counter(space.sample(rng) for _ in range(draws))
    expected = draws / space.count()
    assert set(seen) == set(space.enumerate())
    chi2 = sum((count - expected) ** 2 / expected for count in seen.values())
    # 15 subsets: the 99.9th percentile of chi-squared with 14 degrees of freedom is 36.1.
    assert space.count() == 15
    assert chi2 < 36.1


def test_samples_where_counting_is_out_of_reach() -> None:
    rng = np.random.default_rng(1)
    numels = [int(n) for n in rng.integers(10**6, 10**7, size=400)]
    space = SearchSpace(
        units(*numels), bounds=Bounds(min_units=5), limits={"trainable_parameters": sum(numels) / 3}
    )
    drawn = [space.sample(rng) for _ in range(20)]
    assert all(subset in space for subset in drawn)
    assert len(set(drawn)) == 20
    assert space.count(at_most=10) == 10


def test_orders_units_by_depth_and_subsets_with_them() -> None:
    space = SearchSpace(list(reversed(units(1, 2, 3))))
    assert space.free == ("layer0", "layer1", "layer2")
    assert space.subset(["layer2", "layer0"]).names == ("layer0", "layer2")


@pytest.mark.parametrize(("word", "size"), [("none", 0), ("linear_probe", 0), ("all", 3)])
def test_takes_words_for_nothing_and_everything(word: str, size: int) -> None:
    space = SearchSpace(units(1, 2, 3))
    assert len(space.subset(word)) == size
    assert len(space.subset([word])) == size


def test_a_unit_named_like_a_word_is_the_unit() -> None:
    space = SearchSpace([Unit(name="all", depth=0, parameters=()), *units(1, 2)])
    assert space.subset(["all"]).names == ("all",)


def test_runs_keep_to_fixed_units() -> None:
    bounds = Bounds(always=("layer1",), never=("layer4",))
    space = SearchSpace(units(1, 1, 1, 1, 1, 1, 1), bounds=bounds)
    assert [str(run) for run in space.runs(2)] == [
        "{layer0, layer1, layer2}",
        "{layer1, layer2, layer3}",
        "{layer1, layer5, layer6}",
    ]


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Bounds(always=("layr1",)), ["space.always[0]", "'layr1'", "did you mean 'layer1'"]),
        (Bounds(never=("x", "layer9")), ["space.never[0]", "'x'", "space.never[1]", "'layer9'"]),
        (Bounds(always=("layer1",), never=("layer1",)), ["'layer1'", "also in space.never"]),
        (Bounds(min_units=4), ["space.min_units", "4 units", "the 3 there are"]),
        (Bounds(min_units=3, never=("layer0",)), ["3 units", "the 2 there are"]),
        (Bounds(min_units=-1), ["must not be negative (-1)"]),
        (Bounds(max_units=0), ["space.max_units", "at least 1 (0)"]),
        (Bounds(min_units=2, max_units=1), ["space.max_units", "less than space.min_units 2"]),
        (Bounds(max_units=1, always=("layer0", "layer1")), ["1 is less than the 2 units always"]),
        (Bounds(never=("layer0", "layer1", "layer2")), ["no unit is left"]),
        (Bounds(contiguous=4), ["run of 4", "the 3 units"]),
        (Bounds(contiguous=0), ["at least 1 (0)"]),
        (Bounds(contiguous=2, never=("layer1",)), ["no 2 units are consecutive", "layer1"]),
        (Bounds(contiguous=1, min_units=2), ["fewer than space.min_units 2"]),
        (Bounds(contiguous=3, max_units=2), ["more than space.max_units 2"]),
    ],
)
def test_refuses_impossible_bounds_before_any_work(bounds: Bounds, words: list[str]) -> None:
    with pytest.raises(SpaceError) as refusal:
        SearchSpace(units(1, 2, 3), bounds=bounds)
    for word in words:
        assert word in str(refusal.value)


def test_refuses_a_space_without_units_or_with_one_twice() -> None:
    with pytest.raises(SpaceError, match="no unit to search"):
        SearchSpace([])
    with pytest.raises(SpaceError, match="'layer0' is there more than once"):
        SearchSpace([*units(1), *units(1)])


def test_names_the_cheapest_subset_of_an_impossible_budget() -> None:
    with pytest.raises(SpaceError, match=r"\{layer1\}, has trainable_parameters 300 > 299"):
        SearchSpace(units(400, 300, 500), limits={"trainable_parameters": 299})
    with pytest.raises(SpaceError, match=r"\{layer0, layer1\}, has trainable_parameters 700 > 600"):
        SearchSpace(
            units(400, 300, 500),
            bounds=Bounds(min_units=2),
            limits={"trainable_parameters": 600},
        )
    with pytest.raises(SpaceError, match=r"\{layer2\}, has trainable_parameters 500 > 10"):
        SearchSpace(
            units(400, 300, 500),
            bounds=Bounds(always=("layer2",)),
            limits={"trainable_parameters": 10},
        )


def test_names_the_cheapest_subset_of_another_impossible_limit() -> None:
    with pytest.raises(SpaceError, match=r"\{layer2\}, has latency 4 > 3"):
        SearchSpace(units(1, 2, 3), limits={"latency": 3}, costs=latency)


def test_refuses_a_budget_out_of_reach_of_many_units_at_once() -> None:
    numels = [1000] * 500
    with pytest.raises(SpaceError, match="trainable_parameters 1000 > 999"):
        SearchSpace(units(*numels), limits={"trainable_parameters": 999})


def test_names_the_cheapest_of_more_subsets_than_can_be_looked_at() -> None:
    deep = units(*[7] * 30)
    bounds = Bounds(min_units=6)  # 593,775 subsets of the smallest size

    def scattered(subset: Subset) -> dict[str, float]:
        return {"odd": sum((int(name[5:]) * 11) % 30 for name in subset)}

    with pytest.raises(SpaceError, match="has odd 15 > 14; raise the maximum"):
        SearchSpace(deep, bounds=bounds, limits={"odd": 14}, costs=scattered)
    space = SearchSpace(deep, bounds=bounds, limits={"odd": 15}, costs=scattered)
    assert space.sample(np.random.default_rng(0)) in space


def test_names_the_nearest_subset_to_a_minimum_out_of_reach() -> None:
    with pytest.raises(SpaceError, match=r"the nearest subset, \{layer1, layer2\}, has trainable"):
        SearchSpace(units(1, 2, 3), bounds=Bounds(max_units=2), floors={"trainable_parameters": 9})


def test_a_minimum_is_a_part_of_the_space() -> None:
    space = SearchSpace(units(1, 2, 4), floors={"trainable_parameters": 5})
    assert {subset.names for subset in space.enumerate()} == {
        ("layer0", "layer2"),
        ("layer1", "layer2"),
        ("layer0", "layer1", "layer2"),
    }
    assert space.why_not(Subset(["layer1"])) == "trainable_parameters 2 < 5"
    assert space.describe()["floors"] == {"trainable_parameters": 5}
    assert "floors" not in SearchSpace(units(1)).describe()


def test_refuses_unknown_costs_and_negative_limits() -> None:
    with pytest.raises(SpaceError, match="'trainable_parametres' is unknown; did you mean"):
        SearchSpace(units(1), limits={"trainable_parametres": 1})
    with pytest.raises(SpaceError, match=r"must not be negative \(-1\)"):
        SearchSpace(units(1), limits={"trainable_parameters": -1})


def test_names_the_nearest_of_an_unknown_unit() -> None:
    space = SearchSpace(units(1, 2, 3))
    with pytest.raises(SpaceError, match=r"'layer9' is no unit .*; did you mean 'layer"):
        space.subset(["layer9", "layer0"])
    with pytest.raises(SpaceError, match="'layer9' is not a unit that is switched"):
        space.from_parameters({"layer9": True})


def test_why_not_says_by_how_much() -> None:
    space = SearchSpace(
        units(100_000, 200_000),
        bounds=Bounds(max_units=2),
        limits={"trainable_parameters": 200_000},
    )
    full = space.subset("all")
    assert space.why_not(full) == "trainable_parameters 300000 > 200000"
    assert space.why_not(Subset(["x"])) == "x is not a unit of this space"
    assert space.trainable_parameters(full) == 300_000


def test_describes_itself_in_plain_values() -> None:
    import json

    space = SearchSpace(
        units(1, 2), bounds=Bounds(always=("layer1",)), limits={"trainable_parameters": 5}
    )
    described = space.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["bounds"]["always"] == ["layer1"]
    assert described["limits"] == {"trainable_parameters": 5}
