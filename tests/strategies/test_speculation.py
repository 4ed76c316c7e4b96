"""What free workers do while a round waits: it must never change what a search finds."""

from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layersearch.space import (
    Bounds,
    Chronicle,
    History,
    SearchSpace,
    Subset,
    TrialRecord,
    TrialState,
    derive_seed,
)
from layersearch.strategies import Done, Greedy, GreedyBothWays, Queued, Strategy
from layersearch.strategies.speculation import chances_ahead, forecast_scores, win_chances
from tests.strategies.simulation import Simulation, history_of, random_score, units

searches = st.fixed_dictionaries(
    {
        "n": st.integers(1, 7),
        "seed": st.integers(0, 10**6),
        "direction": st.sampled_from(["forward", "backward", "both"]),
        "stop": st.sampled_from(["paper", "official", "paired"]),
        "max_units": st.none() | st.integers(1, 7),
        "queue": st.booleans(),
        "bad": st.sampled_from([0, 3, 10]),  # one of so many fails or is pruned; 0: none
    }
)


def make(search: dict[str, Any], speculate: int) -> Strategy:
    numels = [(7 * i) % 5 + 1 for i in range(search["n"])]
    forward = search["direction"] == "forward"
    space = SearchSpace(
        units(*numels),
        bounds=Bounds(max_units=search["max_units"] if forward else None),
    )
    directions = {"both": ("forward", "backward")}.get(search["direction"], (search["direction"],))
    ways = [
        Greedy(space, direction=way, stop=search["stop"], speculate=speculate) for way in directions
    ]
    strategy: Strategy = GreedyBothWays(*ways) if len(ways) == 2 else ways[0]
    return Queued(strategy, [space.subset("none")]) if search["queue"] else strategy


def outcome(search: dict[str, Any]) -> Any:
    """Scores, failures and prunings that follow from the subset alone."""
    score = random_score(search["seed"])

    def of(subset: Subset, number: int) -> TrialRecord:
        fate = derive_seed(search["seed"], "fate", *sorted(subset))
        state = TrialState.COMPLETE
        if search["bad"] and fate % search["bad"] == 0:
            state = TrialState.PRUNED if fate // 100 % 2 else TrialState.FAILED
        value = score(subset) if state is TrialState.COMPLETE else None
        return TrialRecord(number=number, subset=subset, state=state, score=value)

    return of


@settings(max_examples=300, deadline=None)
@given(
    search=searches,
    workers=st.integers(1, 12),
    order=st.integers(0, 10**6),
    kill=st.sampled_from([0.0, 0.05]),
    speculate=st.integers(0, 3),
)
def test_speculation_never_changes_the_answer(
    search: dict[str, Any], workers: int, order: int, kill: float, speculate: int
) -> None:
    alone = Simulation(lambda: make(search, 0), outcome(search))
    many = Simulation(
        lambda: make(search, speculate),
        outcome(search),
        workers=workers,
        random=Random(order),
        kill=kill,
        dismiss=True,
    )
    assert many.run() == alone.run()
    needed, trained = Counter(alone.trained()), Counter(many.trained())
    assert needed <= trained, "what one worker needs is trained"
    ended = Counter(r.subset for r in many.records.values() if r.state is not TrialState.FAILED)
    assert max(ended.values(), default=0) <= 1, "nothing is trained twice"
    assert not many.dismissed & needed.keys(), "what was stopped was not needed"


@settings(max_examples=100, deadline=None)
@given(search=searches, order=st.integers(0, 10**6))
def test_proposals_do_not_depend_on_what_was_asked_before(
    search: dict[str, Any], order: int
) -> None:
    """What objects keep from one history to the next is only a shortcut."""
    random, used = Random(order), make(search, 2)
    result, chronicle = outcome(search), Chronicle()
    running, moments = list[TrialRecord](), list[tuple[int, tuple[TrialRecord, ...]]]()
    for number in range(60):
        past = History(running, chronicle=chronicle)
        proposal = used.propose(past)
        fresh = History([*past])
        assert proposal == make(search, 2).propose(fresh)
        assert used.answer(past) == make(search, 2).answer(fresh)
        moments.append((past.known, past.active))
        if isinstance(proposal, Subset) and (len(running) < 4 or random.random() < 0.3):
            running.append(TrialRecord(number=number, subset=proposal, state=TrialState.RUNNING))
        elif running:
            ended = running.pop(random.randrange(len(running)))
            assert ended.subset is not None
            chronicle.add(result(ended.subset, ended.number))
        else:
            assert isinstance(proposal, Done)
            break
    known, active = random.choice(moments)  # a history of an earlier moment
    earlier = [*chronicle.ended[:known], *active]
    assert used.propose(History(earlier)) == make(search, 2).propose(History(earlier))


def test_a_guess_that_turned_out_wrong_is_moot() -> None:
    space = SearchSpace(units(1, 1, 1))
    strategy = Greedy(space, stop="paper")
    one, two, three = (space.subset([f"layer{i}"]) for i in range(3))
    guess, right = space.subset(["layer0", "layer1"]), space.subset(["layer1", "layer2"])
    running = [
        TrialRecord(number=10 + i, subset=subset, state=TrialState.RUNNING)
        for i, subset in enumerate((three, guess, right))
    ]
    undecided = History([*history_of({one: 0.5, two: 0.4}), *running])
    assert strategy.moot(undecided) == frozenset()
    decided = History([*history_of({one: 0.5, two: 0.4, three: 0.6}), *running[1:]])
    assert strategy.moot(decided) == {guess}
    over = Greedy(space, stop="paper", max_rounds=1)
    assert over.moot(decided) == {guess, right}
    queued = Queued(over, [guess])
    assert queued.moot(decided) == {right}


def test_speculates_deeper_where_the_next_round_runs_already() -> None:
    space = SearchSpace(units(1, 1, 1, 1))
    singles = [space.subset([f"layer{i}"]) for i in range(4)]
    done = history_of(dict(zip(singles[:3], (0.9, 0.5, 0.1), strict=True)))
    pairs = [space.subset(["layer0", f"layer{i}"]) for i in (1, 2, 3)]
    running = [
        TrialRecord(number=10 + i, subset=subset, state=TrialState.RUNNING)
        for i, subset in enumerate((singles[3], *pairs))
    ]
    past = History([*done, *running])
    proposal = Greedy(space, stop="paper", speculate=2).propose(past)
    # Layer 1 scored 0.5 alone, and so may layer 3: both winners would ask for the two together.
    assert proposal == space.subset(["layer0", "layer1", "layer3"])


def test_complete_rounds_are_not_played_again(monkeypatch: pytest.MonkeyPatch) -> None:
    space = SearchSpace(units(*[1] * 12))
    strategy = Greedy(space, stop="official", min_gain=10.0)
    played = []
    play = strategy._play
    monkeypatch.setattr(strategy, "_play", lambda *a: played.append(1) or play(*a))
    score, chronicle = random_score(1), Chronicle()
    for number in range(70):  # nearly nine rounds
        played.clear()
        subset = strategy.propose(History(chronicle=chronicle))
        assert isinstance(subset, Subset)
        assert len(played) <= 2
        chronicle.add(
            TrialRecord(
                number=number, subset=subset, state=TrialState.COMPLETE, score=score(subset)
            )
        )


def test_the_leader_s_chance_grows_while_others_fall_behind() -> None:
    names = [f"layer{i}" for i in range(5)]
    last = dict(zip(names, (0.9, 0.8, 0.7, 0.6, 0.5), strict=True))
    chances = []
    for known in range(1, 5):
        scores = {name: last[name] + 0.01 for name in names[:known]}
        forecast = forecast_scores(names, scores, names[known:], last)
        chances.append(dict(win_chances(forecast, bar=-np.inf)).get("layer0", 0.0))
    assert chances == sorted(chances)
    assert chances[-1] > 0.95


def test_what_failed_has_no_chance_and_chances_sum_up_to_one() -> None:
    names = ["a", "b", "c"]
    forecast = forecast_scores(names, {"a": 0.5, "b": -np.inf}, ["c"], {})
    chances = dict(win_chances(forecast, bar=-np.inf))
    assert "b" not in chances
    assert sum(chances.values()) == pytest.approx(1.0)
    assert win_chances(forecast, bar=1e9) == []
    assert forecast_scores([], {}, [], {}).scores.shape == (0,)


def test_trials_that_several_futures_ask_for_come_first() -> None:
    asked = {
        "a": [Subset(["a", "b"]), Subset(["a", "c"])],
        "b": [Subset(["a", "b"]), Subset(["b", "c"])],
    }
    found = chances_ahead(
        "now",
        futures=lambda state: [(0.5, "a"), (0.4, "b"), (0.01, "c")] if state == "now" else [],
        trials=asked.__getitem__,
        rounds=1,
    )
    assert found == {
        Subset(["a", "b"]): pytest.approx(0.9),
        Subset(["a", "c"]): 0.5,
        Subset(["b", "c"]): 0.4,
    }
    assert not chances_ahead("now", futures=lambda _: [], trials=asked.get, rounds=3)
