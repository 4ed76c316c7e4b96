"""A round of greedy, and the states between rounds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from layersearch.space import Subset


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round, and what the search has come to if it ended with it."""

    number: int  # from 1
    base: Subset | None  # what the candidates build on; None: they begin the search
    candidates: tuple[Subset, ...]  # without those that are skipped
    trials: tuple[Subset, ...]  # the candidates; before them the base, if it needs a score
    settled: int  # how many of the trials
    winner: Subset | None  # the best candidate that has a score
    chosen: Subset | None  # the answer
    begun: "State" = field(repr=False)
    stop: str | None = None  # why there is no round after it
    skipped: tuple[Subset, ...] = ()  # candidates that could hardly win
    leap: Subset | None = None  # the answer, where several units are added at once

    @property
    def complete(self) -> bool:
        """Whether all its trials are settled, so that its verdict stands."""
        return self.settled == len(self.trials)


@dataclass(frozen=True, kw_only=True)
class State:
    """Where the search stands between two rounds."""

    number: int  # of the next round
    base: Subset | None
    chosen: Subset | None = None
    best: float = -inf  # score of `chosen`
    last: Mapping[str, float] = field(default_factory=dict)  # unit -> its score in the last round
    bounds: Mapping[str, float] = field(default_factory=dict)  # unit -> what it may gain, if lazy


@dataclass(frozen=True, kw_only=True)
class Past:
    """Complete rounds, which need not be played again while what was settled stays so."""

    lineage: object = None
    # How many trials had ended, the round, the state after it.
    rounds: list[tuple[int, Round, State | None]] = field(default_factory=list)
