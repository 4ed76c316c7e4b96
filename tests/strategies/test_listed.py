"""Strategies that go through a list: exhaustive, random, profile; and a queue before any."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.errors import ConfigError
from layersearch.space import Bounds, History, SearchSpace, Subset, TrialRecord, TrialState
from layersearch.strategies import (
    Done,
    Profile,
    Queued,
    Strategy,
    Wait,
    every_subset,
    make_strategy,
    random_search,
    random_subsets,
)
from tests.strategies.simulation import Simulation, history_of, random_score, scored, units


@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([0.0, 0.1]))
def test_exhaustive_finds_the_best_of_all(seed: int, workers: int, kill: float) -> None:
    space = SearchSpace(units(1, 2, 3, 4), bounds=Bounds(min_units=1))
    score = random_score(seed, levels=10**6)
    simulation = Simulation(lambda: every_subset(space), scored(score), workers=workers, kill=kill)
    assert simulation.run() == max(space.enumerate(), key=score)
    assert sorted(map(str, simulation.trained())) == sorted(map(str, space.enumerate()))


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_random_search_trains_the_same_subsets_whatever_the_workers(
    seed: int, workers: int
) -> None:
    space = SearchSpace(units(*[1] * 13))  # more subsets than are shuffled
    outcome = scored(random_score(seed))
    alone = Simulation(lambda: random_subsets(space, seed=seed), outcome)
    many = Simulation(lambda: random_subsets(space, seed=seed), outcome, workers=workers)
    for simulation in (alone, many):
        with pytest.raises(AssertionError, match="no end"):
            simulation.run(limit=40)
    shorter = min(len(alone.trained()), len(many.trained()))
    assert alone.trained()[:shorter] == many.trained()[:shorter]
    assert len(set(many.trained())) == len(many.trained())


@pytest.mark.parametrize("small", [0, 4096])
def test_random_search_comes_to_every_subset_once(
    small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_search, "_SMALL", small)  # drawn one by one, or shuffled
    space = SearchSpace(units(*[1] * 7))
    drawn = list(random_search.draws(space, 5))
    assert len(drawn) == len(set(drawn)) == 2**7
    assert drawn != list(random_search.draws(space, 6))


def test_a_profile_has_single_units_runs_and_pairs() -> None:
    space = SearchSpace(units(1, 1, 1, 1))
    parts = {part: list(map(str, subsets)) for part, subsets in Profile(space).parts.items()}
    assert parts["linear_probe"] == ["{}"]
    assert parts["single"] == ["{layer0}", "{layer1}", "{layer2}", "{layer3}"]
    assert parts["runs_2"] == ["{layer0, layer1}", "{layer1, layer2}", "{layer2, layer3}"]
    assert parts["runs_3"] == ["{layer0, layer1, layer2}", "{layer1, layer2, layer3}"]
    assert len(parts["pairs"]) == 6


def test_a_profile_trains_what_several_parts_share_once() -> None:
    space = SearchSpace(units(1, 1, 1, 1))
    simulation = Simulation(lambda: Profile(space), scored(random_score(0)), workers=3)
    simulation.run()
    assert len(simulation.trained()) == len(set(simulation.trained())) == 1 + 4 + 6 + 2


def test_a_profile_keeps_to_the_space_and_to_its_parts() -> None:
    space = SearchSpace(
        units(5, 1, 9, 1),
        bounds=Bounds(always=("layer1",), max_units=2),
        limits={"trainable_parameters": 6},
    )
    profile = Profile(space, parts=("linear_probe", "single", "pairs"))
    assert [str(s) for s in profile.parts["single"]] == ["{layer0, layer1}", "{layer1, layer3}"]
    assert profile.parts["pairs"] == ()


def test_points_of_a_profile_are_there_before_and_after_training() -> None:
    space = SearchSpace(units(5, 1))
    profile = Profile(space, parts=("single",))
    history = History(
        [
            TrialRecord(
                number=0,
                subset=space.subset(["layer1"]),
                state=TrialState.COMPLETE,
                score=0.5,
                stderr=0.1,
            )
        ]
    )
    first, second = profile.points(history)["single"]
    assert (first.units, first.score, first.trainable_parameters) == (("layer0",), None, 5)
    assert (second.units, second.score, second.stderr) == (("layer1",), 0.5, 0.1)
    assert profile.answer(history) == space.subset(["layer1"])


def test_refuses_unknown_parts_and_empty_profiles() -> None:
    space = SearchSpace(units(1, 1, 1), bounds=Bounds(contiguous=2))
    with pytest.raises(ConfigError, match=r"strategy.parts\[1\]: 'singel' .*did you mean 'single'"):
        Profile(space, parts=("single", "singel"))
    with pytest.raises(ConfigError, match="no subset of"):
        Profile(space, parts=("single",))


def test_a_queue_comes_first_and_is_not_repeated() -> None:
    space = SearchSpace(units(1, 1))
    queue = [space.subset("all"), Subset()]
    simulation = Simulation(lambda: Queued(every_subset(space), queue), scored(random_score(0)))
    simulation.run()
    assert simulation.trained()[:2] == queue
    assert len(simulation.trained()) == 4


def test_a_search_is_not_done_while_its_queue_is_running() -> None:
    space = SearchSpace(units(1), bounds=Bounds(min_units=1))
    strategy = Queued(every_subset(space), [Subset()])
    probe = TrialRecord(number=5, subset=Subset(), state=TrialState.RUNNING)
    history = History([*history_of({space.subset("all"): 0.5}), probe])
    assert isinstance(strategy.propose(history), Wait)
    assert strategy.explain(history).phase == "subsets to try first"
    done = history_of({space.subset("all"): 0.5, Subset(): 0.9})
    assert isinstance(strategy.propose(done), Done)
    assert strategy.answer(done) == space.subset("all")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("greedy", {"direction": "both", "stop": "paper", "min_gain": 0.01, "max_rounds": 3}),
        ("greedy", {}),
        ("profile", {"parts": ["single", "runs_4"]}),
        ("exhaustive", {}),
        ("random", {}),
    ],
)
def test_makes_strategies_by_name(name: str, options: dict[str, Any]) -> None:
    space = SearchSpace(units(1, 1, 1, 1))
    strategy = make_strategy(name, options, space=space, seed=0)
    assert isinstance(strategy, Strategy)
    assert isinstance(strategy.propose(History()), Subset)
    queued = make_strategy(name, options, space=space, seed=0, enqueue=[space.subset("all")])
    assert queued.propose(History()) == space.subset("all")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("gredy", {}, "'gredy' is not a strategy; did you mean 'greedy'"),
        ("greedy", {"max_round": 3}, "strategy.max_round: .*did you mean 'max_rounds'"),
        ("greedy", {"max_rounds": 0}, r"whole number from 1 \(0\)"),
        ("greedy", {"min_gain": True}, r"must be a number \(True\)"),
        ("profile", {"parts": "single"}, "must be a list of names"),
        ("random", {"seed": 3}, "'seed' is not an option of random; there are none"),
    ],
)
def test_refuses_unknown_names_options_and_values(
    name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        make_strategy(name, options, space=SearchSpace(units(1)), seed=0)
