"""Trials whose driver died: failed as interrupted, so that their subsets run again."""

import time

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from layersearch.study import attributes as names
from layersearch.study.lease import Lease

UNNAMED_AGE = 60.0  # seconds; a live driver names its trials within moments


class Orphans:
    """Finds and fails the RUNNING trials that no live driver runs.

    Args:
        study: that they belong to.
        storage: the study's.
        lease: of this driver.
        unnamed_age: seconds after which a trial that names no driver is nobody's. They count from
            when this driver first saw it: clocks and time zones of machines differ.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        lease: Lease,
        *,
        unnamed_age: float = UNNAMED_AGE,
    ) -> None:
        self._study = study
        self._storage = storage
        self._lease = lease
        self._unnamed_age = unnamed_age
        self._unnamed: dict[int, float] = {}  # trial number -> when it was first seen

    def fail(self) -> list[int]:
        """Fails the trials of drivers that died; gives their numbers."""
        running = self._running()
        if not running:
            return []
        live = self._lease.live_tokens()
        alone = live == {self._lease.token}
        silent = {driver for trial in running if (driver := _driver(trial)) and driver not in live}
        dead = self._lease.condemn(silent) if silent else frozenset()
        orphans = [trial for trial in running if self._is_orphan(trial, dead, alone=alone)]
        return self._fail(orphans, "interrupted: its driver died")

    def fail_own(self) -> list[int]:
        """Fails what this driver has begun and will not end; gives their numbers."""
        own = [trial for trial in self._running() if _driver(trial) == self._lease.token]
        return self._fail(own, "interrupted: its driver stopped")

    def _running(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _is_orphan(self, trial: FrozenTrial, dead: frozenset[str], *, alone: bool) -> bool:
        driver = _driver(trial)
        if driver is not None:
            return driver in dead
        now = time.monotonic()
        return alone or now - self._unnamed.setdefault(trial.number, now) >= self._unnamed_age

    def _fail(self, trials: list[FrozenTrial], reason: str) -> list[int]:
        study_id = self._storage.get_study_id_from_name(self._study.study_name) if trials else 0
        find = self._storage.get_trial_id_from_study_id_trial_number
        return [
            trial.number
            for trial in trials
            if _fail(self._storage, find(study_id, trial.number), reason)
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


def _driver(trial: FrozenTrial) -> str | None:
    driver: str | None = trial.user_attrs.get(names.DRIVER)
    return driver


def _fail(storage: BaseStorage, trial_id: int, reason: str) -> bool:
    try:
        storage.set_trial_user_attr(trial_id, names.REASON, reason)
        storage.set_trial_user_attr(trial_id, names.FAILURE, reason)
        storage.set_trial_user_attr(trial_id, names.INTERRUPTED, True)
        storage.set_trial_state_values(trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:  # another driver was quicker
        return False
    return True
