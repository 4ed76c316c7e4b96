"""Writes what happens to a trial into its study.

Every function that ends a trial returns it as it ended, or None if it was not open any more: what
another driver has ended meanwhile, because the trial's own driver seemed dead, stays as it is.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from layersearch.space.subset import Subset
from layersearch.space.trial import Report, TrialResult
from layersearch.study import attributes as names
from layersearch.study.together import write_together


def record_subset(trial: optuna.Trial, subset: Subset) -> None:
    """Claims `subset` for the trial."""
    trial.set_user_attr(names.SUBSET, list(subset.names))


def record_start(
    trial: optuna.Trial,
    *,
    subset: Subset,
    costs: Mapping[str, float],
    recipe: Mapping[str, Any],
    driver: str,
) -> None:
    """What is known of a trial before it runs.

    Args:
        trial: of the study, running.
        subset: that it trains.
        costs: by name, such as trainable_parameters; each becomes an attribute of that name.
        recipe: sampled recipe numbers, if any.
        driver: token of the driver's lease.
    """
    known = trial.user_attrs
    wanted: dict[str, Any] = {
        names.DRIVER: driver,
        names.SUBSET: list(subset.names),
        names.TUNES: f"{subset} and a new head" if subset else "a new head alone: the linear probe",
    }
    wanted |= {name: names.plain(value) for name, value in costs.items()}
    if recipe:
        wanted[names.RECIPE] = names.plain(recipe)
    _set_attributes(trial, {n: value for n, value in wanted.items() if known.get(n) != value})


def record_report(trial: optuna.Trial, report: Report) -> None:
    """One intermediate value; dropped if the trial has ended."""
    try:
        trial.report(float(report.score), report.step)
    except UpdateFinishedTrialError:
        return


def why_unusable(values: Sequence[Any], *, objectives: int) -> str:
    """Why a study cannot take these values, or '' if it can."""
    if not isinstance(values, tuple | list):
        return f"values are {_shown(values)}; a tuple of numbers is needed"
    if len(values) != objectives:
        return f"{len(values)} values for {objectives} objectives"
    for value in values:
        reason = why_no_number(value)
        if reason:
            return reason
    return ""


def why_no_number(value: Any) -> str:
    """Why `value` is no score, or '' if it is a finite number."""
    if isinstance(value, str | bytes) or value is None:
        return f"the score is {_shown(value)}; a finite number is needed"
    try:
        number = float(value)
    except (TypeError, ValueError):
        return f"the score is {_shown(value)}; a finite number is needed"
    return "" if math.isfinite(number) else f"the score is {number}; a finite number is needed"


def record_result(
    study: optuna.Study, trial: optuna.Trial, result: TrialResult, *, extra: Mapping[str, Any]
) -> FrozenTrial | None:
    """Completes a trial.

    Args:
        study: that the trial belongs to.
        trial: running.
        result: its values are finite numbers, one an objective.
        extra: further attributes: seconds, epochs, trainings.
    """
    found = _found(result, extra)
    try:
        for name, limit in result.constraints.items():
            trial.set_constraint(name, float(limit))
    except UpdateFinishedTrialError:
        return None
    values = [float(value) for value in result.values]
    return _end(study, trial, TrialState.COMPLETE, found, values)


def record_failure(
    study: optuna.Study,
    trial: optuna.Trial,
    reason: str,
    *,
    traceback: str = "",
    interrupted: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> FrozenTrial | None:
    """Fails a trial.

    Args:
        study: that the trial belongs to.
        trial: running.
        reason: one line that a user reads.
        traceback: of the job, if it raised.
        interrupted: whether something else ended it (Ctrl-C, a dead worker), so that its subset
            may run again.
        extra: further attributes.
    """
    found: dict[str, Any] = {
        names.REASON: reason,
        names.FAILURE: f"{reason}\n{traceback}" if traceback else reason,
        **(extra or {}),
    }
    if interrupted:
        found[names.INTERRUPTED] = True
    return _end(study, trial, TrialState.FAIL, found)


def record_pruned(
    study: optuna.Study, trial: optuna.Trial, reason: str, *, extra: Mapping[str, Any]
) -> FrozenTrial | None:
    """Ends a trial that the evidence stopped."""
    return _end(study, trial, TrialState.PRUNED, {names.REASON: reason, **extra})


def record_look(
    study: optuna.Study, trial: optuna.Trial, result: TrialResult, *, extra: Mapping[str, Any]
) -> FrozenTrial | None:
    """Ends a look: PRUNED, since its score is not that of the whole schedule, which it keeps."""
    found = _found(result, extra)
    found[names.SCORE] = float(result.values[0])
    epochs = trial.user_attrs[names.LOOK]
    found[names.REASON] = f"a look of {epochs} epochs: {float(result.values[0]):.4f}"
    return _end(study, trial, TrialState.PRUNED, found)


def record_infeasible(study: optuna.Study, trial: optuna.Trial, reason: str) -> FrozenTrial | None:
    """Ends a trial whose subset a limit rules out: nothing is trained."""
    found = {names.REASON: f"infeasible: {reason}", names.INFEASIBLE: reason}
    return _end(study, trial, TrialState.PRUNED, found)


def record_memo(
    study: optuna.Study, trial: optuna.Trial, source: FrozenTrial
) -> FrozenTrial | None:
    """Completes a trial with the score that its subset has already: nothing is trained."""
    cost = (names.SECONDS, names.EPOCHS, names.TRAININGS, names.FLOPS)
    spent = (*cost, names.DRIVER, names.RETRY_OF, names.ROUND)
    found = {key: value for key, value in source.user_attrs.items() if key not in spent}
    found[names.MEMO_OF] = source.user_attrs.get(names.MEMO_OF, source.number)
    for name, limit in found.get(names.CONSTRAINTS, {}).items():
        trial.set_constraint(name, float(limit))
    return _end(study, trial, TrialState.COMPLETE, found, source.values)


def _found(result: TrialResult, extra: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial found, as attributes."""
    own = (names.SUBSET, names.RECIPE, names.LOOK, names.DRIVER, names.RETRY_OF, names.MEMO_OF)
    found: dict[str, Any] = {
        name: value for name, value in result.attributes.items() if name not in own
    }
    found |= {
        **result.costs,
        names.STDERR: result.stderr,
        names.FOLD_SCORES: list(result.fold_scores) or None,
        names.CORRECT: names.encode_correct(result),
        **extra,
    }
    if result.constraints:
        found[names.CONSTRAINTS] = dict(result.constraints)
        found[names.FEASIBLE] = all(value <= 0 for value in result.constraints.values())
    return found


def _end(
    study: optuna.Study,
    trial: optuna.Trial,
    state: TrialState,
    found: Mapping[str, Any],
    values: Sequence[float] | None = None,
) -> FrozenTrial | None:
    known = trial.user_attrs
    try:
        wanted = {n: v for n, v in names.plain(found).items() if v is not None}
        _set_attributes(trial, {n: v for n, v in wanted.items() if known.get(n) != v})
        return study.tell(trial, values, state=state)
    except UpdateFinishedTrialError:
        return None
    except ValueError as error:
        if "Cannot tell a" in str(error):
            return None
        raise


def _set_attributes(trial: optuna.Trial, attributes: Mapping[str, Any]) -> None:
    """As `trial.set_user_attr`, all of them at once."""
    trial_id = trial._trial_id  # noqa: SLF001 (storages know trials by it)
    write_together(trial.storage, trial_id, attributes=attributes)
    trial._cached_frozen_trial.user_attrs.update(attributes)  # noqa: SLF001 (what the trial shows)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '…'} ({type(value).__name__})"
