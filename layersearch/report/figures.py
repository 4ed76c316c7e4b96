"""The finetuning profile as a figure: score against the place of what is tuned.

Kaplun et al. 2023, figures 2 to 4: single units along the depth, runs of two and three, all pairs
as a heat map. Lines differ by marker and dash as well as colour (Okabe and Ito's, told apart with
any colour vision), and the colours of the heat map grow in brightness: all of it reads in black and
white.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from layersearch.errors import LayersearchError
from layersearch.report.wording import Scale
from layersearch.space.files import write_whole
from layersearch.space.subset import Subset

_RUNS = {  # units in a run -> label, colour, marker, dashes
    1: ("one unit", "#0072B2", "o", "-"),
    2: ("two in a row", "#D55E00", "s", "--"),
    3: ("three in a row", "#009E73", "^", ":"),
}
_PROBE = ("linear probe", "#555555", (0, (7, 3)))
_FULL = ("full finetuning", "#000000", (0, (2, 2)))
_FORMATS = ("png", "svg", "pdf")
# Text as text, and the same bytes for the same figure.
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "layersearch",
    "font.size": 9.5,
    "text.parse_math": False,
}


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The score of one subset, in the metric's own unit."""

    mean: float
    stderr: float | None = None


def profile_figure(
    units: Sequence[str],
    scores: Mapping[Subset, Scored],
    *,
    title: str = "",
    metric: str = "accuracy",
    higher_is_better: bool = True,
) -> Figure:
    """The finetuning profile of whatever subsets have been scored.

    Args:
        units: all units by depth; the horizontal axis.
        scores: by subset: single units, runs, pairs, the empty subset (linear probe) and all units
            (full finetuning) are drawn; any others are left out.
        title: above the figure.
        metric: what the scores are; shares such as accuracy are drawn in per cent.
        higher_is_better: which pair is marked as the best.

    Raises: LayersearchError: if no single unit, run or pair has a score.
    """
    runs = {length: _runs(units, scores, length) for length in _RUNS}
    pairs = _pairs(units, scores)
    if not pairs and not any(runs.values()):
        raise LayersearchError("profile: no single unit, run or pair of units has been scored yet")
    width = min(14.0, max(6.4, 1.6 + 0.36 * len(units)))  # inches
    with mpl.rc_context(_SETTINGS):
        if _is_map(units, pairs):
            square = min(9.0, width - 1.0, max(2.6, 0.6 + 0.55 * len(units)))
            figure = Figure(figsize=(width, 4.4 + square + 1.0), layout="constrained")
            top, bottom = figure.subplots(2, 1, height_ratios=(4.4, square + 1.0))
            _draw_pairs(bottom, units, scores, pairs, Scale(metric), higher_is_better)
        else:
            figure = Figure(figsize=(width, 4.4), layout="constrained")
            top = figure.subplots()
        FigureCanvasAgg(figure)
        _draw_runs(top, units, runs, scores, Scale(metric), metric)
        if title:
            figure.suptitle(title, fontsize=12, fontweight="bold")
    return figure


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Writes the figure in one step, as PNG, SVG or PDF by the path's suffix.

    Raises: LayersearchError: if the suffix is another, or the file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lstrip(".").lower()
    if kind not in _FORMATS:
        raise LayersearchError(f"{path}: a figure ends in .{', .'.join(_FORMATS)} (got {kind!r})")
    buffer = BytesIO()
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with mpl.rc_context(_SETTINGS):
        figure.savefig(buffer, format=kind, dpi=150, metadata=undated)
    try:
        return write_whole(path, buffer.getvalue())
    except OSError as error:
        raise LayersearchError(f"{path}: cannot be written ({error.strerror or error})") from error


Point = tuple[float, Scored]  # place on the depth axis, score


def _runs(units: Sequence[str], scores: Mapping[Subset, Scored], length: int) -> list[Point]:
    """Runs of that many units in a row that have a score, each at its middle."""
    starts = range(len(units) - length + 1) if length < len(units) else range(0)
    found = ((start, scores.get(Subset(units[start : start + length]))) for start in starts)
    return [(start + (length - 1) / 2, score) for start, score in found if score is not None]


def _pairs(units: Sequence[str], scores: Mapping[Subset, Scored]) -> dict[tuple[int, int], Scored]:
    """Scores of pairs, by the places (earlier, later) of their units."""
    places = {name: place for place, name in enumerate(units)}
    found = {}
    for subset, score in scores.items():
        if len(subset) == 2 < len(units) and all(name in places for name in subset):
            first, second = sorted(places[name] for name in subset)
            found[first, second] = score
    return found


def _is_map(units: Sequence[str], pairs: Iterable[tuple[int, int]]) -> bool:
    """Whether there are pairs that are not neighbours: those are points of the profile already."""
    return len(units) > 2 and any(second - first > 1 for first, second in pairs)


def _draw_runs(
    axes: Axes,
    units: Sequence[str],
    runs: Mapping[int, Sequence[Point]],
    scores: Mapping[Subset, Scored],
    scale: Scale,
    metric: str,
) -> None:
    for subset, style in ((Subset(), _PROBE), (Subset(units), _FULL)):
        if subset in scores:
            _draw_reference(axes, scores[subset], style, scale)
    for length, (label, colour, marker, dashes) in _RUNS.items():
        points = runs[length]
        if not points:
            continue
        # Runs of three are centred on a unit too: moved aside, so that error bars do not meet.
        aside = 0.14 if length == 3 else 0.0
        axes.errorbar(
            [place + aside for place, _ in points],
            [score.mean * scale.factor for _, score in points],
            yerr=_bars([score for _, score in points], scale),
            label=label,
            color=colour,
            marker=marker,
            linestyle=dashes,
            markersize=5.5,
            linewidth=1.6,
            elinewidth=1.0,
            capsize=2.5,
            markeredgecolor="white",
            markeredgewidth=0.7,
            zorder=5 - length / 10,
        )
    _label_units(axes, units, axis="x")
    axes.set_xlim(-0.6, len(units) - 0.4)
    axes.set_xlabel("tuned unit, from input to output")
    axes.set_ylabel(f"validation {metric}" + (f" ({scale.unit})" if scale.unit else ""))
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    # Above the axes: within them it would hide points of one profile or another.
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=5 if axes.figure.bbox.width / axes.figure.dpi > 9 else 3,
        frameon=False,
        handlelength=3.2,
    )


def _draw_reference(axes: Axes, score: Scored, style: tuple[str, str, Any], scale: Scale) -> None:
    label, colour, dashes = style
    mean = score.mean * scale.factor
    axes.axhline(mean, label=label, color=colour, linestyle=dashes, linewidth=1.3, zorder=2)
    if _finite(score.stderr):
        error = float(score.stderr or 0.0) * scale.factor
        axes.axhspan(mean - error, mean + error, color=colour, alpha=0.08, linewidth=0, zorder=1)


def _draw_pairs(
    axes: Axes,
    units: Sequence[str],
    scores: Mapping[Subset, Scored],
    pairs: Mapping[tuple[int, int], Scored],
    scale: Scale,
    higher_is_better: bool,
) -> None:
    """The pairs below the diagonal, single units on it; the best cell framed."""
    count = len(units)
    grid = np.full((count, count), np.nan)
    for (first, second), score in pairs.items():
        grid[second, first] = score.mean * scale.factor
    for place, name in enumerate(units):
        if Subset([name]) in scores:
            grid[place, place] = scores[Subset([name])].mean * scale.factor
    image = axes.imshow(grid, cmap="cividis", interpolation="nearest")
    if count <= 18:
        _write_cells(axes, grid, scale)
    else:
        bar = axes.inset_axes((0.55, 0.93, 0.4, 0.02))  # the upper triangle is empty
        axes.figure.colorbar(image, cax=bar, orientation="horizontal", label=scale.unit)
    best = np.nanargmax(grid) if higher_is_better else np.nanargmin(grid)
    row, column = np.unravel_index(best, grid.shape)
    frame = mpl.patches.Rectangle(
        (float(column) - 0.5, float(row) - 0.5),
        1,
        1,
        fill=False,
        edgecolor="#D55E00",
        linewidth=2.5,
    )
    axes.add_patch(frame)
    unit = f" in {scale.unit}" if scale.unit else ""
    axes.set_title(
        f"pairs of units{unit}: single ones on the diagonal, the best framed", fontsize=10
    )
    _label_units(axes, units, axis="x")
    _label_units(axes, units, axis="y")
    axes.spines[:].set_visible(False)


def _write_cells(axes: Axes, grid: np.ndarray[Any, Any], scale: Scale) -> None:
    low, high = float(np.nanmin(grid)), float(np.nanmax(grid))
    for row, column in np.argwhere(np.isfinite(grid)):
        value = float(grid[row, column])
        dark = value < (low + high) / 2  # cividis is dark where values are low
        axes.text(
            column,
            row,
            f"{value:.1f}" if scale.share else f"{value:.3g}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if dark else "black",
        )


def _label_units(axes: Axes, units: Sequence[str], *, axis: str) -> None:
    """A tick a unit, names turned where they would overlap."""
    size = 9.5 if len(units) <= 30 else 7.0
    places = range(len(units))
    if axis == "y":
        axes.set_yticks(places, units, fontsize=size)
        return
    axes.set_xticks(places, units, fontsize=size)
    space = (axes.figure.bbox.width / axes.figure.dpi - 1.2) / len(units)  # inches a name
    if max(map(len, units)) * size / 72 * 0.65 > space:
        for label in axes.get_xticklabels():
            label.set(rotation=55, ha="right", rotation_mode="anchor")


def _bars(points: Sequence[Scored], scale: Scale) -> list[float] | None:
    if not any(_finite(point.stderr) for point in points):
        return None
    return [
        float(point.stderr or 0.0) * scale.factor if _finite(point.stderr) else 0.0
        for point in points
    ]


def _finite(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))
