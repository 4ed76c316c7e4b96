"""Candidates that are clearly worse after some of their folds are stopped."""

from typing import Any

import numpy as np
import pytest

from layersearch.space import History, SearchSpace, Subset, TrialRecord, TrialState
from layersearch.space.records import PartOfTrial
from layersearch.strategies import Greedy, GreedyBothWays, Race, make_strategy
from layersearch.strategies.elimination import why_beaten
from layersearch.strategies.protocol import Eliminates, Queued
from tests.strategies.simulation import units

SPACE = SearchSpace(units(1, 1, 1))
BASE, A, B, C = (SPACE.subset(names) for names in ([], ["layer0"], ["layer1"], ["layer2"]))
SAMPLES = 1000


def trial(subset: Subset, correct: Any, *, number: int = 0, **more: Any) -> TrialRecord:
    return TrialRecord(
        number=number,
        subset=subset,
        state=TrialState.COMPLETE,
        score=float(np.mean(correct)),
        fold_scores=(float(np.mean(correct)),) * 5,
        correct=np.asarray(correct),
        **more,
    )


def part(subset: Subset, correct: Any, *, folds: int = 1, look: int | None = None) -> PartOfTrial:
    places = np.arange(folds * SAMPLES // 5)
    return PartOfTrial(subset=subset, correct=np.asarray(correct)[places], places=places, look=look)


def right(share: float) -> Any:
    return np.arange(SAMPLES) % 100 < 100 * share


def test_what_is_clearly_behind_is_beaten_and_the_reason_says_by_whom() -> None:
    reason = why_beaten(part(B, right(0.6)), [trial(A, right(0.9))], chance=0.1)
    assert "beaten by {layer0}: 30.0 points behind on the same 200 samples" in reason


def test_what_is_equal_ahead_or_hardly_behind_is_not() -> None:
    best = [trial(A, right(0.8))]
    for share in (0.79, 0.8, 0.95):
        assert not why_beaten(part(B, right(share)), best, chance=0.1)


def test_without_correctness_nothing_is_known() -> None:
    blind = TrialRecord(number=0, subset=A, state=TrialState.COMPLETE, score=0.9)
    assert not why_beaten(part(B, right(0.1)), [blind], chance=0.1)


def test_one_as_good_as_its_rival_is_stopped_no_oftener_than_the_chance_says() -> None:
    rng = np.random.default_rng(0)
    runs, stopped = 2000, 0
    for _ in range(runs):
        rival = trial(A, rng.random(SAMPLES) < 0.8)
        own = rng.random(SAMPLES) < 0.8
        stopped += any(
            why_beaten(part(B, own, folds=k), [rival], chance=0.2) != "" for k in range(1, 5)
        )
    assert 0.02 < stopped / runs <= 0.2 + 3 * (0.2 * 0.8 / runs) ** 0.5


def test_greedy_compares_candidates_of_the_round_with_its_best_and_its_base() -> None:
    greedy = Greedy(SPACE, eliminate=0.1)
    history = History([trial(BASE, right(0.8)), trial(A, right(0.9), number=1)])
    assert "beaten by {layer0}" in greedy.why_beaten(part(B, right(0.5)), history)
    assert not greedy.why_beaten(part(B, right(0.95)), history)
    # Of a later round: nothing is known of it yet.
    assert not greedy.why_beaten(part(SPACE.subset(["layer0", "layer1"]), right(0.1)), history)


def test_before_a_candidate_has_a_score_the_base_is_the_rival_where_only_gains_count() -> None:
    history = History([trial(BASE, right(0.8))])
    beaten = part(B, right(0.4))
    assert "beaten by {}" in Greedy(SPACE, eliminate=0.1).why_beaten(beaten, history)
    official = Greedy(SPACE, stop="official", eliminate=0.1)
    assert not official.why_beaten(beaten, history)
    lossy = Greedy(SPACE, min_gain=-0.5, eliminate=0.1)
    assert not lossy.why_beaten(beaten, history)


@pytest.mark.parametrize("greedy", [Greedy(SPACE), Greedy(SPACE, eliminate=0.1, leap=True)])
def test_without_elimination_and_before_a_leap_all_are_trained_whole(greedy: Greedy) -> None:
    history = History([trial(BASE, right(0.8)), trial(A, right(0.9), number=1)])
    assert not greedy.why_beaten(part(B, right(0.1)), history)


def test_both_ways_must_have_lost() -> None:
    ways = [Greedy(SPACE, direction=d, eliminate=0.1) for d in ("forward", "backward")]
    history = History([trial(BASE, right(0.8)), trial(A, right(0.9), number=1)])
    assert GreedyBothWays(*ways).why_beaten(part(B, right(0.1)), history)


def test_a_race_judges_looks_by_looks_and_leaves_finalists_alone() -> None:
    race = make_strategy("greedy", {"look_epochs": 1, "eliminate": 0.1}, space=SPACE, seed=0)
    assert isinstance(race, Race)
    looks = [
        TrialRecord(
            number=number,
            subset=subset,
            state=TrialState.PRUNED,
            score=float(np.mean(correct)),
            fold_scores=(0.9,) * 5,
            correct=correct,
            look=1,
        )
        for number, (subset, correct) in enumerate([(BASE, right(0.8)), (A, right(0.9))])
    ]
    history = History(looks)
    assert race.why_beaten(part(B, right(0.2), look=1), history)
    assert not race.why_beaten(part(A, right(0.2)), history)


def test_what_was_asked_for_first_is_trained_whole() -> None:
    queued = Queued(Greedy(SPACE, eliminate=0.1), [B])
    assert isinstance(queued, Eliminates)
    history = History([trial(BASE, right(0.8)), trial(A, right(0.9), number=1)])
    assert not queued.why_beaten(part(B, right(0.1)), history)
    assert queued.why_beaten(part(C, right(0.1)), history)
