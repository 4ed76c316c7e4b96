"""A worker: helps a search that another process drives, from any machine that reaches its storage.

It proposes, trains and records as the driver does, and concludes nothing: the driver retrains the
winner. It is not needed either: what a worker leaves unfinished runs again elsewhere.
"""

import contextlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from layersearch.build.budgeting import settle
from layersearch.build.budgets import build_budgets
from layersearch.build.given import NOTHING_GIVEN, Given
from layersearch.build.latency import asks
from layersearch.build.preparing import prepare
from layersearch.build.running import run_trials
from layersearch.build.search import build_checkpoints, plan_of, study_folder
from layersearch.build.watching import beginning, watching
from layersearch.config import SearchConfig
from layersearch.errors import ConfigError, Problem
from layersearch.execution import Ending, Observer, SearchRun
from layersearch.execution.observer import Observers
from layersearch.execution.standing import Ended
from layersearch.space import TrialRecord, TrialState
from layersearch.study import attributes as names
from layersearch.study import check_plan, wait_for_study
from layersearch.subtuning import JobFactory


@dataclass(frozen=True, kw_only=True)
class WorkerRun:
    """What a worker did."""

    study: str
    ending: Ending
    reason: str  # in words
    trained: int  # trials that it brought to their end, scored or pruned
    failed: int  # trials that failed of themselves
    seconds: float


def run_worker(
    config: SearchConfig,
    *,
    wait: float = 0.0,
    given: Given = NOTHING_GIVEN,
    observers: Sequence[Observer] = (),
) -> WorkerRun:
    """Trains trials of a search until nothing is left to train; retrains and writes no result.

    Args:
        config: the same description as the search's; workers, devices and caches may differ.
        wait: seconds to wait for the search to begin.
        given: objects of the user's in place of names.
        observers: are told what happens.

    Raises:
        ConfigError: the description is for another kind of worker.
        StudyError: the study did not appear, or is searched in another way; its storage does not
            answer.
        FingerprintError: the study was made with something else.
        LayersearchError: as a search.
        KeyboardInterrupt: interrupted twice.
    """
    _check_runner(config)
    with watching(observers) as watch:
        done = _help(config, wait=wait, given=given, observers=watch.observers)
        watch.over(Ended(ending=done.ending.value, reason=done.reason))
    return done


def _help(
    config: SearchConfig, *, wait: float, given: Given, observers: Sequence[Observer]
) -> WorkerRun:
    audience = Observers(observers)

    def await_study() -> None:
        audience.phase("waiting for the search to begin")
        wait_for_study(
            config.study_name,
            storage=config.study.storage,
            directory=config.study.directory,
            seconds=wait,
            tell=audience.message,
        )

    if asks(config):  # the study has the latencies by which the search goes
        await_study()
    audience.phase("loading the backbone and the data")
    prepared = prepare(config, given, tell=audience.message)
    parts = prepared.parts
    await_study()
    logs = study_folder(config) / f"worker-{socket.gethostname()}-{os.getpid()}"
    with prepared.open_study(observers, worker=True) as opened:
        check_plan(opened.study, plan_of(config))
        prepared = settle(prepared, opened, given, tell=audience.message, decides=False)
        parts = prepared.parts
        audience.began(
            beginning(
                config,
                parts,
                opened,
                command="worker",
                strategy=prepared.proposing.name,
                folder=str(study_folder(config)),
            )
        )
        try:
            run = run_trials(
                config,
                parts,
                opened,
                factory=JobFactory(parts.materials),
                budgets=build_budgets(config, parts),
                checkpoints=build_checkpoints(config, parts),
                devices=prepared.devices,
                folder=logs,
                waits=False,
                observers=observers,
            )
        finally:
            _remove_if_empty(logs)
        return _told(run, study=config.study_name, token=opened.lease.token)


def _check_runner(config: SearchConfig) -> None:
    if config.execution.runner != "local":
        raise ConfigError(
            [
                Problem(
                    where="execution.runner",
                    what=f"a worker trains by itself, and the runner is {config.execution.runner}",
                    remedy="join the cluster instead (ray start --address=…), or search with "
                    "execution.runner=local",
                )
            ]
        )


def _told(run: SearchRun, *, study: str, token: str) -> WorkerRun:
    mine = [record for record in run.history if record.attributes.get(names.DRIVER) == token]
    return WorkerRun(
        study=study,
        ending=run.ending,
        reason=run.reason,
        trained=sum(map(_was_trained, mine)),
        failed=sum(record.state is TrialState.FAILED and not _was_cut(record) for record in mine),
        seconds=run.seconds,
    )


def _was_trained(record: TrialRecord) -> bool:
    return record.state in (TrialState.COMPLETE, TrialState.PRUNED) and bool(
        record.attributes.get(names.TRAININGS)
    )


def _was_cut(record: TrialRecord) -> bool:
    return bool(record.attributes.get(names.INTERRUPTED))


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
