"""Greedy search: its answer, whoever asks, in whatever order trials end."""

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.errors import ConfigError
from layersearch.space import (
    Bounds,
    History,
    SearchSpace,
    Subset,
    TrialRecord,
    TrialState,
)
from layersearch.strategies import Done, Greedy, GreedyBothWays, Ledger, Strategy, Wait
from tests.strategies.simulation import (
    Simulation,
    brute_force,
    history_of,
    random_score,
    scored,
    units,
)

searches = st.fixed_dictionaries(
    {
        "n": st.integers(1, 6),
        "seed": st.integers(0, 10**6),
        "direction": st.sampled_from(["forward", "backward"]),
        "stop": st.sampled_from(["paper", "official", "paired"]),
        "min_gain": st.sampled_from([0.0, 0.05]),
        "max_units": st.none() | st.integers(1, 6),
    }
)


def make(search: dict[str, Any], **more: Any) -> tuple[SearchSpace, Greedy]:
    numels = [(7 * i) % 5 + 1 for i in range(search["n"])]
    most = search["max_units"] if search["direction"] == "forward" else None
    space = SearchSpace(units(*numels), bounds=Bounds(max_units=most))
    options = {k: search[k] for k in ("direction", "stop", "min_gain")}
    return space, Greedy(space, **options, **more)


@given(searches)
def test_one_worker_finds_what_brute_force_finds(search: dict[str, Any]) -> None:
    space, strategy = make(search)
    score = random_score(search["seed"])
    simulation = Simulation(lambda: strategy, scored(score))
    expected = brute_force(space, score, search["direction"], search["stop"], search["min_gain"])
    assert simulation.run() == expected
    assert max(Counter(simulation.trained()).values()) == 1
    assert simulation.waits == 0


@given(searches, st.integers(1, 9), st.integers(0, 10**6), st.sampled_from([0.0, 0.1]))
def test_the_answer_does_not_depend_on_workers_order_or_kills(
    search: dict[str, Any], workers: int, order: int, kill: float
) -> None:
    score = random_score(search["seed"])
    alone = Simulation(lambda: make(search)[1], scored(score))
    many = Simulation(
        lambda: make(search)[1], scored(score), workers=workers, random=Random(order), kill=kill
    )
    assert many.run() == alone.run()
    assert max(Counter(many.trained()).values()) == 1
    assert set(alone.trained()) <= set(many.trained())


@given(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from(["paper", "official", "paired"]))
def test_the_better_of_both_ways_is_chosen(seed: int, workers: int, stop: Any) -> None:
    space = SearchSpace(units(1, 2, 3, 4, 5))
    score = random_score(seed)
    ways = [Greedy(space, direction=d, stop=stop) for d in ("forward", "backward")]
    simulation = Simulation(
        lambda: GreedyBothWays(*ways), scored(score), workers=workers, random=Random(seed)
    )
    gain = 0.01 if stop == "official" else 0.0
    answers = [brute_force(space, score, d, stop, gain) for d in ("forward", "backward")]
    chosen = simulation.run()
    assert chosen is not None
    assert chosen in answers
    trained = set(simulation.trained())
    assert score(chosen) >= max(score(answer) for answer in answers if answer in trained)
    assert max(Counter(simulation.trained()).values()) == 1


def test_stops_when_no_candidate_gains_more_than_epsilon() -> None:
    space = SearchSpace(units(1, 1))
    strategy = Greedy(space, stop="paper", min_gain=0.1)
    scores = {space.subset(["layer0"]): 0.5, space.subset(["layer1"]): 0.4}
    history = history_of({**scores, space.subset("all"): 0.6})
    end = strategy.propose(history)
    assert isinstance(end, Done)
    assert "not more than 0.1" in end.reason
    assert strategy.answer(history) == space.subset(["layer0"])


def test_the_paper_starts_at_zero_and_does_not_train_the_linear_probe() -> None:
    space = SearchSpace(units(1, 1))
    strategy = Greedy(space, stop="paper")
    simulation = Simulation(lambda: strategy, scored(lambda subset: 0.1 * len(subset)))
    assert simulation.run() == space.subset("all")
    assert Subset() not in simulation.trained()


def test_the_paper_takes_scores_that_are_losses() -> None:
    space = SearchSpace(units(1, 1))
    strategy = Greedy(space, stop="paper")
    simulation = Simulation(lambda: strategy, scored(lambda subset: -2.0 + len(subset)))
    assert simulation.run() == space.subset("all")


def test_official_goes_on_over_a_plateau_and_keeps_the_best_seen() -> None:
    space = SearchSpace(units(1, 1, 1, 1))
    levels = {0: 0.5, 1: 0.60, 2: 0.595, 3: 0.61, 4: 0.59}
    simulation = Simulation(
        lambda: Greedy(space, stop="official"), scored(lambda subset: levels[len(subset)])
    )
    chosen = simulation.run()
    assert chosen is not None
    assert len(chosen) == 3
    assert max(len(subset) for subset in simulation.trained()) == 4


def record(subset: Subset, correct: list[bool], number: int, **more: Any) -> TrialRecord:
    return TrialRecord(
        number=number,
        subset=subset,
        state=TrialState.COMPLETE,
        score=float(np.mean(correct)),
        correct=np.array(correct),
        **more,
    )


def test_paired_accepts_a_small_gain_that_is_the_same_everywhere() -> None:
    # 2 of 1,000 samples become right and none wrong: 1.4 standard errors, paired; the unpaired
    # standard error of an accuracy of 0.5 is eight times the gain.
    space = SearchSpace(units(1))
    base = [i < 500 for i in range(1000)]
    better = [i < 502 for i in range(1000)]
    strategy = Greedy(space, stop="paired")
    history = History([record(Subset(), base, 0), record(space.subset("all"), better, 1)])
    assert strategy.answer(history) == space.subset("all")
    assert Greedy(space, stop="paired", z=2.0).answer(history) == Subset()


def test_paired_refuses_a_larger_gain_that_is_noise() -> None:
    # 40 become right and 34 wrong: a gain of 6 samples with a standard error of 8.6.
    space = SearchSpace(units(1))
    base = [i < 500 for i in range(1000)]
    noisy = [34 <= i < 540 for i in range(1000)]
    history = History([record(Subset(), base, 0), record(space.subset("all"), noisy, 1)])
    strategy = Greedy(space, stop="paired")
    assert strategy.answer(history) == Subset()
    assert "on the same 1000 samples" in str(strategy.propose(history))


def test_paired_trains_the_start_beside_the_first_candidates() -> None:
    space = SearchSpace(units(1, 1))
    strategy = Greedy(space)
    assert strategy.propose(History()) == Subset()
    running = TrialRecord(number=0, subset=Subset(), state=TrialState.RUNNING)
    assert strategy.propose(History([running])) == space.subset(["layer0"])


def test_speculates_on_what_most_of_the_likely_winners_would_ask_for() -> None:
    space = SearchSpace(units(1, 1, 1, 1))
    strategy = Greedy(space, stop="paper")
    scores = {"layer0": 0.1, "layer1": 0.9, "layer2": 0.5}
    done = history_of({space.subset([name]): score for name, score in scores.items()})
    running = TrialRecord(number=9, subset=space.subset(["layer3"]), state=TrialState.RUNNING)
    # Layer 1 leads, and layer 3 may still overtake it: both would ask for the two together.
    first, second = space.subset(["layer1", "layer3"]), space.subset(["layer1", "layer2"])
    assert strategy.propose(History([*done, running])) == first
    speculated = replace(running, number=10, subset=first)
    assert strategy.propose(History([*done, running, speculated])) == second
    assert isinstance(
        Greedy(space, stop="paper", speculate=0).propose(History([*done, running])), Wait
    )


def test_waits_rather_than_speculate_when_the_best_so_far_would_end_the_search() -> None:
    space = SearchSpace(units(1, 1))
    done = history_of({Subset(): 0.5, space.subset(["layer0"]): 0.4})
    running = TrialRecord(number=9, subset=space.subset(["layer1"]), state=TrialState.RUNNING)
    assert isinstance(Greedy(space).propose(History([*done, running])), Wait)


def test_a_speculated_score_is_used_when_its_round_comes() -> None:
    space = SearchSpace(units(1, 1, 1))
    strategy = Greedy(space, stop="paper")
    names = [["layer0"], ["layer1"], ["layer2"], ["layer0", "layer1"], ["layer0", "layer2"]]
    scores = dict(zip(map(space.subset, names), [0.5, 0.4, 0.3, 0.6, 0.55], strict=True))
    assert strategy.propose(history_of(scores)) == space.subset("all")


def test_ties_go_to_fewer_parameters_then_to_the_earlier_unit() -> None:
    space = SearchSpace(units(5, 3, 3))
    strategy = Greedy(space, stop="paper", max_rounds=1)
    simulation = Simulation(lambda: strategy, scored(lambda subset: 0.5))
    assert simulation.run() == space.subset(["layer1"])


def failed(subset: Subset, number: int, **attributes: Any) -> TrialRecord:
    return TrialRecord(number=number, subset=subset, state=TrialState.FAILED, attributes=attributes)


def test_a_failed_subset_is_tried_again_after_the_others_and_then_lost() -> None:
    space = SearchSpace(units(1, 1))
    strategy = Greedy(space, stop="paper")
    first, second = space.subset(["layer0"]), space.subset(["layer1"])
    assert strategy.propose(History([failed(first, 0)])) == second
    scored_second = replace(next(iter(history_of({second: 0.5}))), number=1)
    assert strategy.propose(History([failed(first, 0), scored_second])) == first
    twice = History([failed(first, 0), scored_second, failed(first, 2)])
    assert strategy.propose(twice) == space.subset("all")
    assert strategy.answer(twice) == second


def test_an_interrupted_trial_is_not_a_failure() -> None:
    space = SearchSpace(units(1))
    subset = space.subset("all")
    history = History(failed(subset, i, interrupted=True) for i in range(5))
    assert Greedy(space, stop="paper").propose(history) == subset


def test_ends_without_an_answer_when_everything_fails() -> None:
    space = SearchSpace(units(1, 1))
    strategy = Greedy(space, stop="paper")
    simulation = Simulation(lambda: strategy, failed)
    assert simulation.run() is None
    assert Counter(simulation.trained()) == {s: 2 for s in space.enumerate() if len(s) == 1}


def test_a_pruned_candidate_is_neither_tried_again_nor_chosen() -> None:
    space = SearchSpace(units(1, 1))
    pruned = TrialRecord(
        number=0, subset=space.subset(["layer0"]), state=TrialState.PRUNED, score=1
    )
    other = TrialRecord(
        number=1, subset=space.subset(["layer1"]), state=TrialState.COMPLETE, score=0.2
    )
    strategy = Greedy(space, stop="paper", max_rounds=1)
    assert isinstance(strategy.propose(History([pruned, other])), Done)
    assert strategy.answer(History([pruned, other])) == space.subset(["layer1"])


def test_a_score_that_is_no_number_never_wins() -> None:
    space = SearchSpace(units(1, 1))
    history = history_of({space.subset(["layer0"]): float("nan"), space.subset(["layer1"]): 0.1})
    strategy = Greedy(space, stop="paper", max_rounds=1)
    assert strategy.answer(history) == space.subset(["layer1"])
    assert isinstance(strategy.propose(history), Done)


@given(st.integers(0, 10**6), st.sampled_from(["forward", "backward"]))
def test_trains_nothing_that_the_budget_rules_out(seed: int, direction: Any) -> None:
    random = Random(seed)
    numels = [random.randint(1, 9) for _ in range(6)]
    space = SearchSpace(
        units(*numels),
        bounds=Bounds(always=("layer2",), max_units=4),
        limits={"trainable_parameters": 20},
    )
    simulation = Simulation(
        lambda: Greedy(space, direction=direction), scored(random_score(seed)), workers=3
    )
    assert simulation.run() in space
    assert all(subset in space for subset in simulation.trained())


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_runs_are_searched_in_one_round(direction: Any) -> None:
    space = SearchSpace(units(1, 1, 1, 1), bounds=Bounds(contiguous=2))
    simulation = Simulation(
        lambda: Greedy(space, direction=direction),
        scored(lambda s: 0.9 - abs(space.positions(s)[0] - 1)),
    )
    assert simulation.run() == space.subset(["layer1", "layer2"])
    assert len(simulation.trained()) == 3


def test_begins_with_the_smallest_subsets_of_the_space() -> None:
    space = SearchSpace(units(1, 1, 1), bounds=Bounds(min_units=2))
    simulation = Simulation(lambda: Greedy(space), scored(random_score(3)))
    assert simulation.run() in space
    assert [len(subset) for subset in simulation.trained()] == [2, 2, 2, 3]


def test_refuses_to_begin_with_thousands_of_subsets() -> None:
    space = SearchSpace(units(*[1] * 20), bounds=Bounds(min_units=5))
    with pytest.raises(ConfigError, match="all subsets of 5 units"):
        Greedy(space)
    assert Greedy(space, direction="backward").propose(History()) == space.subset("all")


def test_backward_begins_with_what_is_left_without_the_largest_units() -> None:
    space = SearchSpace(units(5, 50, 6, 7), limits={"trainable_parameters": 12})
    strategy = Greedy(space, direction="backward")
    assert strategy.propose(History()) == space.subset(["layer0", "layer2"])


def test_explains_where_the_search_stands() -> None:
    space = SearchSpace(units(1, 1, 1))
    strategy = Greedy(space)
    base = {Subset(): 0.5, space.subset(["layer0"]): 0.6}
    progress = strategy.explain(history_of(base))
    assert (progress.round, progress.candidates, progress.candidates_done) == (1, 4, 2)
    assert progress.best == space.subset(["layer0"])
    assert progress.best_score == 0.6
    more = {**base, space.subset(["layer1"]): 0.1, space.subset(["layer2"]): 0.2}
    progress = strategy.explain(history_of(more))
    assert (progress.round, progress.candidates, progress.candidates_done) == (2, 2, 0)
    assert progress.phase == "round 2: what to add to {layer0}"
    assert progress.base == space.subset(["layer0"])


def test_every_greedy_is_a_strategy() -> None:
    space = SearchSpace(units(1))
    assert isinstance(Greedy(space), Strategy)
    assert isinstance(GreedyBothWays(Greedy(space), Greedy(space, direction="backward")), Strategy)
    assert Ledger(History()).first_open([]) is None
