"""Leaps: all units at once that are worth it by what they gain alone."""

from collections import Counter
from math import inf, nan, sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.space import Bounds, SearchSpace, Subset, TrialState
from layersearch.strategies import Greedy, Race, make_strategy
from layersearch.strategies.leap import nested_path, worth_together
from tests.strategies.simulation import Simulation, history_of, random_score, scored, units

SPACE = SearchSpace(units(1, 2, 3, 4, 5))


def additive(gains: dict[str, float], base: float = 0.5):
    return lambda subset: base + sum(gains.get(unit, 0.0) for unit in subset)


@given(st.lists(st.floats(-1, 1), max_size=12))
def test_the_first_units_of_the_largest_sum_in_standard_errors_are_worth_it(
    gains: list[float],
) -> None:
    gains = sorted(gains, reverse=True)
    found = worth_together(gains)
    sums = [sum(gains[:k]) / sqrt(k) for k in range(1, len(gains) + 1)]
    assert (found == 0) == (not any(total > 0 for total in sums))
    if found:
        assert sums[found - 1] == max(sums)


def test_gains_that_are_no_numbers_end_the_count() -> None:
    assert worth_together([0.2, nan, 0.2]) == 1
    assert worth_together([inf]) == 0
    assert worth_together([]) == 0


def test_the_path_passes_over_units_with_which_it_would_leave_the_space() -> None:
    space = SearchSpace(units(1, 1, 1), bounds=Bounds(max_units=2))
    scores = {"layer0": 0.1, "layer1": 0.3, "layer2": 0.2}
    path = nested_path(space, Subset(), scores)
    assert [unit for unit, _ in path] == ["layer1", "layer2"]
    assert path[-1][1] == space.subset(["layer1", "layer2"])


def test_equal_scores_go_by_size() -> None:
    path = nested_path(SPACE, Subset(), dict.fromkeys(("layer3", "layer1", "layer2"), 0.5))
    assert [unit for unit, _ in path] == ["layer1", "layer2", "layer3"]


def test_greedy_adds_at_once_what_gains_alone() -> None:
    gains = {"layer1": 0.04, "layer3": 0.03, "layer4": 0.001, "layer0": -0.02}
    simulation = Simulation(lambda: Greedy(SPACE, z=0.0, leap=True), scored(additive(gains)))
    assert simulation.run() == SPACE.subset(["layer1", "layer3"])
    assert len(simulation.trained()) == 6  # the start and every unit alone: no second round


def test_nothing_is_added_where_nothing_gains() -> None:
    strategy = Greedy(SPACE, z=0.0, leap=True)
    simulation = Simulation(lambda: strategy, scored(lambda subset: 0.5 - 0.1 * len(subset)))
    assert simulation.run() == Subset()


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(0, 10**6))
def test_the_answer_does_not_depend_on_workers_or_order(
    seed: int, workers: int, order: int
) -> None:
    def race() -> Race:
        made = make_strategy("greedy", {"leap": True, "look_epochs": 1}, space=SPACE, seed=0)
        assert isinstance(made, Race)
        return made

    looks, whole = random_score(seed), random_score(seed + 1)
    alone = Simulation(race, scored(whole), looks=looks)
    many = Simulation(race, scored(whole), looks=looks, workers=workers, random=Random(order))
    assert many.run() == alone.run()
    trained = Counter((r.subset, r.look) for r in many.records.values())
    assert max(trained.values()) == 1


def test_only_the_leap_is_trained_by_the_whole_schedule() -> None:
    gains = {"layer1": 0.04, "layer3": 0.03}
    simulation = Simulation(
        lambda: make_strategy("greedy", {"leap": True, "look_epochs": 1}, space=SPACE, seed=0),
        scored(lambda subset: 0.1),
        looks=additive(gains),
    )
    answer = simulation.run()
    assert answer == SPACE.subset(["layer1", "layer3"])
    whole = [r.subset for r in simulation.records.values() if r.state is TrialState.COMPLETE]
    assert whole == [answer]


def test_looks_that_lead_nowhere_are_checked_and_then_rounds_go_by_the_whole_schedule() -> None:
    def truth(subset: Subset) -> float:
        return 0.5 + 0.1 * len(subset)

    simulation = Simulation(
        lambda: make_strategy("greedy", {"leap": True, "look_epochs": 1}, space=SPACE, seed=0),
        scored(truth),
        looks=lambda subset: 0.5 - 0.01 * len(subset),
    )
    # The looks say that nothing gains. A second finalist shows that they are wrong.
    assert simulation.run() == SPACE.subset("all")


def test_the_round_says_what_was_added_and_why_it_ends() -> None:
    strategy = Greedy(SPACE, z=0.0, leap=True)
    score = additive({"layer1": 0.04, "layer3": 0.03})
    singles = {SPACE.subset([unit]): score([unit]) for unit in SPACE.free}
    history = history_of({Subset(): 0.5, **singles})
    end = strategy.propose(history)
    assert "2 units that gain most alone" in getattr(end, "reason", "")
    assert strategy.answer(history) == SPACE.subset(["layer1", "layer3"])


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_leaving_out_goes_by_rounds(direction: str) -> None:
    options = {"direction": direction, "leap": True}
    simulation = Simulation(
        lambda: make_strategy("greedy", options, space=SPACE, seed=0),
        scored(lambda subset: 0.9 - 0.1 * len(subset)),
    )
    assert simulation.run() == Subset()
