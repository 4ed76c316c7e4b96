"""Learning curves: the score after every epoch, pruned trials marked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from layersearch.report.drawing import (
    BLACK,
    BLUE,
    GREEN,
    PALE,
    PURPLE,
    VERMILION,
    finite,
    legend_above,
    new_figure,
    short,
)
from layersearch.report.page.evidence import Evidence
from layersearch.report.page.section import Picture, Section, Table
from layersearch.report.page.trials import reason
from layersearch.report.wording import plural
from layersearch.space.records import TrialRecord, TrialState

MOST_CURVES = 150  # drawn; beyond it a sample, evenly over the study, with the best
MOST_PRUNED = 20  # in the table
_BEST = ((BLUE, "-", "o"), (GREEN, "--", "^"), (PURPLE, "-.", "D"))  # of the best trials


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Mean over the folds that reached each epoch."""

    record: TrialRecord
    epochs: tuple[float, ...]  # from 1
    scores: tuple[float, ...]  # in the study's own direction

    @property
    def pruned(self) -> bool:
        """Whether evidence stopped it."""
        return self.record.state is TrialState.PRUNED and not self.record.is_look


def curves_section(evidence: Evidence) -> Section | None:
    """None where no trial reported more than one epoch."""
    every = [r for r in evidence.history if is_reported(r, evidence)]
    if not any(len(curve.epochs) > 1 for curve in _curves(every, evidence)):
        return None
    drawn = list(_curves(selected(every, evidence), evidence))
    stopped = [r for r in every if r.state is TrialState.PRUNED and not r.is_look]
    number = plural(len(every), "trial")
    lead = [f"{number} with a learning curve, {len(stopped) or 'none'} of them pruned."]
    if len(drawn) < len(every):
        lead.append(f"Drawn are {len(drawn)}: the best ones, and others evenly over the study.")
    folds = evidence.folds or 1
    notes = []
    if folds > 1 and stopped:
        notes.append(
            f"A curve is the mean over its {folds} folds; of a pruned trial, over those that "
            "reached the epoch, so its cross stands where its last fold would have ended."
        )
    return Section(
        key="curves",
        title="Learning curves",
        lead=lead,
        pictures=[
            Picture(
                name="curves",
                caption=f"Validation {evidence.metric} after every epoch, the three best "
                "in colour" + ("; pruned trials dashed, ending in a cross." if stopped else "."),
                alt="Learning curves of the trials; where some were pruned is in the table below.",
                draw=lambda width: draw_curves(drawn, evidence, width),
            )
        ],
        tables=[_pruned(stopped, evidence)] if stopped else [],
        notes=notes,
    )


def is_reported(record: TrialRecord, evidence: Evidence) -> bool:
    """Whether a trial has a curve of its own: not one whose score was known already."""
    return "memo_of" not in record.attributes and any(
        finite(score) for score in evidence.trials[record.number].curve.values()
    )


def _curves(records: Sequence[TrialRecord], evidence: Evidence) -> Iterator[Curve]:
    return (curve_of(record, evidence) for record in records)


def curve_of(record: TrialRecord, evidence: Evidence) -> Curve:
    """The curve of a trial that reported something."""
    steps = evidence.trials[record.number].curve
    epochs = epochs_of(record, evidence)
    by_epoch: dict[int, list[float]] = {}
    for step, score in sorted(steps.items()):
        if finite(score):
            by_epoch.setdefault(step % epochs if epochs else step, []).append(score)
    return Curve(
        record=record,
        epochs=tuple(epoch + 1.0 for epoch in sorted(by_epoch)),
        scores=tuple(fmean(by_epoch[epoch]) for epoch in sorted(by_epoch)),
    )


def epochs_of(record: TrialRecord, evidence: Evidence) -> int | None:
    """Epochs of one fold of this trial; None where the study does not say."""
    recipe: Mapping[str, object] = evidence.made_with.get("recipe") or {}
    value = record.recipe.get("epochs", recipe.get("epochs"))
    return value if isinstance(value, int) and value > 0 else None


def selected(records: Sequence[TrialRecord], evidence: Evidence) -> list[TrialRecord]:
    """At most `MOST_CURVES`: the best, then others evenly over the study."""
    if len(records) <= MOST_CURVES:
        return list(records)
    best = {record.number for record in evidence.scored[: len(_BEST)]}
    kept = [record for record in records if record.number in best]
    others = [record for record in records if record.number not in best]
    places = np.linspace(0, len(others) - 1, MOST_CURVES - len(kept)).round().astype(int)
    return sorted(
        [*kept, *(others[place] for place in dict.fromkeys(places.tolist()))],
        key=lambda record: record.number,
    )


def draw_curves(curves: Sequence[Curve], evidence: Evidence, width: float) -> Figure:
    """Epochs across, score up."""
    figure, axes = new_figure(width, 4.2)
    factor = evidence.scale.factor
    best = [record.number for record in evidence.scored[: len(_BEST)]]
    named = set[str]()
    for curve in curves:
        if curve.record.number in best:
            continue
        label = "pruned" if curve.pruned else "others"
        axes.plot(
            curve.epochs,
            [score * factor for score in curve.scores],
            color=VERMILION if curve.pruned else PALE,
            linestyle=(0, (4, 2)) if curve.pruned else "-",
            linewidth=0.9,
            alpha=0.9 if curve.pruned else 0.7,
            marker="x" if curve.pruned else None,
            markevery=[-1] if curve.pruned else None,
            markersize=6,
            zorder=3 if curve.pruned else 2,
            label=None if label in named else label,
        )
        named.add(label)
    by_number = {curve.record.number: curve for curve in curves}
    for number, (colour, dashes, marker) in zip(best, _BEST, strict=False):
        curve_ = by_number.get(number)
        if curve_ is not None:
            name = str(curve_.record.subset) if curve_.record.subset else "head alone"
            axes.plot(
                curve_.epochs,
                [score * factor for score in curve_.scores],
                color=colour,
                linestyle=dashes,
                marker=marker,
                markersize=5,
                linewidth=1.8,
                zorder=5,
                label=short(name, 44 if width > 6 else 26),
            )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    unit = f" ({evidence.scale.unit})" if evidence.scale.unit else ""
    axes.set_ylabel(f"validation {evidence.metric}{unit}")
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.spines["left"].set_color(BLACK)
    legend_above(axes, columns=2 if width > 6 else 1)
    return figure


def _pruned(stopped: Sequence[TrialRecord], evidence: Evidence) -> Table:
    rows = [
        (
            str(curve.record.number),
            str(curve.record.subset),
            str(len(evidence.trials[curve.record.number].curve)),
            evidence.scale.value(curve.scores[-1]),
            reason(curve.record),
        )
        for curve in _curves(stopped[-MOST_PRUNED:], evidence)
    ]
    few = len(stopped) <= MOST_PRUNED
    return Table(
        caption="Pruned trials" if few else f"The last {MOST_PRUNED} of {len(stopped):,} pruned",
        head=("trial", "subset", "validations", "last score", "why"),
        rows=rows,
        text=frozenset({1, 4}),
        folded=len(rows) > 5,
    )
