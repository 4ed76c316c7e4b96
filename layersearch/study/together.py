"""Writes many parameters and attributes of a running trial at once.

Optuna writes them one by one, each in a transaction of its own: a trial of 200 units would take
0.6 s to propose. Here they are one transaction of a database, or one append to a journal, in the
places where Optuna keeps them; other storages get them one by one.
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import sqlalchemy
from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
)
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, column, table
from sqlalchemy.exc import SQLAlchemyError

_TRIALS = table("trials", column("trial_id"), column("state"))
_PARAMETERS = table(
    "trial_params",
    column("trial_id"),
    column("param_name"),
    column("param_value"),
    column("distribution_json"),
)
_ATTRIBUTES = table(
    "trial_user_attributes", column("trial_id"), column("key"), column("value_json")
)


@runtime_checkable
class WritesTogether(Protocol):
    """A storage that passes this on to another."""

    def write_together(
        self,
        trial_id: int,
        parameters: Mapping[str, tuple[float, BaseDistribution]],
        attributes: Mapping[str, Any],
    ) -> None:
        """See the function `write_together`."""
        ...


def write_together(
    storage: BaseStorage,
    trial_id: int,
    *,
    parameters: Mapping[str, tuple[float, BaseDistribution]] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Writes parameters and user attributes of a running trial; the same twice is the same once.

    Args:
        storage: any of Optuna's.
        trial_id: the storage's own, not the number.
        parameters: name -> its value in Optuna's internal form, and its distribution.
        attributes: name -> its JSON value.

    Raises:
        UpdateFinishedTrialError: the trial has ended.
    """
    parameters, attributes = parameters or {}, attributes or {}
    backend = getattr(storage, "_backend", None)
    if not parameters and not attributes:
        return
    if isinstance(storage, WritesTogether):
        storage.write_together(trial_id, parameters, attributes)
    elif isinstance(backend, RDBStorage):  # Optuna's cache, which keeps only trials that ended
        _write_to_database(backend, trial_id, parameters, attributes)
    elif isinstance(storage, JournalStorage):
        _write_to_journal(storage, trial_id, parameters, attributes)
    else:
        for name, (value, distribution) in parameters.items():
            storage.set_trial_param(trial_id, name, value, distribution)
        for name, value in attributes.items():
            storage.set_trial_user_attr(trial_id, name, value)


def check_compatible(
    trials: list[FrozenTrial], distributions: Mapping[str, BaseDistribution]
) -> None:
    """Refuses what Optuna refuses when it writes a parameter: other choices than before.

    Raises:
        ValueError: a parameter had another kind of range in the study's earlier trials.
    """
    earlier = next((trial.distributions for trial in trials if trial.distributions), {})
    for name, distribution in distributions.items():
        if name in earlier:
            check_distribution_compatibility(earlier[name], distribution)


def _write_to_database(
    storage: RDBStorage,
    trial_id: int,
    parameters: Mapping[str, tuple[float, BaseDistribution]],
    attributes: Mapping[str, Any],
) -> None:
    texts = {id(d): distribution_to_json(d) for _, d in parameters.values()}
    rows = [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": float(value),
            "distribution_json": texts[id(distribution)],
        }
        for name, (value, distribution) in parameters.items()
    ]
    found = [
        {"trial_id": trial_id, "key": name, "value_json": json.dumps(value)}
        for name, value in attributes.items()
    ]
    try:
        with storage.engine.begin() as connection:
            # Deleting comes first: in SQLite, a transaction that begins with a look cannot wait.
            _remove(connection, _PARAMETERS, trial_id, _PARAMETERS.c.param_name, parameters)
            _remove(connection, _ATTRIBUTES, trial_id, _ATTRIBUTES.c.key, attributes)
            _check_running(connection, trial_id)
            for where, given in ((_PARAMETERS, rows), (_ATTRIBUTES, found)):
                if given:
                    connection.execute(sqlalchemy.insert(where), given)
    except SQLAlchemyError as error:
        raise StorageInternalError(f"trial {trial_id} could not be written: {error}") from error


def _remove(
    connection: Connection,
    where: sqlalchemy.TableClause,
    trial_id: int,
    key: sqlalchemy.ColumnElement[Any],
    names: Mapping[str, Any],
) -> None:
    """What an attempt wrote whose answer was lost, and attributes that are written anew."""
    if names:
        same = where.c.trial_id == trial_id
        connection.execute(sqlalchemy.delete(where).where(same & key.in_(list(names))))


def _check_running(connection: Connection, trial_id: int) -> None:
    where = _TRIALS.c.trial_id == trial_id
    # Whoever ends the trial meanwhile waits for this transaction.
    query = sqlalchemy.select(_TRIALS.c.state).where(where).with_for_update()
    state = connection.execute(query).scalar_one_or_none()
    if state is None:
        raise KeyError(f"there is no trial with id {trial_id}")
    if TrialState[str(state)].is_finished():
        raise UpdateFinishedTrialError(f"trial {trial_id} has ended ({state}): nothing is written")


def _write_to_journal(
    storage: JournalStorage,
    trial_id: int,
    parameters: Mapping[str, tuple[float, BaseDistribution]],
    attributes: Mapping[str, Any],
) -> None:
    records: list[dict[str, Any]] = [
        {
            "op_code": JournalOperation.SET_TRIAL_PARAM,
            "param_name": name,
            "param_value_internal": value,
            "distribution": distribution_to_json(distribution),
        }
        for name, (value, distribution) in parameters.items()
    ]
    records += [
        {"op_code": JournalOperation.SET_TRIAL_USER_ATTR, "user_attr": {name: value}}
        for name, value in attributes.items()
    ]
    # As the storage's own methods do it, but for a list of records.
    with storage._thread_lock:  # noqa: SLF001
        worker = storage._replay_result.worker_id  # noqa: SLF001
        own = {"trial_id": trial_id, "worker_id": worker}
        storage._backend.append_logs([record | own for record in records])  # noqa: SLF001
        _take_in(storage, len(records))


def _take_in(storage: JournalStorage, records: int) -> None:
    """Reads what was written; each record of a trial that has ended is an error of its own."""
    late: UpdateFinishedTrialError | None = None
    for _ in range(records + 1):
        try:
            storage._sync_with_backend()  # noqa: SLF001
            break
        except UpdateFinishedTrialError as error:
            late = error
    if late is not None:
        raise late
