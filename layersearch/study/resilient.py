"""A storage that is tried again while it is locked, restarted or out of reach.

An operation may have succeeded although its answer was lost. Most may simply be done twice; a new
trial carries a mark by which it is found again, and ends and claims of trials are looked up before
they are repeated.
"""

import copy
import secrets
import weakref
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from layersearch.study import attributes as names
from layersearch.study.patience import Patience
from layersearch.study.stalls import StallGuard
from layersearch.study.together import write_together

MARK = "layersearch:created"  # system attribute of a trial: which call made it
Found = TypeVar("Found")


class ResilientStorage(BaseStorage):
    """Any Optuna storage, tried again.

    Args:
        backend: as `optuna.storages.get_storage` gives it.
        patience: how long to try.
        guard: ends connections that hang, if there is one.
        dispose: lets go of connections; called by `close`, and when nobody has the storage any
            more.
    """

    def __init__(
        self,
        backend: BaseStorage,
        patience: Patience,
        *,
        guard: StallGuard | None = None,
        dispose: Callable[[], None] = lambda: None,
    ) -> None:
        self._backend = backend
        self._guard = guard
        self._dispose = dispose
        weakref.finalize(self, dispose)
        self.patience = patience
        self.driver = ""  # token of the driver that new trials belong to

    @contextmanager
    def without_waiting(self) -> Iterator[None]:
        """While it is entered, this thread tries everything once."""
        with self.patience.without_waiting():
            yield

    def close(self) -> None:
        """Closes the connections that nobody uses; whoever comes after opens others."""
        self._dispose()

    def _try(self, attempt: Callable[[bool], Found]) -> Found:
        if self._guard is None:
            return self.patience.run(attempt)
        with self._guard.operation():
            return self.patience.run(self._guard.restarted(attempt))

    def _call(self, operation: Callable[..., Found], *args: Any, **kwargs: Any) -> Found:
        return self._try(lambda _again: operation(*args, **kwargs))

    # --- Studies ----------------------------------------------------------------------------------

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """See BaseStorage; a second attempt may find the study there (DuplicatedStudyError)."""
        return self._call(self._backend.create_new_study, directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """See BaseStorage."""
        self._call(self._backend.delete_study, study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """See BaseStorage."""
        self._call(self._backend.set_study_user_attr, study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """See BaseStorage."""
        self._call(self._backend.set_study_system_attr, study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        """See BaseStorage."""
        return self._call(self._backend.get_study_id_from_name, study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """See BaseStorage."""
        return self._call(self._backend.get_study_name_from_id, study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """See BaseStorage."""
        return self._call(self._backend.get_study_directions, study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """See BaseStorage."""
        return self._call(self._backend.get_study_user_attrs, study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """See BaseStorage."""
        return self._call(self._backend.get_study_system_attrs, study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        """See BaseStorage."""
        return self._call(self._backend.get_all_studies)

    # --- Trials -----------------------------------------------------------------------------------

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See BaseStorage; the trial names its driver from its first moment."""
        mark = secrets.token_hex(8)
        marked = self._marked(template_trial, mark)

        def attempt(again: bool) -> int:
            made = self._made(study_id, mark) if again else None
            return self._backend.create_new_trial(study_id, marked) if made is None else made

        return self._try(attempt)

    def _marked(self, template: FrozenTrial | None, mark: str) -> FrozenTrial:
        trial = copy.deepcopy(template) if template is not None else _new_trial()
        trial.system_attrs = {**trial.system_attrs, MARK: mark}
        if self.driver and trial.state is TrialState.RUNNING:
            trial.user_attrs = {**trial.user_attrs, names.DRIVER: self.driver}
        return trial

    def _made(self, study_id: int, mark: str) -> int | None:
        trials = self._backend.get_all_trials(study_id, deepcopy=False)
        for trial in reversed(trials):
            if trial.system_attrs.get(MARK) == mark:
                return trial._trial_id  # noqa: SLF001 (storages know trials by it)
        return None

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """See BaseStorage."""
        self._call(
            self._backend.set_trial_param, trial_id, param_name, param_value_internal, distribution
        )

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """See BaseStorage; what an earlier attempt did in truth is not done again."""
        since = datetime.now()  # noqa: DTZ005 (Optuna writes local times without a zone)

        def attempt(again: bool) -> bool:
            done = self._done(trial_id, state, values, since=since) if again else None
            if done is None:
                return self._backend.set_trial_state_values(trial_id, state, values)
            return done

        return self._try(attempt)

    def _done(
        self,
        trial_id: int,
        state: TrialState,
        values: Sequence[float] | None,
        *,
        since: datetime,
    ) -> bool | None:
        """Whether an earlier attempt succeeded; None: it did not."""
        trial = self._backend.get_trial(trial_id)
        if trial.state is not state:
            return None
        if state.is_finished():
            return True if values is None or trial.values == list(values) else None
        # Enqueued, and it runs: by us, if it began while we tried and nobody has named it.
        started = trial.datetime_start
        return names.DRIVER not in trial.user_attrs and started is not None and started >= since

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """See BaseStorage."""
        self._call(self._backend.set_trial_intermediate_value, trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See BaseStorage."""
        self._call(self._backend.set_trial_user_attr, trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See BaseStorage."""
        self._call(self._backend.set_trial_system_attr, trial_id, key, value)

    def write_together(
        self,
        trial_id: int,
        parameters: Mapping[str, tuple[float, BaseDistribution]],
        attributes: Mapping[str, Any],
    ) -> None:
        """See `layersearch.study.together`."""
        self._try(
            lambda _again: write_together(
                self._backend, trial_id, parameters=parameters, attributes=attributes
            )
        )

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """See BaseStorage."""
        return self._call(
            self._backend.get_trial_id_from_study_id_trial_number, study_id, trial_number
        )

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """See BaseStorage."""
        return self._call(self._backend.get_trial, trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """See BaseStorage."""
        return self._call(self._backend.get_all_trials, study_id, deepcopy, states)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """See BaseStorage."""
        return self._call(self._backend.get_best_trial, study_id)

    def remove_session(self) -> None:
        """See BaseStorage."""
        self._backend.remove_session()


def _new_trial() -> FrozenTrial:
    """A trial as `study.ask` begins it."""
    return FrozenTrial(
        number=-1,  # the storage numbers it
        trial_id=-1,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=datetime.now(),  # noqa: DTZ005 (Optuna writes local times without a zone)
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )
