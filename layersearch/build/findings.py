"""What the search itself found, before anything is retrained: values of the result, the profile."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from layersearch.build.choosing import Choice, describe_choice
from layersearch.build.components import Components
from layersearch.build.confidence import confidence
from layersearch.build.proposing import Proposing
from layersearch.execution import SearchRun
from layersearch.report import Scored, profile_figure, save_figure
from layersearch.report.wording import look_text
from layersearch.space import History, Subset, TrialRecord, TrialState

MOST_RUNS = 3  # units in a row that a profile draws


def known_so_far(
    parts: Components, proposing: Proposing, run: SearchRun, choice: Choice, *, seconds: float
) -> dict[str, Any]:
    """The fields of a result that need no test split; see `report.results`.

    Args:
        parts: of the search.
        proposing: what proposed its trials.
        run: how its trials ended.
        choice: what it came to.
        seconds: it took, over all its runs.
    """
    config, space, history = parts.config, parts.space, run.history
    chosen, record = choice.subset, choice.record
    sign = 1.0 if parts.objective.direction == "maximize" else -1.0
    scores, look = profile_scores(parts, history)
    return {
        "study": config.study_name,
        "strategy": proposing.name,
        "metric": {"name": parts.objective.name, "direction": parts.objective.direction},
        "subset": [] if chosen is None else list(chosen),
        "score": {
            "mean": None if record is None or record.score is None else sign * record.score,
            "stderr": None if record is None else record.stderr,
            "look_epochs": choice.look,
        },
        **describe_choice(parts.objective, choice, config.objective.choose),
        "confidence": confidence(parts, history, choice),
        "cost": _cost(history, seconds),
        "parameters": {
            "tuned": 0 if chosen is None else space.trainable_parameters(chosen),
            "total": sum(p.numel() for p in parts.materials.backbone.network.parameters()),
        },
        "trials": {
            state.value: sum(record.state is state for record in history) for state in TrialState
        },
        "ending": run.reason,
        "rounds": proposing.rounds(history, sign=sign),
        "profile": _profile(parts, scores, look),
        "config": config.resolved(),
    }


def draw_profile(parts: Components, history: History, folder: Path) -> list[Path]:
    """Writes the finetuning profile of what was scored as PNG and SVG, if there is enough to see.

    Returns: the files; none where fewer than half of the single units have a score.
    """
    units = [unit.name for unit in parts.space.units]
    sign = 1.0 if parts.objective.direction == "maximize" else -1.0
    records, look = profile_scores(parts, history)
    scores = {
        subset: Scored(mean=sign * record.score, stderr=record.stderr)
        for subset, record in records.items()
        if record.score is not None
    }
    if len(units) < 2 or _most_in_line(units, scores) <= len(units) // 2:
        return []
    by = "" if look is None else f", by {look_text(look)}"
    figure = profile_figure(
        units,
        scores,
        title=f"{parts.materials.backbone.name}, {len(parts.materials.data.final_train)} samples"
        + by,
        metric=parts.objective.name,
        higher_is_better=parts.objective.direction == "maximize",
    )
    return [save_figure(figure, folder / f"profile.{kind}") for kind in ("png", "svg")]


def profile_scores(
    parts: Components, history: History
) -> tuple[Mapping[Subset, TrialRecord], int | None]:
    """The scores that a profile shows, all of one schedule, and the epochs of it if it is a look.

    The whole schedule's, unless looks tell more of it: a race takes its finalists further only.
    """
    units = [unit.name for unit in parts.space.units]
    return max(
        ((history.by_schedule(look), look) for look in (None, *history.look_lengths)),
        key=lambda one: _most_in_line(units, one[0]),
    )


def _most_in_line(units: list[str], scores: Mapping[Subset, Any]) -> int:
    """How many runs of one length have a score, of the length that has the most."""
    return max(
        sum(Subset(units[start : start + length]) in scores for start in range(len(units)))
        for length in range(1, MOST_RUNS + 1)
    )


def _profile(
    parts: Components, scores: Mapping[Subset, TrialRecord], look: int | None
) -> list[dict[str, Any]]:
    """Every unit by itself, as far as it was scored, with the linear probe first."""
    singles = [Subset(), *(Subset([unit.name]) for unit in parts.space.units)]
    sign = 1.0 if parts.objective.direction == "maximize" else -1.0
    return [
        {
            "subset": list(subset),
            "mean": sign * (record.score or 0.0),
            "stderr": record.stderr,
            "trainable_parameters": parts.space.trainable_parameters(subset),
            "look_epochs": look,
        }
        for subset in singles
        if (record := scores.get(subset)) is not None
    ]


def _cost(history: History, seconds: float) -> dict[str, float]:
    """Over all trials, pruned and failed ones included."""
    spent: dict[str, float] = {"trainings": 0, "epochs": 0, "flops": 0.0}
    for record in history:
        for name in spent:
            value = record.attributes.get(name, 0)
            spent[name] += value if isinstance(value, int | float) else 0
    return {**spent, "seconds": seconds}
