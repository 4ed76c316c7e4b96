"""Score against what a subset costs, and objectives against each other, with the Pareto front.

The front: the subsets that no other beats on both axes at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isfinite, log10

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from layersearch.objectives.front import pareto_front as front_of
from layersearch.report.drawing import BLACK, BLUE, GREY, ORANGE, VERMILION, new_figure
from layersearch.report.page.evidence import Evidence
from layersearch.report.page.section import Picture, Section, Table
from layersearch.report.wording import Scale, count
from layersearch.space.records import TrialRecord, TrialState
from layersearch.space.subset import Subset

LISTED = 15  # subsets of the front, in the table
VECTOR_POINTS = 1_500  # beyond it points are drawn as one image within the figure
_LATENCY = "latency"  # part of the name of a cost of serving
_LATENCIES = {"latency_ms": "added latency (ms)"}


@dataclass(frozen=True, kw_only=True)
class Point:
    """A subset; both values in the study's own directions."""

    record: TrialRecord
    x: float
    y: float


def tradeoff_sections(evidence: Evidence) -> list[Section]:
    """Against tuned parameters, against latency where trials have it, between objectives."""
    sections = []
    if len(evidence.metrics) > 1:
        sections += _between_objectives(evidence)
    evidence = evidence.searched
    if len(evidence.scored) < 2:
        return sections
    sizes = [_point(r, float(evidence.size(r)), evidence) for r in evidence.scored]
    if len({point.x for point in sizes}) > 1:
        sections.append(_against(evidence, sizes, key="parameters", what="tuned parameters"))
    for name in _latencies(evidence.scored):
        points = [
            _point(r, float(r.attributes[name]), evidence)
            for r in evidence.scored
            if _number(r.attributes.get(name))
        ]
        if len(points) > 1:
            what = _LATENCIES.get(name, name.replace("_", " ").replace(" ms", " (ms)"))
            sections.append(_against(evidence, points, key=name, what=what))
    return sections


def pareto_front(points: Sequence[Point], *, lower_x: bool, lower_y: bool) -> list[Point]:
    """The points that no other beats on both axes, from the best x on."""
    sx, sy = (1.0 if lower_x else -1.0), (1.0 if lower_y else -1.0)
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (sx * p.x, sy * p.y, p.record.number)):
        if not front or sy * point.y < sy * front[-1].y:
            front.append(point)
    return front


def _latencies(records: Sequence[TrialRecord]) -> list[str]:
    names = dict.fromkeys(
        name for r in records for name in r.attributes if _LATENCY in name.lower()
    )
    return [name for name in names if any(_number(r.attributes.get(name)) for r in records)][:2]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _point(record: TrialRecord, x: float, evidence: Evidence) -> Point:
    return Point(record=record, x=x, y=evidence.sign * float(record.score or 0.0))


def _against(evidence: Evidence, points: Sequence[Point], *, key: str, what: str) -> Section:
    front = pareto_front(points, lower_x=True, lower_y=evidence.sign < 0)
    rows = [
        (
            str(p.record.subset),
            count(p.x) if key == "parameters" else f"{p.x:.3g}",
            evidence.scale.value(p.y, p.record.stderr),
        )
        for p in front[-LISTED:]
    ]
    shown = "" if len(front) <= LISTED else f" (the {LISTED} of most {what})"
    slug = "".join(c if c.isalnum() else "-" for c in key.lower())[:40]
    return Section(
        key=f"against-{slug}",
        title=f"{evidence.metric[0].upper()}{evidence.metric[1:]} against {what}",
        lead=[
            (
                f"{len(front)} of {len(points)} scored subsets are on the Pareto front of {what}"
                f"{evidence.how}."
            )
        ],
        pictures=[
            Picture(
                name=f"{evidence.metric}_against_{slug}".replace(" ", "_").replace("/", "_")
                if evidence.metric.isidentifier()
                else f"score_against_{slug}",
                caption="A point a scored subset; squares and the stepped line: the Pareto front; "
                "star: the chosen subset; crosses: linear probe and full finetuning.",
                alt=f"Score against {what}; the front is in the table below.",
                draw=lambda width: draw_front(evidence, points, front, what, width),
            )
        ],
        tables=[
            Table(
                caption=f"The Pareto front{shown}",
                head=("subset", what, f"validation {evidence.metric}"),
                rows=rows,
                marked=frozenset(
                    i for i, p in enumerate(front[-LISTED:]) if p.record.subset == evidence.chosen
                ),
                folded=len(rows) > 8,
            )
        ],
    )


def draw_front(
    evidence: Evidence,
    points: Sequence[Point],
    front: Sequence[Point],
    what: str,
    width: float,
) -> Figure:
    """Cost across, score up."""
    figure, axes = new_figure(width, 4.2)
    factor = evidence.scale.factor
    _scatter(axes, points, 1.0, factor)
    axes.plot(
        [p.x for p in front],
        [p.y * factor for p in front],
        drawstyle="steps-post",
        color=BLUE,
        linewidth=1.4,
        marker="s",
        markersize=5,
        zorder=3,
        label="Pareto front",
    )
    by_subset = {p.record.subset: p for p in points}
    chosen = _chosen_word(evidence)
    marks = (
        (Subset(), "linear probe", "P", VERMILION),
        (evidence.everything, "full finetuning", "X", BLACK),
        (evidence.chosen, chosen, "*", ORANGE),
    )
    for subset, label, marker, colour in marks:
        found = by_subset.get(subset)
        if found is not None:
            axes.plot(
                [found.x],
                [found.y * factor],
                linestyle="none",
                marker=marker,
                color=colour,
                markersize=15 if marker == "*" else 9,
                markeredgecolor="black",
                markeredgewidth=0.7,
                zorder=5,
                label=label,
            )
    _set_log(axes, [p.x for p in points])
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: count(x) if x >= 1 or x == 0 else f"{x:.2g}")
    )
    axes.set_xlabel(what)
    unit = f" ({evidence.scale.unit})" if evidence.scale.unit else ""
    axes.set_ylabel(f"validation {evidence.metric}{unit}")
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4 if width > 6 else 2, frameon=False
    )
    return figure


def _set_log(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis, with a place for 0, where the values span much."""
    positive = [value for value in values if value > 0]
    if not positive or max(positive) / min(positive) <= 20:
        return
    low, high = min(positive), max(positive)
    axes.set_xscale("symlog", linthresh=low, linscale=0.3)
    decades = [10.0**power for power in range(ceil(log10(low * 1.2)), ceil(log10(high * 1.01)))]
    axes.set_xticks([0.0, *decades] if min(values) <= 0 else decades)


def _scatter(axes: Axes, points: Sequence[Point], fx: float, fy: float) -> None:
    many = len(points) > VECTOR_POINTS
    axes.plot(
        [p.x * fx for p in points],
        [p.y * fy for p in points],
        "o",
        markersize=3 if many else 4,
        markerfacecolor="none",
        markeredgecolor=GREY,
        markeredgewidth=0.7,
        alpha=0.7,
        rasterized=many,
        zorder=2,
    )


def _between_objectives(evidence: Evidence) -> list[Section]:
    points = _objective_points(evidence)
    if not points:
        return []
    front = _front_of_all(points, evidence)
    more = (
        []
        if len(evidence.metrics) == 2
        else [
            (
                f"The first two of its {len(evidence.metrics)} objectives are drawn; a subset on "
                "the front may be beaten in both, and be better in another."
            )
        ]
    )
    first, second = evidence.metrics[:2]
    rows = [
        (
            str(p.record.subset),
            *(
                Scale(name).value(value)
                for name, value in zip(
                    evidence.metrics, evidence.trials[p.record.number].values, strict=True
                )
            ),
        )
        for p in front[:LISTED]
    ]
    goals = [
        f"{name} ({'lower' if d == 'minimize' else 'higher'} is better)"
        for name, d in zip(evidence.metrics, evidence.directions, strict=True)
    ]
    return [
        Section(
            key="objectives",
            title="The objectives against each other",
            lead=[
                (
                    f"Objectives: {', '.join(goals)}. {len(front)} of {len(points)} subsets are on "
                    "the Pareto front."
                ),
                *more,
            ],
            pictures=[
                Picture(
                    name="objectives",
                    caption="A point a trial; squares: the Pareto front; star: the "
                    f"{_chosen_word(evidence)} subset.",
                    alt=f"{first} against {second}; the front is in the table below.",
                    draw=lambda width: draw_objectives(evidence, points, front, width),
                )
            ],
            tables=[
                Table(
                    caption="The Pareto front",
                    head=("subset", *evidence.metrics),
                    rows=rows,
                    marked=frozenset(
                        i
                        for i, p in enumerate(front[:LISTED])
                        if p.record.subset == evidence.chosen
                    ),
                    folded=len(rows) > 12,
                )
            ],
        )
    ]


def _chosen_word(evidence: Evidence) -> str:
    return "best so far" if evidence.result is None else "chosen"


def _front_of_all(points: Sequence[Point], evidence: Evidence) -> list[Point]:
    """The points that no other beats in all objectives, the best first objective first."""
    signs = [1.0 if d == "maximize" else -1.0 for d in evidence.directions]
    oriented = [
        [s * v for s, v in zip(signs, evidence.trials[p.record.number].values, strict=True)]
        for p in points
    ]
    found: dict[Subset | None, Point] = {}
    for place in front_of(oriented):
        found.setdefault(points[place].record.subset, points[place])
    return list(found.values())


def _objective_points(evidence: Evidence) -> list[Point]:
    found = []
    for record in evidence.of_state(TrialState.COMPLETE):
        values = evidence.trials[record.number].values
        if len(values) > 1 and all(map(isfinite, values)):
            found.append(Point(record=record, x=values[1], y=values[0]))
    return found


def draw_objectives(
    evidence: Evidence, points: Sequence[Point], front: Sequence[Point], width: float
) -> Figure:
    """The second objective across, the first up."""
    figure, axes = new_figure(width, 4.2)
    across, up = Scale(evidence.metrics[1]), Scale(evidence.metrics[0])
    _scatter(axes, points, across.factor, up.factor)
    line = np.array([(p.x * across.factor, p.y * up.factor) for p in front])
    axes.plot(
        line[:, 0],
        line[:, 1],
        color=BLUE,
        marker="s",
        markersize=5,
        # With more than two objectives the front is no line in this plane.
        linestyle="-" if len(evidence.metrics) == 2 else "none",
        linewidth=1.4,
        label="Pareto front",
        zorder=3,
    )
    for point in (p for p in front if p.record.subset == evidence.chosen):
        axes.plot(
            [point.x * across.factor],
            [point.y * up.factor],
            linestyle="none",
            marker="*",
            color=ORANGE,
            markersize=15,
            markeredgecolor="black",
            markeredgewidth=0.7,
            zorder=5,
            label=_chosen_word(evidence),
        )
    axes.xaxis.set_major_formatter(FuncFormatter(_short_number))
    axes.set_xlabel(evidence.metrics[1] + (f" ({across.unit})" if across.unit else ""))
    axes.set_ylabel(evidence.metrics[0] + (f" ({up.unit})" if up.unit else ""))
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return figure


def _short_number(value: float, _: object = None) -> str:
    return count(value) if abs(value) >= 1_000 else f"{value:.6g}"
