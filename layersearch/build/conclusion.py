"""The end of a search: the winner retrained and compared with the baselines, and what is written.

Only here is the test split opened: nothing is chosen any more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch

from layersearch.build.choosing import Choice, choose_subset
from layersearch.build.components import Components
from layersearch.build.final_test import FinalTest, Tested, field_of, scores_on_test
from layersearch.build.findings import draw_profile, known_so_far
from layersearch.build.proposing import Proposing
from layersearch.build.result import Result
from layersearch.build.retrainings import Retrainings
from layersearch.errors import LayersearchError, SearchError
from layersearch.execution import Observer, SearchRun
from layersearch.execution.observer import Observers
from layersearch.report import load_result, write_result
from layersearch.serving import HeadShape, TaskDescription, save_task
from layersearch.space import History, Subset, TrialRecord, TrialState
from layersearch.space.trial import WorkerPlace
from layersearch.subtuning import Contender, JobFactory, Recipe, Workplace

TASK = "task.safetensors"
RESULT = "result.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Trials:
    """A search whose trials have ended, before its winner is retrained."""

    parts: Components
    proposing: Proposing
    run: SearchRun
    factory: JobFactory
    place: WorkerPlace  # where to retrain
    folder: Path
    seconds: float  # of the search, over all its runs
    study: optuna.Study | None = None  # to report on


def conclude(end: Trials, *, observers: Sequence[Observer] = ()) -> Result:
    """Retrains the winner, compares it on the test split, and writes what came out.

    A search that was interrupted is not concluded: its result holds what is known so far, and
    nothing is written.

    Raises:
        SearchError: no trial has a score.
        LayersearchError: a file cannot be written.
    """
    history = end.run.history
    choice = choose_subset(end.parts, end.proposing, history)
    if choice.subset is None and not end.run.interrupted:
        raise SearchError(
            "no trial has a score: "
            + (_first_failure(history) or "all of them were pruned or ruled out before training")
        )
    values = known_so_far(end.parts, end.proposing, end.run, choice, seconds=end.seconds)
    if end.run.interrupted:
        return Result(values={**values, "interrupted": True}, folder=end.folder)
    audience = Observers(observers)
    kept = Retrainings(
        end.folder,
        identity={
            "search": end.parts.fingerprint,
            "device": torch.device(end.place.device).type,
        },
        tell=audience.message,
    )
    earlier = _earlier(end, values)
    if earlier is not None:
        kept.remove()  # of a run that was killed after its last step
        return earlier
    workplace = _workplace(end)
    tested = _test(end, workplace, choice, values, audience=audience, kept=kept)
    audience.phase("writing what came out")
    _write(end, choice, values, tested)
    kept.remove()
    workplace.features.close(remove=True)
    try:
        draw_profile(end.parts, history, end.folder)
    except Exception as error:  # noqa: BLE001 - a figure is not worth a search
        audience.message(f"the finetuning profile cannot be drawn: {error}")
    return Result.load(end.folder)


def _test(
    end: Trials,
    workplace: Workplace,
    choice: Choice,
    values: Mapping[str, Any],
    *,
    audience: Observers,
    kept: Retrainings,
) -> Tested:
    """Retrains and tests; finished retrainings outlive an interruption."""
    assert choice.subset is not None
    chosen = Contender(name="chosen", subset=choice.subset, recipe=_recipe(end, choice))
    field = field_of(end.parts, workplace, chosen, values)
    audience.phase("retraining the winner and the baselines")
    try:
        return FinalTest(parts=end.parts, field=field, audience=audience, kept=kept).run(workplace)
    except KeyboardInterrupt:
        audience.message(
            "interrupted while the winner and the baselines were retrained; the search itself has "
            f"ended, and finished retrainings are kept in {end.folder}: run the same command "
            "again, and it goes on after them"
        )
        raise


def _write(end: Trials, choice: Choice, values: Mapping[str, Any], tested: Tested) -> None:
    """The saved task, then the result, which says that all is there."""
    assert choice.subset is not None
    values = {
        **values,
        **scores_on_test(end.parts, tested.verdicts),
        "failed_baselines": tested.failed,
        "task": TASK,
    }
    save_task(
        end.folder / TASK,
        tensors=tested.verdicts[0].tuned,
        description=_description(end, choice.subset, _recipe(end, choice), values),
    )
    write_result(end.folder / RESULT, values)


def _earlier(end: Trials, values: Mapping[str, Any]) -> Result | None:
    """The result that an earlier run wrote, if it is of this very search and is whole."""
    try:
        written = Result(values=load_result(end.folder / RESULT), folder=end.folder)
        written.load_task()
    except LayersearchError:
        return None
    same = ("study", "strategy", "subset", "trials")
    sections = ("backbone", "data", "space", "recipe", "objective", "strategy", "final", "seed")
    ours, theirs = values["config"], written.values.get("config", {})
    if any(written.values.get(name) != values[name] for name in same):
        return None
    if any(theirs.get(name) != ours[name] for name in sections):
        return None
    if "confidence" in written.values:
        return written
    # An earlier version wrote it, which did not say how sure it was.
    write_result(end.folder / RESULT, {**written.values, "confidence": values["confidence"]})
    return Result.load(end.folder)


def _workplace(end: Trials) -> Workplace:
    """That of the trials if they ran in this process, else one made as theirs were."""
    if end.factory.workplace is None:
        end.factory(end.place)
    assert end.factory.workplace is not None
    return end.factory.workplace


def _recipe(end: Trials, choice: Choice) -> Recipe:
    """The search's recipe with the numbers that the chosen trial was given."""
    return end.parts.materials.recipe.with_numbers(choice.numbers)


def _description(
    end: Trials, chosen: Subset, recipe: Recipe, values: Mapping[str, Any]
) -> TaskDescription:
    materials, chain = end.parts.materials, end.parts.chain
    images = materials.data.train.images
    siamese = recipe.pairs_features(chosen)
    return TaskDescription.of(
        materials.backbone,
        head=HeadShape(
            features=chain.head_features * (2 if siamese else 1),
            depth=recipe.head.depth,
            kind=chain.head_kind,
            siamese=siamese,
        ),
        subset=chosen,
        classes=materials.data.classes,
        canvas=tuple(images.shape[-2:]) if images.dtype == torch.uint8 else None,
        recipe=recipe.describe(),
        scores={"test": values["test"]["chosen"], "validation": values["score"]},
    )


def _first_failure(history: History) -> str:
    for record in history:
        if record.state is TrialState.FAILED:
            return f"trial {record.number} failed: {_reason(record)}"
    return ""


def _reason(record: TrialRecord) -> str:
    return str(record.attributes.get("reason", record.attributes.get("failure", "unknown")))
