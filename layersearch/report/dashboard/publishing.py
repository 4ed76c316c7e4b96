"""Puts notes and artifacts of a search where Optuna Dashboard finds them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from layersearch.report.dashboard.steps import rounds_of
from layersearch.report.dashboard.study_note import study_note
from layersearch.report.dashboard.trial_note import CURVE, trial_note
from layersearch.report.drawing import (
    BLUE,
    PALE,
    VERMILION,
    figure_bytes,
    finite,
    legend_above,
    new_figure,
)
from layersearch.report.page.curves import curve_of, epochs_of, is_reported
from layersearch.report.page.evidence import Evidence, read_evidence
from layersearch.report.page.writing import FIGURES, PAGE
from layersearch.space.records import TrialRecord, TrialState
from layersearch.space.subset import Subset
from layersearch.study.board import Board

# A note a trial would make a study of 10,000 trials too slow for the dashboard, which looks through
# all of them for each trial.
BEST, OTHERS = 30, 15  # trials with a note: of the best, of those pruned, failed, and in rounds
CURVES = 6  # trials with a figure of their own
SEARCH = "search.yaml"  # the description, JSON, which is YAML


def publish(
    study: optuna.Study, folder: str | Path, *, result: Mapping[str, Any] | None = None
) -> Board:
    """Writes the notes of a study and of its trials, and attaches its page and figures.

    What says the same already is not written again, and what people wrote into a note stays.

    Args:
        study: may be one whose search goes on.
        folder: of the study; its page and figures are taken from there, artifacts are kept there.
        result: of the search (see `results`), if it has ended.

    Raises:
        OSError: a file cannot be read or written.
        StudyError: the storage does not answer.
    """
    folder, evidence = Path(folder), read_evidence(study, result)
    board = Board(study, folder)
    files = _files(folder, evidence)
    addresses = {name: board.keep_artifact(name, content) for name, content in files.items()}
    rounds = rounds_of(evidence)
    trials = {t.number: t for t in study.get_trials(deepcopy=False) if t.state.is_finished()}
    noted = [r for r in chosen_trials(evidence, rounds) if r.number in trials]
    ranks = {record.number: rank for rank, record in enumerate(evidence.scored, start=1)}
    for place, record in enumerate(noted):
        trial, own = trials[record.number], dict(addresses)
        if place < CURVES and _is_curve(record, evidence):
            own[CURVE] = board.artifact(CURVE, trial) or board.keep_artifact(
                CURVE, figure_bytes(draw_curve(record, evidence), "png"), trial
            )
        text = trial_note(record, evidence, rounds=rounds, ranks=ranks, addresses=own)
        board.keep_note(text, trial)
    places = {record.number: board.address(record.number) for record in noted}
    board.keep_note(study_note(evidence, addresses, places))
    return board


def _files(folder: Path, evidence: Evidence) -> dict[str, bytes]:
    """The page, the figures and the description, as far as they are there."""
    found = {}
    if (folder / PAGE).is_file():
        found[PAGE] = (folder / PAGE).read_bytes()
    for path in sorted((folder / FIGURES).glob("*.png")):
        found[path.name] = path.read_bytes()
    if evidence.config:
        text = json.dumps(evidence.config, indent=2, ensure_ascii=False, default=str)
        found[SEARCH] = text.encode()
    return found


def chosen_trials(evidence: Evidence, rounds: Mapping[Subset, str]) -> list[TrialRecord]:
    """The trials that get a note: those people look for, the best first."""
    found: dict[int, TrialRecord] = {}

    def add(records: Iterable[TrialRecord]) -> None:
        for record in records:
            found.setdefault(record.number, record)

    best = evidence.scored
    add([r for r in best if r.subset == evidence.chosen])
    add(best[:BEST])
    add([r for r in best if r.subset is not None and r.subset in rounds][:OTHERS])
    add([r for r in best if r.subset in (Subset(), evidence.everything)])
    for state in (TrialState.FAILED, TrialState.PRUNED):
        add(evidence.of_state(state)[-OTHERS:])
    return list(found.values())


def _is_curve(record: TrialRecord, evidence: Evidence) -> bool:
    return is_reported(record, evidence) and len(curve_of(record, evidence).epochs) > 1


def draw_curve(record: TrialRecord, evidence: Evidence) -> Figure:
    """The learning curve of one trial: every fold, and their mean."""
    figure, axes = new_figure(6.4, 3.6)
    factor = evidence.scale.factor
    folds = fold_curves(record, evidence)
    for fold in folds if len(folds) > 1 else ():
        axes.plot(
            [epoch for epoch, _ in fold],
            [score * factor for _, score in fold],
            color=PALE,
            linewidth=1.0,
            label="single folds" if fold is folds[0] else None,
        )
    mean, pruned = curve_of(record, evidence), record.state is TrialState.PRUNED
    axes.plot(
        mean.epochs,
        [score * factor for score in mean.scores],
        color=VERMILION if pruned else BLUE,
        linestyle="--" if pruned else "-",
        marker="X" if pruned else "o",
        markevery=[-1] if pruned else None,
        markersize=8 if pruned else 4,
        linewidth=2.0,
        label=f"{'mean' if len(folds) > 1 else f'trial {record.number}'}"
        f"{', pruned' if pruned else ''}",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    unit = f" ({evidence.scale.unit})" if evidence.scale.unit else ""
    axes.set_ylabel(f"validation {evidence.metric}{unit}")
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    legend_above(axes, columns=2)
    return figure


def fold_curves(record: TrialRecord, evidence: Evidence) -> list[list[tuple[float, float]]]:
    """(epoch from 1, score) of each fold that reported."""
    each = epochs_of(record, evidence)
    folds: dict[int, list[tuple[float, float]]] = {}
    for step, score in sorted(evidence.trials[record.number].curve.items()):
        if finite(score):
            fold, epoch = divmod(step, each) if each else (0, step)
            folds.setdefault(fold, []).append((epoch + 1.0, score))
    return [folds[fold] for fold in sorted(folds)]
