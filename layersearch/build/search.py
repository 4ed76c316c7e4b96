"""A whole search: parts, study, trials, the winner's retraining, files."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from layersearch.build.budgeting import check_least, settle
from layersearch.build.budgets import build_budgets
from layersearch.build.callbacks import build_callbacks
from layersearch.build.components import Components
from layersearch.build.conclusion import Trials, conclude
from layersearch.build.given import NOTHING_GIVEN, Given
from layersearch.build.latency import FILE as LATENCY_FILE
from layersearch.build.latency import write_table
from layersearch.build.precision import mixed
from layersearch.build.preparing import prepare
from layersearch.build.reporting import (
    describe_search,
    is_reported,
    report_if_it_fails,
    write_report,
)
from layersearch.build.result import Result
from layersearch.build.running import run_trials
from layersearch.build.watching import beginning, ended_as, watching
from layersearch.config import SearchConfig
from layersearch.execution import Observer, make_places
from layersearch.execution.checkpoints import Checkpoints
from layersearch.execution.observer import Observers
from layersearch.study import OpenStudy, keep_plan
from layersearch.study.attributes import canonical
from layersearch.study.lease import seconds_driven
from layersearch.study.looking import Past, look_at
from layersearch.subtuning import JobFactory, remove_leftovers


def run_search(
    config: SearchConfig,
    *,
    given: Given = NOTHING_GIVEN,
    observers: Sequence[Observer] = (),
) -> Result:
    """Searches, retrains the winner and writes `runs/<study>/`.

    Running it again resumes: what has been trained is not trained again.

    Args:
        config: the description.
        given: objects of the user's in place of names.
        observers: are told what happens.

    Raises:
        LayersearchError: what a user can mend; see `layersearch.errors`.
        KeyboardInterrupt: interrupted twice.
    """
    with watching(observers) as watch:
        watch.join(build_callbacks(config))
        ended = run_to_end(config, given=given, observers=watch.observers)
        with report_if_it_fails(ended.study, ended.folder, watch.observers):
            result = conclude(ended, observers=watch.observers)
        result = replace(result, storage=config.study.storage)
        if result.interrupted or not is_reported(ended.folder):
            write_report(ended.study, ended.folder, result.values, watch.observers)
        watch.over(ended_as(ended.run, result.values, folder=str(ended.folder)))
    return result


def run_to_end(
    config: SearchConfig,
    *,
    given: Given = NOTHING_GIVEN,
    observers: Sequence[Observer] = (),
    command: str = "search",
) -> Trials:
    """Runs the trials of a search without retraining its winner.

    Args:
        config: the description.
        given: objects of the user's in place of names.
        observers: are told what happens.
        command: what they are told it is.

    Raises:
        LayersearchError: as `run_search`.
    """
    audience = Observers(observers)
    audience.phase("loading the backbone and the data")
    prepared = prepare(config, given, tell=audience.message)
    parts, devices = prepared.parts, prepared.devices
    for note in parts.materials.data.notes:
        audience.message(note)
    if config.execution.budget and past_of(config) is None:
        check_least(prepared, given)
    audience.phase("opening the study")
    started = time.monotonic()
    with (
        prepared.open_study(observers) as opened,
        report_if_it_fails(opened.study, study_folder(config), observers),
    ):
        prepared = settle(prepared, opened, given, tell=audience.message)
        parts = prepared.parts  # a budget may have it use some of the folds
        keep_plan(opened.study, plan_of(config))
        describe_search(opened.study, parts)
        if parts.latency is not None:
            write_table(study_folder(config) / LATENCY_FILE, parts.latency)
        audience.began(
            beginning(
                config,
                parts,
                opened,
                command=command,
                strategy=prepared.proposing.name,
                folder=str(study_folder(config)),
            )
        )
        factory = JobFactory(parts.materials)
        run = run_trials(
            config,
            parts,
            opened,
            factory=factory,
            budgets=build_budgets(config, parts),
            checkpoints=build_checkpoints(config, parts),
            devices=devices,
            folder=study_folder(config),
            observers=observers,
        )
        if several := mixed(run.history):
            audience.message(several)
        seconds = _seconds(opened, since=started)
    if parts.materials.cache_directory is not None:
        remove_leftovers(parts.materials.cache_directory)
    return Trials(
        parts=parts,
        proposing=prepared.proposing,
        run=run,
        factory=factory,
        place=make_places(1, devices=devices[:1], threads=config.execution.threads)[0],
        folder=study_folder(config),
        seconds=seconds,
        study=opened.study,
    )


def study_folder(config: SearchConfig) -> Path:
    """Where a search writes: `runs/<study>`."""
    return Path(config.study.directory) / config.study_name


def past_of(config: SearchConfig) -> Past | None:
    """What a search has recorded so far; None: its study does not exist. Nothing is written."""
    section = config.study
    return look_at(config.study_name, storage=section.storage, directory=section.directory)


def plan_of(config: SearchConfig) -> dict[str, Any]:
    """What all processes that search one study must agree on, besides its fingerprint."""
    return {
        "strategy": config.strategy.model_dump(mode="json"),
        "execution": {"budget": config.execution.budget.model_dump(mode="json")},
    }


def build_checkpoints(config: SearchConfig, parts: Components) -> Checkpoints:
    """Where trials keep their state: beside the study, for all that search it there."""
    every = config.execution.checkpoint_every
    return Checkpoints(
        None if every is None else study_folder(config) / "checkpoints",
        every=every or 0.0,
        key=canonical(parts.fingerprint),
    )


def _seconds(opened: OpenStudy, *, since: float) -> float:
    """Seconds in which a driver worked on the study, over all its runs."""
    driven = seconds_driven(opened.study.user_attrs, now=time.time(), token=opened.lease.token)
    return max(driven, time.monotonic() - since)
