"""A database storage that reads trials without mapping every row to an object of its own.

Optuna reads all trials that have not ended anew each time it is asked for any, four times while a
trial is proposed: five running trials of 200 units took 100 ms to read, and a study of 10,000 such
trials minutes. This reads the same rows as plain tuples, and not again what cannot have changed.
"""

import copy
import json
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.exc import SQLAlchemyError

_MANY = 500  # trials that are named one by one in a query
_Parameters = tuple[dict[str, Any], dict[str, BaseDistribution]]
_distribution = lru_cache(maxsize=4096)(json_to_distribution)


def _table(model: Any) -> Table:
    table: Table = model.__table__
    return table


_TRIALS = _table(models.TrialModel)
_STUDIES = _table(models.StudyModel)


class _Details:
    """The rows of some trials in a table that refers to them; the queries are made once."""

    def __init__(self, model: Any, *columns: str, order: str = "") -> None:
        table = _table(model)
        column = table.c.trial_id
        query = sqlalchemy.select(column, *(table.c[name] for name in columns))
        self._query = query.order_by(table.c[order]) if order else query
        self._column = column
        self._named = self._query.where(column.in_(_IDS))
        count = sqlalchemy.func.count()
        self._count = sqlalchemy.select(column, count).where(column.in_(_IDS)).group_by(column)

    def read(
        self, connection: Connection, ids: Sequence[int], where: ColumnElement[bool] | None
    ) -> defaultdict[int, list[tuple[Any, ...]]]:
        """Trial id -> its rows, without the id.

        Args:
            connection: to the database.
            ids: of the trials.
            where: what they have in common, for where they are too many to name.
        """
        if where is not None and len(ids) > _MANY:
            some = sqlalchemy.select(_TRIALS.c.trial_id).where(where)
            found = connection.execute(self._query.where(self._column.in_(some)))
        else:
            found = connection.execute(self._named, {"ids": list(ids)})
        rows = defaultdict[int, list[tuple[Any, ...]]](list)
        for row in found:
            rows[row[0]].append(tuple(row[1:]))
        return rows

    def count(self, connection: Connection, ids: Sequence[int]) -> dict[int, int]:
        """Trial id -> how many rows it has, if any."""
        return {row[0]: row[1] for row in connection.execute(self._count, {"ids": list(ids)})}


_IDS: sqlalchemy.BindParameter[Any] = sqlalchemy.bindparam("ids", expanding=True)
_PARAMETERS = _Details(
    models.TrialParamModel, "param_name", "param_value", "distribution_json", order="param_id"
)
_VALUES = _Details(models.TrialValueModel, "objective", "value", "value_type")
_REPORTS = _Details(
    models.TrialIntermediateValueModel, "step", "intermediate_value", "intermediate_value_type"
)
_OURS = _Details(models.TrialUserAttributeModel, "key", "value_json")
_THEIRS = _Details(models.TrialSystemAttributeModel, "key", "value_json")
_HEADS = sqlalchemy.select(
    _TRIALS.c.trial_id,
    _TRIALS.c.number,
    _TRIALS.c.state,
    _TRIALS.c.datetime_start,
    _TRIALS.c.datetime_complete,
).order_by(_TRIALS.c.trial_id)


def _parsed(rows: Iterable[tuple[Any, ...]]) -> _Parameters:
    distributions, parameters = dict[str, BaseDistribution](), dict[str, Any]()
    for name, value, text in rows:
        distributions[name] = _distribution(text)
        parameters[name] = distributions[name].to_external_repr(value)
    return parameters, distributions


def _numbers(rows: Sequence[tuple[Any, ...]]) -> list[float] | None:
    to_value = models.TrialValueModel.stored_repr_to_value
    return [to_value(value, kind) for _, value, kind in sorted(rows)] if rows else None


def _local(when: datetime | None) -> datetime | None:
    """A time as Optuna gives it: local, without a zone; newer versions keep UTC."""
    if when is None or not hasattr(models.TrialModel, "_datetime_start_utc"):
        return when
    return when.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


class QuickDatabase(RDBStorage):
    """Optuna's database storage; only what reads many trials is done differently."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._known: dict[int, _Parameters] = {}  # by the ids of trials that have not ended

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """The trials after an id and those that are named, by id; what Optuna's cache asks for."""
        named = [i for i in included_trial_ids if i <= trial_id_greater_than]
        if len(named) > _MANY or states is not None:
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        where = _TRIALS.c.trial_id > trial_id_greater_than
        if named:
            where = where | _TRIALS.c.trial_id.in_(named)
        found = self._read((_TRIALS.c.study_id == study_id) & where)
        if not found:
            self._check_study(study_id)
        return found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """See BaseStorage."""
        for trial in self._read(_TRIALS.c.trial_id == trial_id):
            return trial
        raise KeyError(f"there is no trial with id {trial_id}")

    def _check_study(self, study_id: int) -> None:
        where = _STUDIES.c.study_id == study_id
        with self._connected() as connection:
            found = connection.execute(sqlalchemy.select(_STUDIES.c.study_id).where(where)).first()
        if found is None:
            raise KeyError(f"there is no study with id {study_id}")

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with self.engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:  # as Optuna names it
            raise StorageInternalError(f"trials could not be read: {error}") from error

    def _read(self, where: ColumnElement[bool]) -> list[FrozenTrial]:
        with self._connected() as connection:
            return self._read_by(connection, where)

    def _read_by(self, connection: Connection, where: ColumnElement[bool]) -> list[FrozenTrial]:
        found = connection.execute(_HEADS.where(where)).all()
        if not found:
            return []
        # What a trial had when it ended was written before its state: it is read after it.
        ids = [row.trial_id for row in found]
        values = _VALUES.read(connection, ids, where)
        reports = _REPORTS.read(connection, ids, where)
        ours = _OURS.read(connection, ids, where)
        theirs = _THEIRS.read(connection, ids, where)
        parameters = self._parameters(connection, found, where)
        return [
            FrozenTrial(
                number=row.number,
                state=row.state,
                value=None,
                values=_numbers(values[row.trial_id]),
                datetime_start=_local(row.datetime_start),
                datetime_complete=_local(row.datetime_complete),
                params=dict(parameters[row.trial_id][0]),
                distributions=dict(parameters[row.trial_id][1]),
                user_attrs={key: json.loads(text) for key, text in ours[row.trial_id]},
                system_attrs={key: json.loads(text) for key, text in theirs[row.trial_id]},
                intermediate_values={
                    step: models.TrialIntermediateValueModel.stored_repr_to_intermediate_value(
                        value, kind
                    )
                    for step, value, kind in reports[row.trial_id]
                },
                trial_id=row.trial_id,
            )
            for row in found
        ]

    def _parameters(
        self, connection: Connection, found: Sequence[Any], where: ColumnElement[bool]
    ) -> dict[int, _Parameters]:
        """The parameters of each trial. They are added, never changed: their number tells."""
        counts = _PARAMETERS.count(connection, list(self._known)) if self._known else {}
        known = {i: p for i, p in self._known.items() if len(p[0]) == counts.get(i, 0)}
        unread = [row.trial_id for row in found if row.trial_id not in known]
        read = dict[int, _Parameters]()
        if unread:
            common = where if len(unread) == len(found) else None
            rows = _PARAMETERS.read(connection, unread, common)
            read = {i: _parsed(rows[i]) for i in unread}
        every = {**known, **read}
        open_ = {row.trial_id for row in found if not row.state.is_finished()}
        ended = {row.trial_id for row in found} - open_
        self._known = {i: p for i, p in every.items() if i not in ended}
        return every


class QuickCache(_CachedStorage):
    """Optuna's cache of trials that have ended, which lists 10,000 of them without a look at each.

    Args:
        database: whose trials are kept.
    """

    def __init__(self, database: QuickDatabase) -> None:
        super().__init__(database)
        self._database = database

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """See BaseStorage."""
        self._read_trials_from_remote_storage(study_id)
        with self._lock:
            study = self._studies[study_id]
            if list(study.trials) != list(range(len(study.trials))):
                study.trials = dict(sorted(study.trials.items()))
            if states is None:
                trials = list(study.trials.values())
            elif any(state.is_finished() and state in states for state in TrialState):
                trials = [trial for trial in study.trials.values() if trial.state in states]
            else:
                places = map(self._trial_id_to_study_id_and_number.get, study.unfinished_trial_ids)
                numbers = sorted(place[1] for place in places if place is not None)
                found = (study.trials[number] for number in numbers)
                trials = [trial for trial in found if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials
