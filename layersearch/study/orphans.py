"""Trials whose driver died: failed as interrupted, so that their subsets run again."""

from datetime import datetime, timedelta

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from layersearch.study import attributes as names
from layersearch.study.lease import Lease

_UNNAMED_AGE = timedelta(seconds=60)  # a live driver names itself within moments of asking


def fail_orphans(study: optuna.Study, storage: BaseStorage, lease: Lease) -> list[int]:
    """Fails the RUNNING trials that no live driver runs.

    Returns: their numbers.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if not running:
        return []
    live = lease.live_tokens()
    alone = live == {lease.token}
    orphans = [trial for trial in running if _is_orphan(trial, live=live, alone=alone)]
    study_id = storage.get_study_id_from_name(study.study_name) if orphans else 0
    return [
        trial.number
        for trial in orphans
        if _fail(storage, storage.get_trial_id_from_study_id_trial_number(study_id, trial.number))
    ]


def requeue_interrupted(study: optuna.Study) -> list[int]:
    """Enqueues the parameters of interrupted trials again, each once; for Optuna's own samplers.

    Strategies need it not: they propose again what has no score.

    Returns: the numbers of the trials that will be repeated.
    """
    trials = study.get_trials(deepcopy=False)
    repeated = {trial.user_attrs.get(names.RETRY_OF) for trial in trials}
    again = [
        trial
        for trial in trials
        if trial.user_attrs.get(names.INTERRUPTED) and trial.params and trial.number not in repeated
    ]
    for trial in again:
        study.enqueue_trial(dict(trial.params), user_attrs={names.RETRY_OF: trial.number})
    return [trial.number for trial in again]


def _is_orphan(trial: FrozenTrial, *, live: frozenset[str], alone: bool) -> bool:
    driver = trial.user_attrs.get(names.DRIVER)
    if driver is not None:
        return driver not in live
    if alone or trial.datetime_start is None:
        return alone
    # Optuna writes local times without a zone.
    return datetime.now() - trial.datetime_start > _UNNAMED_AGE  # noqa: DTZ005


def _fail(storage: BaseStorage, trial_id: int) -> bool:
    reason = "interrupted: its driver died"
    try:
        storage.set_trial_user_attr(trial_id, names.REASON, reason)
        storage.set_trial_user_attr(trial_id, names.FAILURE, reason)
        storage.set_trial_user_attr(trial_id, names.INTERRUPTED, True)
        storage.set_trial_state_values(trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:  # another driver was quicker
        return False
    return True
