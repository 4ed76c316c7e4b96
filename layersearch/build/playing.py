"""A strategy played on trials that never run, to see what it would ask for.

A strategy is a function of the recorded trials: with scores by which so many rounds gain, it asks
for what it would ask for.
"""

from collections.abc import Callable, Iterator
from math import isfinite

from layersearch.space import Chronicle, History, SearchSpace, Subset, TrialRecord, TrialState
from layersearch.strategies import Done, Greedy, GreedyBothWays, Look, Queued, Race, Strategy

_STEP = 1e-3  # what a round gains where nothing is recorded, which is no matter
_FAR = 10.0  # and where there is: more than the noise of any recorded score


def play(
    strategy: Strategy, space: SearchSpace, *, gains: int, past: History | None = None
) -> Iterator[Subset | Look]:
    """What a strategy asks for, one worker, if so many more rounds gain and the next does not.

    A round adds a unit or, backward, leaves one out. It ends early where the strategy waits for
    something that is not its own.

    Args:
        strategy: is played.
        space: of its subsets.
        gains: rounds.
        past: what is recorded already; trials that run are taken for undone.
    """
    ended = [] if past is None else [r for r in past if r.state is not TrialState.RUNNING]
    chronicle = Chronicle()
    for record in ended:
        chronicle.add(record)
    number = max((record.number for record in ended), default=-1) + 1
    scores = [r.score for r in ended if r.score is not None and isfinite(r.score)]
    top, step = max(scores, default=0.5), _STEP
    if scores:
        step = _FAR * (1.0 + max(map(abs, scores)))
    steps, before = _steps(strategy, len(space.free)), None
    while True:
        proposal = strategy.propose(History(chronicle=chronicle))
        if not isinstance(proposal, Subset | Look):
            return
        yield proposal
        look = proposal.epochs if isinstance(proposal, Look) else None
        subset = proposal.subset if isinstance(proposal, Look) else proposal
        if before is None:  # what the round that is under way builds on
            before = max(0, steps(subset) - 1) if ended else 0
        taken = steps(subset) - before
        chronicle.add(
            TrialRecord(
                number=number,
                subset=subset,
                state=TrialState.COMPLETE if look is None else TrialState.PRUNED,
                score=top + step * (min(taken, gains) - max(0, taken - gains)),
                stderr=0.0,
                look=look,
            )
        )
        number += 1


def rounds_of(strategy: object) -> Greedy | GreedyBothWays | None:
    """The strategy that goes by rounds, if there is one within."""
    while isinstance(strategy, Queued | Race):
        strategy = strategy.strategy
    return strategy if isinstance(strategy, Greedy | GreedyBothWays) else None


def race_of(strategy: object) -> Race | None:
    """The race within, if there is one."""
    while isinstance(strategy, Queued):
        strategy = strategy.strategy
    return strategy if isinstance(strategy, Race) else None


def is_over(strategy: Strategy, past: History) -> bool:
    """Whether nothing is left to ask for."""
    return isinstance(strategy.propose(past), Done)


def skips(strategy: object) -> bool:
    """Whether rounds leave out candidates that can hardly win."""
    inner = rounds_of(strategy)
    ways = inner.ways if isinstance(inner, GreedyBothWays) else (inner,)
    return any(way is not None and way.lazy is not None for way in ways)


def _steps(strategy: object, units: int) -> Callable[[Subset], int]:
    """How many rounds lead to a subset."""
    inner = rounds_of(strategy)
    if isinstance(inner, GreedyBothWays):
        return lambda subset: min(len(subset), units - len(subset))
    if isinstance(inner, Greedy) and not inner.forward:
        return lambda subset: units - len(subset)
    return len
