"""What a study knows of its trials, as plain values: the whole state of a search.

Strategies are functions of these records; no torch, no Optuna and no clock here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layersearch.space.subset import Subset


class TrialState(Enum):
    """How far a trial got."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"  # stopped early by evidence, or ruled out before training
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial of a study.

    `score` is oriented so that higher is better, whatever the direction of the study.
    """

    number: int
    subset: Subset | None  # None: not claimed yet
    state: TrialState
    score: float | None = None
    stderr: float | None = None
    fold_scores: tuple[float, ...] = ()
    correct: NDArray[np.bool_] | None = None  # (N,), of the pooled validation samples in id order
    recipe: Mapping[str, Any] = field(default_factory=dict)  # sampled recipe numbers, if any
    attributes: Mapping[str, Any] = field(default_factory=dict)  # the trial's user attributes


class History(Sequence[TrialRecord]):
    """The trials of a study in the order of their numbers."""

    def __init__(self, records: Iterable[TrialRecord] = ()) -> None:
        self._records = tuple(sorted(records, key=lambda record: record.number))

    def __iter__(self) -> Iterator[TrialRecord]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: Any) -> Any:
        return self._records[index]

    @cached_property
    def scores(self) -> Mapping[Subset, TrialRecord]:
        """The best complete trial of each subset that has one."""
        best: dict[Subset, TrialRecord] = {}
        for record in self._records:
            if record.state is TrialState.COMPLETE and record.subset is not None:
                known = best.get(record.subset)
                if known is None or _score(record) > _score(known):
                    best[record.subset] = record
        return best

    @cached_property
    def running(self) -> frozenset[Subset]:
        """The subsets in training now."""
        return self._in_state(TrialState.RUNNING)

    @cached_property
    def pruned(self) -> frozenset[Subset]:
        """The subsets that were stopped early and have no score."""
        return self._in_state(TrialState.PRUNED) - self.scores.keys()

    def failures(self, subset: Subset) -> int:
        """How often the subset failed of itself; interruptions and lost workers do not count."""
        return sum(
            record.state is TrialState.FAILED
            and record.subset == subset
            and not record.attributes.get("interrupted", False)
            for record in self._records
        )

    def _in_state(self, state: TrialState) -> frozenset[Subset]:
        return frozenset(
            record.subset
            for record in self._records
            if record.state is state and record.subset is not None
        )


def _score(record: TrialRecord) -> float:
    return float("-inf") if record.score is None else record.score
