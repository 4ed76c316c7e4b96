"""The end of a search: the winner retrained and compared with the baselines, and what is written.

Only here is the test split opened: nothing is chosen any more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from torch import Tensor

from layersearch.build.choosing import Choice, choose_subset, describe_choice
from layersearch.build.components import Components
from layersearch.build.proposing import Proposing
from layersearch.build.result import Result
from layersearch.build.retrainings import Retrainings
from layersearch.errors import LayersearchError, SearchError
from layersearch.execution import Observer, SearchRun
from layersearch.execution.observer import Observers
from layersearch.execution.standing import RetrainingNow
from layersearch.objectives import Objective, standard_error
from layersearch.report import (
    Scored,
    compare,
    load_result,
    profile_figure,
    save_figure,
    write_result,
)
from layersearch.serving import HeadShape, TaskDescription, save_task
from layersearch.space import History, Subset, TrialRecord, TrialState
from layersearch.space.trial import WorkerPlace
from layersearch.subtuning import (
    JobFactory,
    Recipe,
    Verdict,
    Workplace,
    contenders,
    judge,
    open_test_split,
    open_workplace,
)

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
    chosen = choice.subset
    if chosen is None and not end.run.interrupted:
        raise SearchError(
            "no trial has a score: "
            + (_first_failure(history) or "all of them were pruned or ruled out before training")
        )
    values = known_so_far(end, history, choice)
    if end.run.interrupted:
        return Result(values={**values, "interrupted": True}, folder=end.folder)
    assert chosen is not None
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
    audience.phase("retraining the winner and the baselines")
    workplace = _workplace(end)
    try:
        verdicts, failed = _judge_all(end, workplace, choice, audience, kept)
    except KeyboardInterrupt:
        audience.message(
            "interrupted while the winner and the baselines were retrained; the search itself has "
            f"ended, and finished retrainings are kept in {end.folder}: run the same command "
            "again, and it goes on after them"
        )
        raise
    audience.phase("writing what came out")
    values = {**values, **_tested(end, verdicts), "failed_baselines": failed, "task": TASK}
    save_task(
        end.folder / TASK,
        tensors=verdicts[0].tuned,
        description=_description(end, chosen, _recipe(end, choice), values),
    )
    write_result(end.folder / RESULT, values)
    kept.remove()
    workplace.features.close(remove=True)
    try:
        draw_profile(end.parts, history, end.folder)
    except Exception as error:  # noqa: BLE001 - a figure is not worth a search
        audience.message(f"the finetuning profile cannot be drawn: {error}")
    return Result.load(end.folder)


def known_so_far(end: Trials, history: History, choice: Choice) -> dict[str, Any]:
    """What the search itself tells, before anything is retrained."""
    config, space = end.parts.config, end.parts.space
    chosen, record = choice.subset, choice.record
    sign = 1.0 if end.parts.objective.direction == "maximize" else -1.0
    return {
        "study": config.study_name,
        "strategy": end.proposing.name,
        "metric": {"name": end.parts.objective.name, "direction": end.parts.objective.direction},
        "subset": [] if chosen is None else list(chosen),
        "score": {
            "mean": None if record is None or record.score is None else sign * record.score,
            "stderr": None if record is None else record.stderr,
        },
        **describe_choice(end.parts.objective, choice, config.objective.choose),
        "cost": _cost(history, end.seconds),
        "parameters": {
            "tuned": 0 if chosen is None else space.trainable_parameters(chosen),
            "total": sum(p.numel() for p in end.parts.materials.backbone.network.parameters()),
        },
        "trials": {
            state.value: sum(record.state is state for record in history) for state in TrialState
        },
        "ending": end.run.reason,
        "rounds": end.proposing.rounds(history, sign=sign),
        "profile": _profile(end, history),
        "config": config.resolved(),
    }


def _cost(history: History, seconds: float) -> dict[str, float]:
    """Over all trials, pruned and failed ones included."""
    spent: dict[str, float] = {"trainings": 0, "epochs": 0, "flops": 0.0}
    for record in history:
        for name in spent:
            value = record.attributes.get(name, 0)
            spent[name] += value if isinstance(value, int | float) else 0
    return {**spent, "seconds": seconds}


def _profile(end: Trials, history: History) -> list[dict[str, Any]]:
    """Every unit by itself, as far as it was scored, with the linear probe first."""
    space = end.parts.space
    singles = [Subset(), *(Subset([unit.name]) for unit in space.units)]
    sign = 1.0 if end.parts.objective.direction == "maximize" else -1.0
    return [
        {
            "subset": list(subset),
            "mean": sign * (record.score or 0.0),
            "stderr": record.stderr,
            "trainable_parameters": space.trainable_parameters(subset),
        }
        for subset in singles
        if (record := history.scores.get(subset)) is not None
    ]


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
    return written if all(theirs.get(name) == ours[name] for name in sections) else None


def _judge_all(
    end: Trials,
    workplace: Workplace,
    choice: Choice,
    audience: Observers,
    kept: Retrainings,
) -> tuple[list[Verdict], dict[str, str]]:
    """The chosen subset first, then the baselines; and the baselines that failed, with why."""
    parts, final = end.parts, end.parts.config.final
    materials = parts.materials
    samples, test = open_test_split(materials, workplace, purpose="the winner and the baselines")

    def say(name: str, number: int, epoch: int, score: float | None = None) -> None:
        place = next(place for place, found in enumerate(field) if found.name == name)
        audience.retraining(
            RetrainingNow(
                name=name,
                subset=field[place].subset,
                seed=number,
                seeds=final.seeds,
                done=place * final.seeds + number + (score is not None),
                total=len(field) * final.seeds,
                epoch=epoch,
                epochs=field[place].recipe.epochs,
                metric=materials.objective.name,
                score=score,
            )
        )

    def tell(name: str, number: int, score: float) -> None:
        say(name, number, _recipe(end, choice).epochs, score)
        audience.message(
            f"{name.replace('_', ' ')}, retrained on all training samples "
            f"({number + 1} of {final.seeds}): test {materials.objective.name} {score:.4f}"
        )

    assert choice.subset is not None
    field = contenders(
        choice.subset,
        _recipe(end, choice),
        everything=Subset(unit.name for unit in workplace.chain.units),
        baselines=final.baselines,
    )
    verdicts: list[Verdict] = []
    failed: dict[str, str] = {}
    for contender in field:
        try:
            verdict = judge(
                workplace,
                contender,
                samples=materials.data.final_train,
                test=test,
                test_labels=samples.labels,
                objective=materials.objective,
                seeds=final.seeds,
                seed=materials.seed,
                after_seed=tell,
                after_epoch=say,
                kept=kept,
                costs=parts.space.costs(contender.subset),
            )
        except Exception as error:
            # Full finetuning may run out of memory where the winner does not: that is no reason to
            # lose the winner.
            if not verdicts:
                raise
            failed[contender.name] = f"{type(error).__name__}: {error}"
            audience.message(f"{contender.name.replace('_', ' ')} cannot be retrained: {error}")
        else:
            verdicts.append(verdict)
    test.close(remove=True)
    return verdicts, failed


def _workplace(end: Trials) -> Workplace:
    """That of the trials if they ran in this process, else a new one."""
    made = end.factory.workplace
    return made if made is not None else open_workplace(end.parts.materials, end.place)


def _recipe(end: Trials, choice: Choice) -> Recipe:
    """The search's recipe with the numbers that the chosen trial was given."""
    numbers = {} if choice.record is None else choice.record.recipe
    return end.parts.materials.recipe.with_numbers(numbers)


def _tested(end: Trials, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Test scores, comparisons, and what a full finetuning costs."""
    objective, data = end.parts.objective, end.parts.materials.data
    labels = data.test.open("per-sample comparison").labels
    hits: dict[str, list[NDArray[np.bool_]] | None] = {}
    for verdict in verdicts:
        right = [objective.correct(logits, labels) for logits in verdict.logits]
        known = [hit for hit in right if hit is not None]
        hits[verdict.name] = known if len(known) == len(right) else None
    chosen = verdicts[0]
    test: dict[str, Any] = {}
    for verdict in verdicts:
        test[verdict.name] = {
            "mean": verdict.mean,
            "stderr": verdict.stderr,
            "seeds": len(verdict.scores),
            "scores": list(verdict.scores),
        }
        if objective.several:
            test[verdict.name]["values"] = _values(objective, verdict, labels)
        if verdict is not chosen:
            test[verdict.name]["against"] = compare(
                chosen.scores,
                verdict.scores,
                chosen_samples=hits[chosen.name],
                baseline_samples=hits[verdict.name],
                direction=objective.direction,
            ).to_json()
    tested: dict[str, Any] = {"test": test}
    full = next((v for v in verdicts if v.name == "full_finetune"), None)
    if full is not None:
        tested["cost_of_full_finetune"] = {
            "trainings": 1,
            "epochs": full.epochs,
            "flops": full.flops,
            "seconds": full.seconds,
        }
    return tested


def _values(objective: Objective, verdict: Verdict, labels: Tensor) -> dict[str, Any]:
    """The test scores of every value that is a metric: its mean over the seeds, and its error."""
    runs = [objective.measures(logits, labels) for logits in verdict.logits]
    return {
        name: {
            "mean": float(np.mean([run[name] for run in runs])),
            "stderr": standard_error([run[name] for run in runs]),
        }
        for name in runs[0]
    }


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


def draw_profile(parts: Components, history: History, folder: Path) -> list[Path]:
    """Writes the finetuning profile of what was scored as PNG and SVG, if there is enough to see.

    Returns: the files; none where fewer than half of the single units have a score.
    """
    units = [unit.name for unit in parts.space.units]
    sign = 1.0 if parts.objective.direction == "maximize" else -1.0
    scores = {
        subset: Scored(mean=sign * record.score, stderr=record.stderr)
        for subset, record in history.scores.items()
        if record.score is not None
    }
    runs = {sum(Subset(units[i : i + k]) in scores for i in range(len(units))) for k in (1, 2, 3)}
    if len(units) < 2 or max(runs) <= len(units) // 2:
        return []
    figure = profile_figure(
        units,
        scores,
        title=f"{parts.materials.backbone.name}, {len(parts.materials.data.final_train)} samples",
        metric=parts.objective.name,
        higher_is_better=parts.objective.direction == "maximize",
    )
    return [save_figure(figure, folder / f"profile.{kind}") for kind in ("png", "svg")]


def _first_failure(history: History) -> str:
    for record in history:
        if record.state is TrialState.FAILED:
            return f"trial {record.number} failed: {_reason(record)}"
    return ""


def _reason(record: TrialRecord) -> str:
    return str(record.attributes.get("reason", record.attributes.get("failure", "unknown")))
