"""Fills studies for benchmarks: 10,000 trials of 200 units in seconds, kept as Optuna does."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, distribution_to_json

from layersearch.space import SearchSpace, TrialRecord
from layersearch.space.trial import TrialResult, pack_correct
from layersearch.study.attributes import encode_correct

SAMPLES = 1_000  # validation images whose correctness a trial records
REPORTS = 5
WHEN = "2026-01-01 00:00:00.000000"


def fill(
    path: Path,
    past: Sequence[TrialRecord],
    *,
    space: SearchSpace,
    distributions: Mapping[str, BaseDistribution],
) -> None:
    """Adds complete trials to a study that has none; nobody may have it open.

    Args:
        path: of a SQLite database (.db) or a journal (.log) that holds one study.
        past: the trials, numbered from 0.
        space: of their subsets.
        distributions: of the parameters.
    """
    texts = {name: distribution_to_json(value) for name, value in distributions.items()}
    if path.suffix == ".db":
        with closing(sqlite3.connect(path)) as database, database:
            _fill_database(database, past, space, texts)
    else:
        with path.open("a") as journal:
            for record in past:
                line = json.dumps(_journal_record(record, space, texts), separators=(",", ":"))
                journal.write(line + "\n")


def _fill_database(
    database: sqlite3.Connection,
    past: Sequence[TrialRecord],
    space: SearchSpace,
    texts: Mapping[str, str],
) -> None:
    def put(table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> None:
        marks = ",".join("?" * len(columns.split(",")))
        database.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608

    numbered = [(record.number + 1, record) for record in past]  # ids begin with 1
    put(
        "trials",
        "trial_id,number,study_id,state,datetime_start,datetime_complete",
        ((i, record.number, 1, "COMPLETE", WHEN, WHEN) for i, record in numbered),
    )
    put(
        "trial_values",
        "trial_id,objective,value,value_type",
        ((i, 0, record.score, "FINITE") for i, record in numbered),
    )
    put(
        "trial_intermediate_values",
        "trial_id,step,intermediate_value,intermediate_value_type",
        ((i, step, record.score, "FINITE") for i, record in numbered for step in range(REPORTS)),
    )
    put(
        "trial_user_attributes",
        "trial_id,key,value_json",
        ((i, key, json.dumps(v)) for i, record in numbered for key, v in _attributes(record)),
    )
    put(
        "trial_params",
        "trial_id,param_name,param_value,distribution_json",
        (
            (i, name, float(on), texts[name])
            for i, record in numbered
            for name, on in space.to_parameters(record.subset).items()  # type: ignore[arg-type]
        ),
    )


def _journal_record(
    record: TrialRecord, space: SearchSpace, texts: Mapping[str, str]
) -> dict[str, Any]:
    assert record.subset is not None
    when = WHEN.replace(" ", "T") + "+00:00"
    return {
        "op_code": 4,  # a new trial
        "worker_id": "filled",
        "study_id": 0,
        "datetime_start": when,
        "datetime_complete": when,
        "state": 1,  # complete
        "value": record.score,
        "values": None,
        "distributions": dict(texts),
        "params": {n: float(on) for n, on in space.to_parameters(record.subset).items()},
        "user_attrs": dict(_attributes(record)),
        "system_attrs": {},
        "intermediate_values": {str(step): record.score for step in range(REPORTS)},
    }


def _attributes(record: TrialRecord) -> Iterator[tuple[str, Any]]:
    assert record.subset is not None
    assert record.score is not None
    rng = np.random.default_rng(record.number)
    correct = pack_correct(rng.random(SAMPLES) < record.score)
    yield "subset", list(record.subset)
    yield "driver", "an earlier one"
    yield "trainable_parameters", 1000.0 * len(record.subset)
    yield "stderr", 0.01
    yield "fold_scores", [record.score] * 5
    yield "correct", encode_correct(TrialResult(values=(0.0,), correct=correct, count=SAMPLES))
    yield "seconds", 2.0
    yield "epochs", 25
    yield "trainings", 5
