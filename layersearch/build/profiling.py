"""The finetuning profile of a backbone and a task: `layersearch profile`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from layersearch.build.callbacks import build_callbacks
from layersearch.build.choosing import choose_subset
from layersearch.build.findings import draw_profile, known_so_far
from layersearch.build.given import NOTHING_GIVEN, Given
from layersearch.build.reporting import write_report
from layersearch.build.result import Profile
from layersearch.build.search import run_to_end, study_folder
from layersearch.build.watching import ended_as, watching
from layersearch.config import SearchConfig
from layersearch.execution import Observer, SearchRun
from layersearch.execution.observer import Observers
from layersearch.report import write_result

PROFILE = "profile.json"


def run_profile(
    config: SearchConfig,
    *,
    given: Given = NOTHING_GIVEN,
    observers: Sequence[Observer] = (),
) -> Profile:
    """Scores single units, runs of them and pairs, and draws the profile; nothing is retrained.

    Writes `profile.json` (as result.json, without `test`), `profile.png` and `profile.svg` into the
    study's folder, and the report page. The test split stays sealed.

    Args:
        config: the description; its strategy is `profile`.
        given: objects of the user's in place of names.
        observers: are told what happens.

    Raises:
        LayersearchError: what a user can mend.
    """
    with watching(observers) as watch:
        watch.join(build_callbacks(config))
        result, run = _run(config, given, watch.observers)
        watch.over(ended_as(run, result.values, folder=str(result.folder)))
    return result


def _run(
    config: SearchConfig, given: Given, observers: Sequence[Observer]
) -> tuple[Profile, SearchRun]:
    finished = run_to_end(config, given=given, observers=observers, command="profile")
    folder = study_folder(config)
    history = finished.run.history
    choice = choose_subset(finished.parts, finished.proposing, history)
    values = known_so_far(
        finished.parts, finished.proposing, finished.run, choice, seconds=finished.seconds
    )
    if finished.run.interrupted:
        values = {**values, "interrupted": True}
        write_report(finished.study, folder, values, observers)
        return _profile(config, values, folder), finished.run
    for path in draw_profile(finished.parts, history, folder):
        Observers(observers).message(f"drew {path}")
    write_result(folder / PROFILE, values)
    write_report(finished.study, folder, values, observers)
    return _profile(config, values, folder), finished.run


def _profile(config: SearchConfig, values: dict[str, Any], folder: Path) -> Profile:
    return Profile(values=values, folder=folder, storage=config.study.storage)
