"""A study as records: what strategies, budgets and reports read.

Trials that ended never change, so their records are made once: reading a study of 10,000 trials
after the first time costs a few milliseconds.
"""

import threading
from typing import Any
from weakref import WeakKeyDictionary

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from layersearch.space.records import History, TrialRecord, TrialState
from layersearch.space.subset import Subset
from layersearch.study import attributes as names

_STATES = {
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}
_ended: WeakKeyDictionary[optuna.Study, dict[int, TrialRecord]] = WeakKeyDictionary()
_lock = threading.Lock()


def history(study: optuna.Study) -> History:
    """The trials of a study as records; scores are oriented so that higher is better.

    Trials that wait (enqueued, not begun) are left out. A complete trial that breaks a constraint
    is PRUNED here: it may not be chosen, and nothing is gained by training it again.
    """
    sign = -1.0 if study.directions[0] == StudyDirection.MINIMIZE else 1.0
    with _lock:
        ended = _ended.setdefault(study, {})
        records = []
        for trial in study.get_trials(deepcopy=False):
            record = ended.get(trial.number)
            if record is None:
                if trial.state not in _STATES:
                    continue
                record = trial_record(trial, sign=sign)
                if trial.state.is_finished():
                    ended[trial.number] = record
            records.append(record)
    return History(records)


def trial_record(trial: FrozenTrial, *, sign: float = 1.0) -> TrialRecord:
    """One trial as a record.

    Args:
        trial: not waiting.
        sign: -1 where the first objective is minimised.
    """
    attrs: dict[str, Any] = trial.user_attrs
    subset = attrs.get(names.SUBSET)
    state = _STATES[trial.state]
    score = None
    if state is TrialState.COMPLETE:
        score = sign * float(trial.values[0])
        if attrs.get(names.FEASIBLE) is False:
            state = TrialState.PRUNED
    return TrialRecord(
        number=trial.number,
        subset=None if subset is None else Subset(subset),
        state=state,
        score=score,
        stderr=attrs.get(names.STDERR),
        fold_scores=tuple(attrs.get(names.FOLD_SCORES) or ()),
        correct=names.decode_correct(attrs.get(names.CORRECT)),
        recipe=attrs.get(names.RECIPE) or {},
        attributes=attrs,
    )
