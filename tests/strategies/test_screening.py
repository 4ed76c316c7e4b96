"""Screening: the design, what follows from its scores, and who is trained after it."""

from collections import Counter
from dataclasses import replace
from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layersearch.errors import ConfigError
from layersearch.space import Bounds, History, SearchSpace, Subset, TrialRecord, TrialState
from layersearch.strategies import Done, Ledger, Look, Race, Screening, Strategy, make_strategy
from layersearch.strategies.screening import make_design
from tests.strategies.simulation import Simulation, random_score, scored, units

SPACE = SearchSpace(units(1, 2, 3, 4, 5, 6, 7, 8))


def additive(seed: int, *, pairs: float = 0.0) -> tuple[dict[str, float], object]:
    """Effects of the units, and the score that they give; `pairs`: what a pair adds to it."""
    rng = np.random.default_rng(seed)
    effects = dict(zip(SPACE.free, rng.normal(0, 0.02, 8).tolist(), strict=True))
    extra = {pair: rng.normal(0, pairs) for pair in combinations(SPACE.free, 2)}

    def score(subset: Subset) -> float:
        together = sum(extra[pair] for pair in combinations(list(subset), 2)) if pairs else 0.0
        return 0.8 + sum(effects[unit] for unit in subset) + together

    return effects, score


@settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_where_units_only_add_up_it_finds_those_that_add_more_than_the_average(seed: int) -> None:
    effects, score = additive(seed)
    average = float(np.mean(list(effects.values())))
    strategy = Screening(SPACE, seed=seed, looks=16)

    def outcome(subset: Subset, number: int) -> TrialRecord:
        return replace(scored(score)(subset, number), stderr=2e-3)

    simulation = Simulation(lambda: strategy, outcome)
    found = set(simulation.run() or ())
    assert {unit for unit, effect in effects.items() if effect - average > 5e-3} <= found
    assert all(effects[unit] - average > -5e-3 for unit in found)
    assert len(simulation.trained()) <= 16 + 1  # the answer may be of the design


@settings(max_examples=40)
@given(
    st.integers(0, 10**6),
    st.integers(1, 7),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.1]),
    st.booleans(),
)
def test_the_answer_does_not_depend_on_workers_order_or_kills(
    seed: int, workers: int, order: int, kill: float, race: bool
) -> None:
    options = {"look_epochs": 1, "finalists": 2} if race else {"finalists": 2}

    made = [make_strategy("screening", options, space=SPACE, seed=seed) for _ in range(2)]

    def make() -> Strategy:
        made.reverse()  # a restarted driver makes another
        return made[0]

    whole, looks = random_score(seed), random_score(seed + 1)
    alone = Simulation(make, scored(whole), looks=looks)
    many = Simulation(
        make, scored(whole), looks=looks, workers=workers, random=Random(order), kill=kill
    )
    assert many.run() == alone.run()
    ended = [r for r in many.records.values() if not r.attributes.get("interrupted")]
    assert max(Counter((r.subset, r.look) for r in ended).values()) == 1


@given(
    st.integers(0, 10**6),
    st.integers(2, 30),
    st.sampled_from(
        [
            Bounds(),
            Bounds(always=("layer2",)),
            Bounds(never=("layer0", "layer7")),
            Bounds(min_units=2, max_units=3),
            Bounds(contiguous=3),
        ]
    ),
)
def test_a_design_is_of_different_subsets_of_the_space(
    seed: int, looks: int, bounds: Bounds
) -> None:
    space = SearchSpace(SPACE.units, bounds=bounds)
    design = make_design(space, looks=looks, seed=seed)
    assert len(set(design)) == len(design) <= looks
    assert all(subset in space for subset in design)
    assert len(design) == min(looks, space.count())
    assert design == make_design(space, looks=looks, seed=seed)


def test_every_unit_is_in_as_many_subsets_of_the_design() -> None:
    space = SearchSpace(units(*range(1, 29)))
    design = make_design(space, looks=56, seed=0)
    counts = Counter(unit for subset in design for unit in subset)
    assert {len(subset) for subset in design} == {7}
    assert set(counts.values()) == {14}


@given(st.integers(0, 10**6), st.sampled_from([Bounds(max_units=2), Bounds(contiguous=3)]))
def test_the_most_promising_subsets_keep_to_the_space(seed: int, bounds: Bounds) -> None:
    space = SearchSpace(SPACE.units, bounds=bounds)
    _, score = additive(seed)
    strategy = Screening(space, seed=seed, looks=20, finalists=0)
    records = [
        TrialRecord(number=i, subset=s, state=TrialState.COMPLETE, score=score(s))
        for i, s in enumerate(strategy.design)
    ]
    history = History(records)
    model = strategy.model(history)
    assert model is not None
    expected = sorted((model.predict(s) for s in space.enumerate()), reverse=True)
    first, *_ = strategy.ranked(history, 1)
    assert first in space
    assert model.predict(first) == pytest.approx(expected[0])


@given(st.integers(0, 10**6))
def test_the_ranking_is_that_of_all_subsets(seed: int) -> None:
    _, score = additive(seed)
    strategy = Screening(SPACE, seed=seed, finalists=0)
    history = History(
        TrialRecord(number=i, subset=s, state=TrialState.COMPLETE, score=score(s))
        for i, s in enumerate(strategy.design)
    )
    model = strategy.model(history)
    assert model is not None
    every = sorted((model.predict(s) for s in SPACE.enumerate()), reverse=True)
    ranked = strategy.ranked(history, 5)
    assert len(set(ranked)) == 5
    assert [model.predict(s) for s in ranked] == pytest.approx(every[:5])


def test_in_a_race_the_design_is_looked_at_and_the_most_promising_are_trained() -> None:
    _, looks = additive(5)
    strategy = make_strategy("screening", {"look_epochs": 2, "finalists": 3}, space=SPACE, seed=1)
    assert isinstance(strategy, Race)
    screening = strategy.strategy
    assert isinstance(screening, Screening)
    simulation = Simulation(lambda: strategy, scored(random_score(8)), looks=looks)
    answer = simulation.run()
    looked = [r.subset for r in simulation.records.values() if r.look == 2]
    trained = [r.subset for r in simulation.records.values() if r.look is None]
    assert looked == list(screening.design)
    view = strategy.looks(simulation.history)
    assert trained == list(screening.ranked(view, 3))
    assert answer == max(trained, key=lambda s: simulation.history.scores[s].score)


def test_lost_and_pruned_trials_of_the_design_count_for_nothing() -> None:
    effects, score = additive(11)
    average = float(np.mean(list(effects.values())))

    def outcome(subset: Subset, number: int) -> TrialRecord:
        if number in (2, 5):
            return TrialRecord(number=number, subset=subset, state=TrialState.PRUNED)
        return replace(scored(score)(subset, number), stderr=2e-3)

    simulation = Simulation(lambda: Screening(SPACE, seed=3, looks=16), outcome)
    found = set(simulation.run() or ())
    assert {unit for unit, effect in effects.items() if effect - average > 0.004} <= found


def test_nothing_is_answered_before_a_score_and_the_state_is_told() -> None:
    strategy = Screening(SPACE, seed=0)
    empty = History()
    assert strategy.answer(empty) is None
    assert strategy.ranked(empty, 3) == ()
    progress = strategy.explain(empty)
    assert (progress.candidates, progress.candidates_done) == (12, 0)
    assert not progress.whole


def test_a_space_of_few_subsets_is_its_own_design() -> None:
    space = SearchSpace(units(1, 2))
    simulation = Simulation(lambda: Screening(space, seed=0, looks=9), scored(random_score(1)))
    simulation.run()
    assert set(simulation.trained()) == set(space.enumerate())
    ledger = Ledger(simulation.history)
    assert isinstance(Screening(space, seed=0, looks=9).propose(simulation.history), Done)
    assert all(ledger.settled(subset) for subset in space.enumerate())


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.loks.*looks"):
        make_strategy("screening", {"loks": 3}, space=SPACE, seed=0)


def test_a_look_is_what_a_race_asks_for() -> None:
    strategy = make_strategy("screening", {"look_epochs": 1}, space=SPACE, seed=0)
    assert isinstance(strategy.propose(History()), Look)
