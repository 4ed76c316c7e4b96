"""Which candidates of a greedy round will probably win, before all of them have a score.

Free workers go on with the trials that the rounds to come will probably ask for. What they train is
only a guess; it decides nothing, so a poor forecast costs time and never changes an answer.

The forecast: a unit is worth in this round what it was worth in the last one, plus a shift and a
spread that the candidates scored so far tell. The chances to win are counted in draws of normal
variables that are always the same, so that a forecast is a function of its arguments.

n: candidates of a round, scored or not.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from itertools import count
from math import isfinite, sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from layersearch.space import Subset

LEAST_CHANCE = 0.05  # below it a worker rather waits
_STATES = 12  # that are looked into for one proposal
_DRAWS = 256
_PRIOR_WEIGHT = 2.0  # candidates that the spread of last round's scores counts for
_PRIOR_SPREAD = 0.5  # of this round's departures, as a share of the spread of last round's scores


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecast:
    """The scores of a round's candidates, known or expected."""

    units: tuple[str, ...]  # that the candidates add or leave out
    scores: NDArray[np.float64]  # (n,); minus infinity for what cannot win
    spread: float  # standard deviation of those that are expected
    pending: NDArray[np.bool_]  # (n,), which are expected


def forecast_scores(
    units: Sequence[str],
    scores: Mapping[str, float],
    pending: Collection[str],
    last: Mapping[str, float],
) -> Forecast:
    """What the candidates of a round will score.

    Args:
        units: the candidates of the round, by the unit that each adds or leaves out.
        scores: what those scored so far have; minus infinity for those that cannot win.
        pending: those that may still get a score.
        last: the scores of the last round, as far as there are any.
    """
    known = {unit: score for unit, score in scores.items() if isfinite(score)}
    before = {unit: score for unit, score in last.items() if isfinite(score)}
    departures = [known[unit] - before[unit] for unit in known if unit in before]
    if before:
        shift = float(np.mean(departures)) if departures else 0.0
        prior = _PRIOR_SPREAD * float(np.std(list(before.values())))
        squares = float(np.square(np.subtract(departures, shift)).sum())
        variance = (_PRIOR_WEIGHT * prior**2 + squares) / (_PRIOR_WEIGHT + len(departures))
        middle, spread = float(np.mean(list(before.values()))) + shift, sqrt(variance)
    else:
        shift, middle = 0.0, float(np.mean(list(known.values()))) if known else 0.0
        spread = float(np.std(list(known.values()), ddof=1)) if len(known) > 1 else 0.0
    waiting = frozenset(pending)
    guess = {unit: before[unit] + shift if unit in before else middle for unit in waiting}
    return Forecast(
        units=tuple(units),
        scores=np.array([guess.get(unit, known.get(unit, -np.inf)) for unit in units]),
        spread=spread or 1e-9,
        pending=np.array([unit in waiting for unit in units]),
    )


def win_chances(forecast: Forecast, *, bar: float) -> list[tuple[str, float]]:
    """The chance of each unit that its candidate wins, and with more than `bar`.

    Returns: those with a chance, the most likely first. What is missing to 1 is the chance that
        none exceeds the bar.
    """
    noise = forecast.spread * _normal(len(forecast.units))
    drawn = forecast.scores + np.where(forecast.pending, noise, 0.0)  # (draws, n)
    passed = drawn.max(axis=1) > bar
    wins = np.bincount(drawn.argmax(axis=1)[passed], minlength=len(forecast.units)) / _DRAWS
    order = sorted(np.flatnonzero(wins), key=lambda index: (-wins[index], index))
    return [(forecast.units[index], float(wins[index])) for index in order]


@lru_cache(maxsize=64)
def _normal(count: int) -> NDArray[np.float64]:
    """Always the same draws, (draws, count)."""
    return np.random.default_rng(0).standard_normal((_DRAWS, count))


State = TypeVar("State")


def chances_ahead(
    now: State,
    *,
    futures: Callable[[State], Iterable[tuple[float, State]]],
    trials: Callable[[State], Iterable[Subset]],
    rounds: int,
) -> Mapping[Subset, float]:
    """Subset -> the chance that one of the next rounds asks for it; the nearest rounds first.

    A round asks for all its candidates, so what two likely winners would both ask for comes first.

    Args:
        now: where the search stands.
        futures: where a round may lead: chances, which sum up to at most 1, and the states after.
        trials: of the round that begins in a state, the most promising first.
        rounds: how many rounds ahead to look.
    """
    found: dict[Subset, float] = {}
    order = count()  # of what was found, for equal chances
    ahead = [(-1.0, next(order), 0, now)]
    for _ in range(_STATES):
        if not ahead:
            break
        negative, _place, depth, state = heappop(ahead)
        if depth:
            for subset in trials(state):
                found[subset] = found.get(subset, 0.0) - negative
        if depth < rounds:
            for chance, after in futures(state):
                if -negative * chance >= LEAST_CHANCE:
                    heappush(ahead, (negative * chance, next(order), depth + 1, after))
    return found
