"""Which units good subsets share: how often each is tuned among the best, and among all."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from matplotlib.figure import Figure

from layersearch.report.drawing import BLUE, PALE, name_room, new_figure, short
from layersearch.report.page.evidence import Evidence
from layersearch.report.page.section import Picture, Section, Table
from layersearch.report.wording import count
from layersearch.space.unit import Unit

FEWEST = 6  # scored subsets of several units, from which shares say anything
BEST_PART = 0.2  # of the scored subsets count as the best, and no fewer than 3


@dataclass(frozen=True, kw_only=True)
class Use:
    """How a unit fares."""

    unit: Unit
    best: float  # share of the best subsets that tune it
    every: float  # share of all scored subsets
    effect: float | None  # mean score with it less without it; None: always on, or never
    stderr: float | None


def importance_section(evidence: Evidence) -> Section | None:
    """None with too few scored subsets to say anything."""
    evidence = evidence.searched
    scored = evidence.scored
    several = sum(len(record.subset or ()) > 1 for record in scored)
    if several < FEWEST or not evidence.units:
        return None
    uses = unit_uses(evidence)
    best = best_count(len(scored))
    ahead = sorted(uses, key=lambda use: -(use.best - use.every))
    top = [use.unit.name for use in ahead if use.best - use.every > 0.1][:3]
    lead = [f"The best {best} of {len(scored)} scored subsets{evidence.how}, unit by unit."]
    if top:
        lead.append(f"More often among them than among all: {', '.join(top)}.")
    rows = [_row(use, evidence) for use in uses]
    return Section(
        key="importance",
        title="Which units good subsets share",
        lead=lead,
        pictures=[
            Picture(
                name="importance",
                caption=f"Share of subsets that tune the unit: among the best {best} (dark), and "
                f"among all {len(scored)} that were scored (light, hatched).",
                alt="Two bars a unit; the numbers are in the table below.",
                draw=lambda width: draw_uses(uses, width),
            )
        ],
        tables=[
            Table(
                caption="Unit by unit, from input to output",
                head=(
                    "unit",
                    "parameters",
                    f"among the best {best}",
                    "among all",
                    "with − without",
                ),
                rows=rows,
                folded=len(rows) > 12,
            )
        ],
        notes=[_NOTE],
    )


_NOTE = (
    "with − without: the mean score of the subsets that tune the unit less that of the others, "
    "with its standard error. No search tries subsets evenly (greedy builds on what it chose), so "
    "this describes what was tried; it is no cause and effect."
)


def best_count(scored: int) -> int:
    """How many subsets count as the best."""
    return min(scored, max(3, ceil(BEST_PART * scored)))


def unit_uses(evidence: Evidence) -> list[Use]:
    """Every unit, by depth."""
    scored = evidence.scored
    subsets = [frozenset(r.subset or ()) for r in scored]
    tuned = {
        unit.name: np.array([unit.name in subset for subset in subsets]) for unit in evidence.units
    }
    scores = np.array([float(r.score or 0.0) for r in scored])
    best = best_count(len(scored))
    return [_use(unit, tuned[unit.name], scores, best) for unit in evidence.units]


def _use(unit: Unit, tuned: np.ndarray, scores: np.ndarray, best: int) -> Use:
    """tuned, scores: (N,), the best first."""
    effect = stderr = None
    if tuned.any() and not tuned.all():
        on, off = scores[tuned], scores[~tuned]
        effect = float(on.mean() - off.mean())
        if len(on) > 1 and len(off) > 1:
            stderr = sqrt(on.var(ddof=1) / len(on) + off.var(ddof=1) / len(off))
    return Use(
        unit=unit,
        best=float(tuned[:best].mean()),
        every=float(tuned.mean()),
        effect=effect,
        stderr=stderr,
    )


def _row(use: Use, evidence: Evidence) -> tuple[str, ...]:
    effect = ""
    if use.effect is not None:
        effect = evidence.scale.number(evidence.sign * use.effect, sign=True)
        if use.stderr is not None:
            effect += f" ± {evidence.scale.number(use.stderr)}"
    return (
        use.unit.name,
        count(use.unit.numel),
        f"{100 * use.best:.0f}%",
        f"{100 * use.every:.0f}%",
        effect,
    )


def draw_uses(uses: Sequence[Use], width: float) -> Figure:
    """Bars from left to right; the unit nearest the input on top."""
    figure, axes = new_figure(
        width, min(16.0, 1.2 + (0.36 if len(uses) <= 20 else 0.26) * len(uses))
    )
    places = np.arange(len(uses))[::-1]
    axes.barh(
        places + 0.18,
        [100 * use.best for use in uses],
        height=0.36,
        color=BLUE,
        label="among the best",
        edgecolor="black",
        linewidth=0.5,
    )
    axes.barh(
        places - 0.18,
        [100 * use.every for use in uses],
        height=0.36,
        color="#e6e6e6",
        label="among all",
        hatch="////",
        edgecolor=PALE,
        linewidth=0.5,
    )
    size = 9.5 if len(uses) <= 40 else 7
    axes.set_yticks(places, [short(use.unit.name, name_room(axes)) for use in uses], fontsize=size)
    axes.set_ylim(-0.6, len(uses) - 0.4)
    axes.set_xlim(0, 100)
    axes.set_xlabel("subsets that tune it (%)")
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return figure
