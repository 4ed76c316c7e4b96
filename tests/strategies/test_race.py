"""Races: looks go by the strategy's rules, finalists by the whole schedule."""

from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.space import Bounds, History, SearchSpace, Subset, TrialRecord, TrialState
from layersearch.strategies import (
    Done,
    Greedy,
    Ledger,
    Look,
    Progress,
    Race,
    make_strategy,
)
from tests.strategies.simulation import Simulation, brute_force, random_score, scored, units

SPACE = SearchSpace(units(1, 2, 3, 4, 5))


def race(space: SearchSpace = SPACE, *, finalists: int = 3, z: float = 1.0) -> Race:
    return Race(Greedy(space, stop="paper"), space, epochs=1, finalists=finalists, z=z)


def look(subset: Subset, number: int, right: int, of: int = 100) -> TrialRecord:
    correct = np.arange(of) < right
    return TrialRecord(
        number=number,
        subset=subset,
        state=TrialState.PRUNED,
        score=right / of,
        correct=correct,
        look=1,
    )


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_looks_decide_what_the_strategy_asks_for_and_the_whole_schedule_who_wins(
    seed: int, other: int
) -> None:
    looks, whole = random_score(seed), random_score(other)
    simulation = Simulation(lambda: race(finalists=1), scored(whole), looks=looks)
    answer = simulation.run()
    # One finalist: the strategy's own choice, which goes by the looks.
    assert answer == brute_force(SPACE, looks, "forward", "paper")
    trained = [r.subset for r in simulation.records.values() if r.look is None]
    assert trained == [answer]


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(1, 9),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.1]),
)
def test_the_answer_does_not_depend_on_workers_order_or_kills(
    seed: int, other: int, workers: int, order: int, kill: float
) -> None:
    looks, whole = random_score(seed), random_score(other)
    alone = Simulation(race, scored(whole), looks=looks)
    many = Simulation(
        race, scored(whole), looks=looks, workers=workers, random=Random(order), kill=kill
    )
    assert many.run() == alone.run()
    ended = [r for r in many.records.values() if not r.attributes.get("interrupted")]
    assert max(Counter((r.subset, r.look) for r in ended).values()) == 1


def test_finalists_are_the_choice_and_the_best_of_what_is_tied_with_it() -> None:
    a, b, c, d = (SPACE.subset([f"layer{i}"]) for i in range(4))
    strategy = Race(_Chooses(a), SPACE, epochs=1, finalists=3, z=1.5)
    records = [look(a, 0, 80), look(b, 1, 40), look(c, 2, 79), look(d, 3, 80)]
    view = strategy.looks(History(records))
    # Of 100 samples on which they differ by nothing or one, c and d are tied with a; b is not.
    assert strategy.finalists(view) == (a, d, c)
    assert strategy.propose(History(records)) == a


def test_a_score_of_the_whole_schedule_is_no_look() -> None:
    whole = TrialRecord(number=0, subset=Subset(), state=TrialState.COMPLETE, score=0.9)
    strategy = race()
    assert strategy.looks(History([whole])).scores == {}
    assert isinstance(strategy.propose(History([whole])), Look)


def test_finalists_that_have_a_score_already_are_not_trained_again() -> None:
    a = SPACE.subset(["layer0"])
    strategy = Race(_Chooses(a), SPACE, epochs=1, finalists=1)
    whole = TrialRecord(number=1, subset=a, state=TrialState.COMPLETE, score=0.9)
    assert isinstance(strategy.propose(History([look(a, 0, 80), whole])), Done)
    assert strategy.answer(History([look(a, 0, 80), whole])) == a


def test_before_a_finalist_has_a_score_the_looks_answer() -> None:
    a = SPACE.subset(["layer0"])
    strategy = Race(_Chooses(a), SPACE, epochs=1)
    assert strategy.answer(History([look(a, 0, 80)])) == a


@given(st.integers(1, 6), st.integers(0, 10**6), st.integers(1, 9), st.integers(0, 10**6))
def test_lazy_rounds_are_the_same_for_any_number_of_workers(
    n: int, seed: int, workers: int, order: int
) -> None:
    space = SearchSpace(units(*range(1, n + 1)))
    score = random_score(seed)

    def make() -> Greedy:
        return Greedy(space, lazy=0.5)

    alone = Simulation(make, scored(score))
    many = Simulation(make, scored(score), workers=workers, random=Random(order), kill=0.05)
    assert many.run() == alone.run()
    assert set(alone.trained()) <= set(many.trained())


def test_a_lazy_round_skips_what_gained_least_and_says_so() -> None:
    worth = {"layer0": 0.01, "layer1": 0.20, "layer2": 0.10, "layer3": 0.0, "layer4": 0.02}

    def score(subset: Subset) -> float:  # half of every further gain
        gains = sorted((worth[name] for name in subset), reverse=True)
        return 0.5 + sum(gain / 2**place for place, gain in enumerate(gains))

    greedy = Greedy(SPACE, lazy=0.0)
    simulation = Simulation(lambda: greedy, scored(score))
    full = Simulation(lambda: Greedy(SPACE), scored(score))
    assert simulation.run() == full.run()
    assert len(simulation.trained()) < len(full.trained())
    second = greedy.survey(Ledger(simulation.history))[1]
    assert second.winner == SPACE.subset(["layer1", "layer2"])
    assert SPACE.subset(["layer1", "layer3"]) in second.skipped


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_a_race_is_made_by_its_options(direction: str) -> None:
    options = {"direction": direction, "look_epochs": 2, "finalists": 4}
    made = make_strategy("greedy", options, space=SPACE, seed=0)
    assert isinstance(made, Race)
    assert (made.epochs, made.most_finalists) == (2, 4)


def test_a_bounded_space_has_only_finalists_of_its_own() -> None:
    space = SearchSpace(units(1, 2, 3), bounds=Bounds(min_units=1))
    outside = look(Subset(), 0, 90)
    inside = look(space.subset(["layer1"]), 1, 89)
    strategy = Race(_Chooses(space.subset(["layer1"])), space, epochs=1)
    assert strategy.finalists(strategy.looks(History([outside, inside]))) == (inside.subset,)


class _Chooses:
    """A strategy that is done and has chosen."""

    def __init__(self, choice: Subset) -> None:
        self.choice = choice

    def propose(self, history: History) -> Done:
        del history
        return Done("chosen")

    def answer(self, history: History) -> Subset:
        del history
        return self.choice

    def explain(self, history: History) -> Progress:
        del history
        return Progress(phase="chosen")


def test_where_the_whole_schedule_belies_the_looks_the_search_goes_on_by_it() -> None:
    def looks(subset: Subset) -> float:
        return 0.8  # too short to tell anything

    def whole(subset: Subset) -> float:
        return 0.5 + 0.1 * len(subset)

    def made() -> Race:
        return Race(Greedy(SPACE), SPACE, epochs=1, finalists=2)

    def outcome(subset: Subset, number: int) -> TrialRecord:
        correct = np.arange(100) < round(100 * whole(subset))
        return replace(scored(whole)(subset, number), correct=correct)

    alone = Simulation(made, outcome, looks=looks)
    everything = SPACE.subset("all")
    assert alone.run() == everything
    tried = [r.subset for r in alone.records.values() if r.look is None]
    assert len(set(tried)) == len(tried)
    many = Simulation(made, outcome, looks=looks, workers=4, random=Random(3), kill=0.1)
    assert many.run() == everything


def test_finalists_that_differ_by_little_do_not_belie_the_looks() -> None:
    simulation = Simulation(
        lambda: Race(Greedy(SPACE, stop="paper"), SPACE, epochs=1),
        lambda subset, number: TrialRecord(
            number=number,
            subset=subset,
            state=TrialState.COMPLETE,
            score=0.8 + 0.001 * len(subset),
            stderr=0.01,
        ),
        looks=lambda subset: 0.8 - 0.001 * len(subset),
    )
    simulation.run()
    assert sum(r.look is None for r in simulation.records.values()) <= 3
