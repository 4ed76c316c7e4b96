"""What a study knows of its trials, as plain values: the whole state of a search.

Strategies are functions of these records; no torch, no Optuna and no clock here.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from layersearch.space.subset import Subset

Kept = TypeVar("Kept")


class TrialState(Enum):
    """How far a trial got."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"  # stopped early by evidence, or ruled out before training
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial of a study.

    `score` and `values` are oriented so that higher is better, whatever the directions of the
    study.
    """

    number: int
    subset: Subset | None  # None: not claimed yet
    state: TrialState
    score: float | None = None  # the first value
    stderr: float | None = None  # of the score
    values: tuple[float, ...] = ()  # one an objective, where there is a score
    fold_scores: tuple[float, ...] = ()
    correct: NDArray[np.bool_] | None = None  # (N,), of the pooled validation samples in id order
    recipe: Mapping[str, Any] = field(default_factory=dict)  # sampled recipe numbers, if any
    # A look: a complete schedule of so many epochs instead of the recipe's. One that ended well is
    # PRUNED (it is no trial of the whole schedule), and has a score.
    look: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)  # the trial's user attributes

    @property
    def is_look(self) -> bool:
        """Whether it is a look that ended well."""
        scored = self.state is TrialState.PRUNED and self.score is not None
        return self.look is not None and scored

    def as_trial(self) -> "TrialRecord":
        """A look as a trial of its own schedule: complete if it ended well."""
        state = TrialState.COMPLETE if self.is_look else self.state
        return replace(self, look=None, state=state)


@dataclass(frozen=True, kw_only=True)
class PartOfTrial:
    """What is known of a trial that is running: of some of its folds, whole."""

    subset: Subset
    correct: NDArray[np.bool_]  # (n,), of the validation samples of the folds that have ended
    places: NDArray[np.int64]  # (n,), of these samples among all, as `correct` of a record has them
    look: int | None = None  # as of a record


class Chronicle:
    """The trials of a study that have ended, in the order in which that became known.

    It only grows, and keeps up to date what follows from them: reading a history of 10,000 trials
    again takes no look at any of them.
    """

    def __init__(self) -> None:
        self.ended: list[TrialRecord] = []
        self.scores: dict[Subset, TrialRecord] = {}
        self.pruned: set[Subset] = set()
        self.looks: dict[tuple[Subset, int], TrialRecord] = {}
        self.failures: Counter[Subset] = Counter()
        self.lineage = object()  # another one when what was known of a subset has changed

    def add(self, record: TrialRecord) -> None:
        """Takes in a trial that has ended."""
        self.ended.append(record)
        subset = record.subset
        if subset is None:
            return
        if record.look is not None and record.state is not TrialState.FAILED:
            self.looks.setdefault((subset, record.look), record)
        elif record.state is TrialState.COMPLETE:
            self._add_score(subset, record)
        elif record.state is TrialState.PRUNED:
            if subset not in self.scores:
                self.pruned.add(subset)
        elif not record.attributes.get("interrupted", False):
            self.failures[subset] += 1

    def _add_score(self, subset: Subset, record: TrialRecord) -> None:
        known = self.scores.get(subset)
        if known is not None and _rank(record) <= _rank(known):
            return
        if known is not None or subset in self.pruned or subset in self.failures:
            self.lineage = object()
        self.scores[subset] = record
        self.pruned.discard(subset)


class History(Sequence[TrialRecord]):
    """The trials of a study in the order of their numbers, as they stood at one moment.

    Args:
        records: all of them, or those that `chronicle` does not have.
        chronicle: what is known of the others; takes in what has ended.
    """

    scores: Mapping[Subset, TrialRecord]  # the best complete trial of each subset that has one
    running: frozenset[Subset]  # the subsets in training now
    pruned: frozenset[Subset]  # the subsets that were stopped early and have no score
    looks: Mapping[tuple[Subset, int], TrialRecord]  # the first look of each length at each subset

    def __init__(
        self, records: Iterable[TrialRecord] = (), *, chronicle: Chronicle | None = None
    ) -> None:
        self.chronicle = chronicle = Chronicle() if chronicle is None else chronicle
        active = list[TrialRecord]()
        for record in sorted(records, key=lambda record: record.number):
            if record.state is TrialState.RUNNING:
                active.append(record)
            else:
                chronicle.add(record)
        # Copies, made in one step each: the chronicle goes on.
        self.active = tuple(active)
        self.known = len(chronicle.ended)  # trials that have ended
        self.lineage = chronicle.lineage  # while it is the same, what was settled stays so
        self.scores = chronicle.scores.copy()
        self.pruned = frozenset(chronicle.pruned)
        self.looks = chronicle.looks.copy()
        self._failures = chronicle.failures.copy()
        self.running = frozenset(r.subset for r in active if r.subset is not None)

    def __iter__(self) -> Iterator[TrialRecord]:
        return iter(self._records)

    def __len__(self) -> int:
        return self.known + len(self.active)

    def __getitem__(self, index: Any) -> Any:
        return self._records[index]

    @cached_property
    def look_lengths(self) -> tuple[int, ...]:
        """The epochs of looks that have a score, those of the most subsets first."""
        lengths = Counter(epochs for (_, epochs), look in self.looks.items() if look.is_look)
        return tuple(sorted(lengths, key=lambda epochs: (-lengths[epochs], -epochs)))

    def by_schedule(self, look: int | None = None) -> Mapping[Subset, TrialRecord]:
        """What was scored by one schedule: scores of different ones are never compared.

        Args:
            look: epochs of the looks; None: the whole schedule.
        """
        if look is None:
            return self.scores
        return {
            subset: replace(record, state=TrialState.COMPLETE)
            for (subset, epochs), record in self.looks.items()
            if epochs == look and record.is_look
        }

    def failures(self, subset: Subset) -> int:
        """How often the subset failed of itself; interruptions and lost workers do not count."""
        return self._failures[subset]

    def failed(self) -> Mapping[Subset, int]:
        """How often each subset failed of itself that did."""
        return self._failures

    def ended_since(self, known: int) -> Sequence[TrialRecord]:
        """The trials that ended after the first `known`, in the order of becoming known."""
        return self.chronicle.ended[known : self.known]

    @cached_property
    def _records(self) -> tuple[TrialRecord, ...]:
        every = (*self.chronicle.ended[: self.known], *self.active)
        return tuple(sorted(every, key=lambda record: record.number))


class Follower(Generic[Kept]):
    """Something that follows from the trials that have ended, kept up to date.

    Args:
        begin: makes it, of no trial.
        add: takes in one more.
    """

    def __init__(self, begin: Callable[[], Kept], add: Callable[[Kept, TrialRecord], None]) -> None:
        self._begin = begin
        self._add = add
        self._last: tuple[Chronicle, int, Kept] | None = None

    def of(self, history: History) -> Kept:
        """What follows from this history: only what is new in it is looked at."""
        last = self._last
        if last is None or last[0] is not history.chronicle or last[1] > history.known:
            last = (history.chronicle, 0, self._begin())
        for record in history.ended_since(last[1]):
            self._add(last[2], record)
        self._last = (history.chronicle, history.known, last[2])
        return last[2]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}


def _rank(record: TrialRecord) -> tuple[float, int]:
    """Of two trials of one subset the better counts; of equals, the earlier."""
    score = float("-inf") if record.score is None else record.score
    return score, -record.number
