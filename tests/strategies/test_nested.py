"""Nested subsets: units in the order of what they gain alone, and a climb along that path."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.errors import ConfigError
from layersearch.space import Bounds, History, SearchSpace, Subset, TrialRecord, TrialState
from layersearch.strategies import Look, Nested, make_strategy
from tests.strategies.simulation import Simulation, random_score, scored, units

SPACE = SearchSpace(units(1, 2, 3, 4, 5))


def added(worth: dict[str, float], *, over: dict[int, float] | None = None) -> object:
    """A score that is what the units are worth, summed, and what a size changes about that."""

    def score(subset: Subset) -> float:
        return 0.5 + sum(worth.get(name, 0.0) for name in subset) + (over or {}).get(len(subset), 0)

    return score


WORTH = {"layer0": 0.01, "layer1": 0.05, "layer2": -0.02, "layer3": 0.04, "layer4": -0.03}
PATH = ("layer1", "layer3", "layer0", "layer2", "layer4")  # best alone first


def whole(simulation: Simulation) -> list[Subset | None]:
    return [r.subset for r in simulation.records.values() if r.look is None]


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(1, 9),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([None, 1]),
    st.integers(0, 2),
)
def test_the_answer_does_not_depend_on_workers_order_or_kills(
    seed: int,
    other: int,
    workers: int,
    order: int,
    kill: float,
    look_epochs: int | None,
    patience: int,
) -> None:
    def make() -> Nested:
        return Nested(SPACE, look_epochs=look_epochs, patience=patience)

    score, looks = scored(random_score(seed)), random_score(other)
    alone = Simulation(make, score, looks=looks)
    many = Simulation(make, score, looks=looks, workers=workers, random=Random(order), kill=kill)
    assert many.run() == alone.run()
    assert set(whole(many)) == set(whole(alone))
    ended = [r for r in many.records.values() if not r.attributes.get("interrupted")]
    assert max(Counter((r.subset, r.look) for r in ended).values()) == 1


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_answer_beats_its_neighbours_on_the_path(seed: int, other: int) -> None:
    simulation = Simulation(
        lambda: Nested(SPACE, look_epochs=1, patience=1),
        scored(random_score(seed)),
        looks=random_score(other),
    )
    answer = simulation.run()
    path = Nested(SPACE, look_epochs=1).path(simulation.history)
    assert answer in path
    k, score = path.index(answer), random_score(seed)
    for neighbour in path[max(0, k - 1) : k + 2]:
        assert score(neighbour) <= score(answer)
        assert neighbour in simulation.history.scores


def test_looks_rank_the_units_and_a_few_nested_subsets_are_trained_whole() -> None:
    # What the whole schedule gives to three units is more than they give alone.
    simulation = Simulation(
        lambda: Nested(SPACE, look_epochs=1, patience=1),
        scored(added(WORTH, over={3: 0.02})),  # type: ignore[arg-type]
        looks=added(WORTH),  # type: ignore[arg-type]
    )
    answer = simulation.run()
    assert answer == SPACE.subset(PATH[:3])
    looked = [r.subset for r in simulation.records.values() if r.look == 1]
    assert looked == [Subset(), *(SPACE.subset([f"layer{i}"]) for i in range(5))]
    # The climb begins where (0.05 + 0.04) / sqrt(2) is more than with one unit or with three.
    assert set(whole(simulation)) == {SPACE.subset(PATH[:k]) for k in (1, 2, 3, 4)}


def test_without_patience_only_the_foot_of_the_climb_is_trained() -> None:
    simulation = Simulation(
        lambda: Nested(SPACE, look_epochs=1),
        scored(added(WORTH)),  # type: ignore[arg-type]
        looks=added(WORTH),  # type: ignore[arg-type]
    )
    assert simulation.run() == SPACE.subset(PATH[:2])
    assert whole(simulation) == [SPACE.subset(PATH[:2])]


def test_a_unit_that_would_leave_the_space_is_passed_over() -> None:
    space = SearchSpace(units(1, 2, 3, 4, 5), limits={"trainable_parameters": 5})
    strategy = Nested(space, look_epochs=1, patience=1)
    simulation = Simulation(
        lambda: strategy,
        scored(added(WORTH)),  # type: ignore[arg-type]
        looks=added(WORTH),  # type: ignore[arg-type]
    )
    # After layer1 (2 parameters), layer3 (4) is over the limit, layer0 (1) is not.
    assert simulation.run() == space.subset(["layer0", "layer1"])
    assert all(subset in space for subset in strategy.path(simulation.history))


def test_units_that_are_always_on_are_in_every_subset_and_need_not_be_one_themselves() -> None:
    space = SearchSpace(units(1, 2, 3), bounds=Bounds(always=("layer0",), min_units=2))
    strategy = Nested(space)
    simulation = Simulation(lambda: strategy, scored(added({"layer1": 0.1, "layer2": 0.2})))  # type: ignore[arg-type]
    assert simulation.run() == space.subset("all")
    assert all("layer0" in (subset or ()) for subset in whole(simulation))
    assert space.subset(["layer0"]) not in whole(simulation)


def test_a_space_without_single_units_is_refused() -> None:
    with pytest.raises(ConfigError, match="none of them alone is in the space"):
        Nested(SearchSpace(units(1, 2, 3), bounds=Bounds(min_units=2)))


def test_failing_looks_are_tried_again_and_then_left_out() -> None:
    strategy = Nested(SPACE, look_epochs=1, max_failures=2)
    records = [
        TrialRecord(
            number=number,
            subset=subset,
            state=TrialState.PRUNED,
            score=added(WORTH)(subset),  # type: ignore[operator]
            look=1,
        )
        for number, subset in enumerate([Subset(), *(SPACE.subset([n]) for n in PATH[1:])])
    ]
    failed = SPACE.subset([PATH[0]])
    for number in (10, 11):
        assert strategy.propose(History(records)) == Look(failed, 1)
        record = TrialRecord(number=number, subset=failed, state=TrialState.FAILED, look=1)
        records.append(record)
    assert strategy.path(History(records))[1] == SPACE.subset([PATH[1]])
    assert isinstance(strategy.propose(History(records)), Subset)


@pytest.mark.parametrize("count", [28, 50])
def test_many_units_cost_a_look_each_and_a_few_trainings(count: int) -> None:
    space = SearchSpace(units(*[1] * count))
    worth = {f"layer{i}": 0.02 if i % 9 == 4 else -0.01 for i in range(count)}
    simulation = Simulation(
        lambda: Nested(space, look_epochs=1, patience=1),
        scored(added(worth)),  # type: ignore[arg-type]
        looks=added(worth),  # type: ignore[arg-type]
    )
    assert simulation.run() == space.subset([name for name in worth if worth[name] > 0])
    assert len(whole(simulation)) == 3
    assert len(simulation.records) == count + 1 + 3


def test_it_is_made_by_its_name() -> None:
    made = make_strategy("nested", {"look_epochs": 2, "patience": 3}, space=SPACE, seed=0)
    assert isinstance(made, Nested)
    assert (made.look_epochs, made.patience) == (2, 3)
    with pytest.raises(ConfigError, match="patience"):
        make_strategy("nested", {"patience": -1}, space=SPACE, seed=0)
