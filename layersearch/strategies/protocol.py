"""What every strategy is: a pure function of the recorded trials.

A strategy keeps no state, reads no clock and draws no random number that its arguments do not fix;
so a search resumes from its study alone, and any number of workers may ask in any order. (Objects
below memoise what follows from their arguments; that changes no answer.)

A subset is *settled* when nothing more will come of it: it has a score, was pruned, or is lost
(failed as often as allowed). It is *open* when it is neither settled nor running.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Protocol, runtime_checkable

from layersearch.space import History, SearchSpace, Subset, TrialRecord
from layersearch.space.records import PartOfTrial

MAX_FAILURES = 2  # trials of one subset that may fail of themselves before it counts as lost


@dataclass(frozen=True)
class Wait:
    """Nothing to train now: what comes next depends on trials that are running."""

    reason: str


@dataclass(frozen=True)
class Look:
    """Train this subset by a complete schedule of fewer epochs than the recipe's."""

    subset: Subset
    epochs: int


@dataclass(frozen=True)
class Done:
    """Nothing left to train."""

    reason: str
    budget: bool = False  # whether there would be more, but for a budget


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a search stands, for a display."""

    phase: str  # in words: 'round 2: what to add to {layer1.0}'
    candidates: int = 0  # of this phase
    candidates_done: int = 0
    base: Subset | None = None  # what this phase builds on
    best: Subset | None = None  # of the whole search, as `answer` gives it
    best_score: float | None = None
    round: int | None = None  # from 1
    whole: bool = False  # whether this phase is the whole search, and nothing comes after it


@runtime_checkable
class Strategy(Protocol):
    """What proposes subsets."""

    def propose(self, history: History) -> "Proposed":
        """The next subset to train: never one that is settled or running."""
        ...

    def answer(self, history: History) -> Subset | None:
        """The subset that the strategy would choose if the search ended now."""
        ...

    def explain(self, history: History) -> Progress:
        """Where the search stands."""
        ...


Proposed = Subset | Look | Wait | Done


@runtime_checkable
class Guesses(Protocol):
    """A strategy that proposes on a guess while it waits, and says when the guess was wrong."""

    def moot(self, history: History) -> frozenset[Subset]:
        """The running subsets whose scores cannot matter any more, whatever happens."""
        ...


@runtime_checkable
class Considers(Protocol):
    """A strategy that may have scores that did not count: of what it proposed on a guess."""

    def considered(self, history: History) -> frozenset[Subset]:
        """The subsets whose scores count, the same for any number of workers."""
        ...


@runtime_checkable
class Begins(Protocol):
    """A strategy that goes from one subset to the next."""

    @property
    def starts(self) -> frozenset[Subset]:
        """Where it may begin: to choose one of these is to have found nothing better."""
        ...


@runtime_checkable
class Eliminates(Protocol):
    """A strategy that has hopeless trials stopped."""

    def why_beaten(self, part: PartOfTrial, history: History) -> str:
        """Why a running trial cannot win any more, in words that its record keeps; '' if it may."""
        ...


class Ledger:
    """A history seen as the fate of each subset.

    Args:
        history: all trials of the study.
        max_failures: how often a subset may fail of itself before it is lost; a trial that was
            interrupted, or whose worker vanished, does not count.
    """

    def __init__(self, history: History, *, max_failures: int = MAX_FAILURES) -> None:
        self.scores: Mapping[Subset, TrialRecord] = history.scores
        self.running = history.running
        self.pruned = history.pruned
        self.max_failures = max_failures
        self.lineage = history.lineage
        self.known = history.known
        self._failures = history.failed()

    def lost(self, subset: Subset) -> bool:
        """Whether it failed as often as it may, and has no score."""
        return self._failures.get(subset, 0) >= self.max_failures and subset not in self.scores

    def settled(self, subset: Subset) -> bool:
        """Whether nothing more will come of it."""
        return subset in self.scores or subset in self.pruned or self.lost(subset)

    def failures(self, subset: Subset) -> int:
        """How often it failed of itself."""
        return self._failures.get(subset, 0)

    def settled_subsets(self) -> Iterator[Subset]:
        """All that are settled."""
        yield from self.scores
        yield from self.pruned
        yield from (s for s in self._failures if self.lost(s) and s not in self.pruned)

    @property
    def taken_at_most(self) -> int:
        """How many subsets are settled or running, or a few more; quicker than to count them."""
        known = (self.scores, self.pruned, self._failures, self.running)
        return sum(map(len, known))

    def open(self, subset: Subset) -> bool:
        """Whether it may be trained now."""
        return not self.settled(subset) and subset not in self.running

    def first_open(self, candidates: Iterable[Subset]) -> Subset | None:
        """The first open candidate; those that failed before come last."""
        failed: list[Subset] = []
        for candidate in candidates:
            if self.open(candidate):
                if candidate not in self._failures:
                    return candidate
                failed.append(candidate)
        return min(failed, key=lambda candidate: self._failures[candidate], default=None)

    def score(self, subset: Subset) -> float:
        """Its score, higher being better; minus infinity without a finite one."""
        record = self.scores.get(subset)
        return float("-inf") if record is None else finite_score(record)


def finite_score(record: TrialRecord) -> float:
    """The score of a record, higher being better; minus infinity if it is no finite number."""
    score = record.score
    return score if score is not None and isfinite(score) else float("-inf")


def shown_score(subset: Subset | None, ledger: Ledger) -> float | None:
    """The score of a subset for a display; None without one."""
    score = float("-inf") if subset is None else ledger.score(subset)
    return score if isfinite(score) else None


def best_of(candidates: Iterable[Subset], ledger: Ledger, space: SearchSpace) -> Subset | None:
    """The candidate of the highest score; ties: fewer trainable parameters, then depth."""
    return best_scored(((subset, ledger.score(subset)) for subset in candidates), space)


def best_scored(scored: Iterable[tuple[Subset, float]], space: SearchSpace) -> Subset | None:
    """The subset of the highest score; ties: fewer trainable parameters, then depth."""
    top, tied = float("-inf"), list[Subset]()
    for candidate, score in scored:
        if score > top:
            top, tied = score, [candidate]
        elif score == top and tied:
            tied.append(candidate)
    return min(
        tied,
        key=lambda subset: (space.trainable_parameters(subset), space.positions(subset)),
        default=None,
    )


def best_in_space(history: History, space: SearchSpace) -> Subset | None:
    """The best scored subset of the space; None before there is one."""
    ledger = Ledger(history)
    return best_of((subset for subset in ledger.scores if subset in space), ledger, space)


class Queued:
    """A strategy with subsets to try first: the linear probe, everything, any others.

    They need not be in the space. The strategy's own answer is not affected: it sees their scores
    as it sees all others.
    """

    def __init__(
        self,
        strategy: Strategy,
        queue: Sequence[Subset],
        *,
        max_failures: int = MAX_FAILURES,
    ) -> None:
        self.strategy = strategy
        self.queue = tuple(dict.fromkeys(queue))
        self._max_failures = max_failures

    def propose(self, history: History) -> Proposed:
        """The first open subset of the queue, then what the strategy proposes."""
        ledger = Ledger(history, max_failures=self._max_failures)
        queued = ledger.first_open(self.queue)
        if queued is not None:
            return queued
        proposal = self.strategy.propose(history)
        waiting = [subset for subset in self.queue if subset in ledger.running]
        if isinstance(proposal, Done) and waiting:
            return Wait(f"{waiting[0]} is running")
        return proposal

    def moot(self, history: History) -> frozenset[Subset]:
        """What the strategy says, but for what is in the queue."""
        strategy: object = self.strategy
        moot = strategy.moot(history) if isinstance(strategy, Guesses) else frozenset()
        return moot.difference(self.queue)

    def why_beaten(self, part: PartOfTrial, history: History) -> str:
        """What the strategy says, but for what is in the queue."""
        strategy: object = self.strategy
        if part.subset in self.queue or not isinstance(strategy, Eliminates):
            return ""
        return strategy.why_beaten(part, history)

    def answer(self, history: History) -> Subset | None:
        """The strategy's own answer."""
        return self.strategy.answer(history)

    def explain(self, history: History) -> Progress:
        """The queue while there is one, then the strategy's own progress."""
        ledger = Ledger(history, max_failures=self._max_failures)
        done = sum(ledger.settled(subset) for subset in self.queue)
        progress = self.strategy.explain(history)
        if done == len(self.queue):
            return progress
        return Progress(
            phase="subsets to try first",
            candidates=len(self.queue),
            candidates_done=done,
            best=progress.best,
            best_score=progress.best_score,
        )
