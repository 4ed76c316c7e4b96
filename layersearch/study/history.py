"""A study as records: what strategies, budgets and reports read.

Trials that ended never change, so their records are made once, and nothing looks at them again:
reading a study of 10,000 trials after the first time takes as long as Optuna takes to list them.
"""

import threading
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from layersearch.space.records import Chronicle, History, TrialRecord, TrialState
from layersearch.space.subset import Subset
from layersearch.study import attributes as names

_STATES = {
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}


class _Reader:
    """Reads a study again and again; looks only at trials that had not ended the last time."""

    def __init__(self, study: optuna.Study) -> None:
        self._signs = signs_of(study)
        self._chronicle = Chronicle()
        self._open: list[int] = []  # numbers below `_seen` of trials that had not ended
        self._seen = 0

    def read(self, trials: Sequence[FrozenTrial]) -> History:
        """All trials of the study, in the order of their numbers, as records."""
        if trials and trials[-1].number != len(trials) - 1:  # some are not to be seen yet
            return History(self._records(trials))
        looked_at = [trials[number] for number in (*self._open, *range(self._seen, len(trials)))]
        self._open = [trial.number for trial in looked_at if not trial.state.is_finished()]
        self._seen = len(trials)
        return History(self._records(looked_at), chronicle=self._chronicle)

    def _records(self, trials: Iterable[FrozenTrial]) -> list[TrialRecord]:
        begun = (trial for trial in trials if trial.state in _STATES)
        return [trial_record(trial, signs=self._signs) for trial in begun]


_readers: WeakKeyDictionary[optuna.Study, _Reader] = WeakKeyDictionary()
_lock = threading.Lock()


def history(study: optuna.Study) -> History:
    """The trials of a study as records; scores are oriented so that higher is better.

    Trials that wait (enqueued, not begun) are left out. A complete trial that breaks a constraint
    is PRUNED here: it may not be chosen, and nothing is gained by training it again.
    """
    with _lock:
        reader = _readers.get(study)
        if reader is None:
            reader = _readers[study] = _Reader(study)
        return reader.read(study.get_trials(deepcopy=False))


def signs_of(study: optuna.Study) -> tuple[float, ...]:
    """What makes higher better: -1 for each objective that is minimised, 1 for the others."""
    return tuple(-1.0 if d == StudyDirection.MINIMIZE else 1.0 for d in study.directions)


def trial_record(trial: FrozenTrial, *, signs: Sequence[float] = (1.0,)) -> TrialRecord:
    """One trial as a record.

    Args:
        trial: not waiting.
        signs: of the study's objectives; see `signs_of`.
    """
    attrs: dict[str, Any] = trial.user_attrs
    subset = attrs.get(names.SUBSET)
    state = _STATES[trial.state]
    values: tuple[float, ...] = ()
    if state is TrialState.COMPLETE:
        values = tuple(sign * float(v) for sign, v in zip(signs, trial.values, strict=True))
        if attrs.get(names.FEASIBLE) is False:
            state = TrialState.PRUNED
    elif names.SCORE in attrs and attrs.get(names.FEASIBLE) is not False:  # a look
        values = (signs[0] * float(attrs[names.SCORE]),)  # races have one objective
    return TrialRecord(
        number=trial.number,
        subset=None if subset is None else Subset(subset),
        state=state,
        score=values[0] if values else None,
        values=values,
        stderr=attrs.get(names.STDERR),
        fold_scores=tuple(attrs.get(names.FOLD_SCORES) or ()),
        correct=names.decode_correct(attrs.get(names.CORRECT)),
        recipe=attrs.get(names.RECIPE) or {},
        look=attrs.get(names.LOOK),
        attributes=attrs,
    )
