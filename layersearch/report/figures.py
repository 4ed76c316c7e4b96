"""The finetuning profile as a figure: score against the place of what is tuned.

Kaplun et al. 2023, figures 2 to 4: single units along the depth, runs of two and three, all pairs
as a heat map. Lines differ by marker and dash as well as colour (Okabe and Ito's, told apart with
any colour vision), and the colours of the heat map grow in brightness: all of it reads in black and
white.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from layersearch.errors import LayersearchError
from layersearch.report.drawing import (
    SETTINGS,
    Scored,
    bars,
    finite,
    label_units,
    legend_above,
)
from layersearch.report.wording import Scale
from layersearch.space.subset import Subset

_RUNS = {  # units in a run -> label, colour, marker, dashes
    1: ("one unit", "#0072B2", "o", "-"),
    2: ("two in a row", "#D55E00", "s", "--"),
    3: ("three in a row", "#009E73", "^", ":"),
}
_PROBE = ("linear probe", "#555555", (0, (7, 3)))
_FULL = ("full finetuning", "#000000", (0, (2, 2)))
LEGIBLE_CELL = 0.26  # inches; cells of a heat map that are smaller hold no numbers


def profile_figure(
    units: Sequence[str],
    scores: Mapping[Subset, Scored],
    *,
    title: str = "",
    metric: str = "accuracy",
    higher_is_better: bool = True,
    with_pairs: bool = True,
    width: float | None = None,
) -> Figure:
    """The finetuning profile of whatever subsets have been scored.

    Args:
        units: all units by depth; the horizontal axis.
        scores: by subset: single units, runs, pairs, the empty subset (linear probe) and all units
            (full finetuning) are drawn; any others are left out.
        title: above the figure.
        metric: what the scores are; shares such as accuracy are drawn in per cent.
        higher_is_better: which pair is marked as the best.
        with_pairs: whether the heat map of pairs comes below.
        width: in inches; None: by the number of units.

    Raises: LayersearchError: if no single unit, run or pair has a score.
    """
    runs = {length: _runs(units, scores, length) for length in _RUNS}
    pairs = find_pairs(units, scores)
    if not pairs and not any(runs.values()):
        raise LayersearchError("profile: no single unit, run or pair of units has been scored yet")
    width = width or min(14.0, max(6.4, 1.6 + 0.36 * len(units)))  # inches
    with mpl.rc_context(SETTINGS):
        if with_pairs and is_map(units, pairs):
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


def pairs_figure(
    units: Sequence[str],
    scores: Mapping[Subset, Scored],
    *,
    metric: str = "accuracy",
    higher_is_better: bool = True,
    width: float = 6.4,
) -> Figure:
    """The heat map of pairs alone; arguments as those of `profile_figure`.

    Raises: LayersearchError: if no two units that are not neighbours have a score as a pair.
    """
    pairs = find_pairs(units, scores)
    if not is_map(units, pairs):
        raise LayersearchError("profile: no pairs of units have been scored yet")
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(width, width), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        _draw_pairs(axes, units, scores, pairs, Scale(metric), higher_is_better)
        axes.set_title("")  # the caption says it
    return figure


Point = tuple[float, Scored]  # place on the depth axis, score


def _runs(units: Sequence[str], scores: Mapping[Subset, Scored], length: int) -> list[Point]:
    """Runs of that many units in a row that have a score, each at its middle."""
    starts = range(len(units) - length + 1) if length < len(units) else range(0)
    found = ((start, scores.get(Subset(units[start : start + length]))) for start in starts)
    return [(start + (length - 1) / 2, score) for start, score in found if score is not None]


def find_pairs(
    units: Sequence[str], scores: Mapping[Subset, Scored]
) -> dict[tuple[int, int], Scored]:
    """Scores of pairs, by the places (earlier, later) of their units."""
    places = {name: place for place, name in enumerate(units)}
    found = {}
    for subset, score in scores.items():
        if len(subset) == 2 < len(units) and all(name in places for name in subset):
            first, second = sorted(places[name] for name in subset)
            found[first, second] = score
    return found


def is_map(units: Sequence[str], pairs: Iterable[tuple[int, int]]) -> bool:
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
    low, high = _span(runs)
    for subset, style in ((Subset(), _PROBE), (Subset(units), _FULL)):
        score = scores.get(subset)
        if score is not None and low <= score.mean <= high:
            _draw_reference(axes, score, style, scale)
        elif score is not None:
            # Far off, it would press all the others together: it is said, not drawn.
            off = f"{style[0]}: {scale.value(score.mean, score.stderr)}, off the scale"
            axes.plot([], [], " ", label=off)
    for length, (label, colour, marker, dashes) in _RUNS.items():
        points = runs[length]
        if not points:
            continue
        # Runs of three are centred on a unit too: moved aside, so that error bars do not meet.
        aside = 0.14 if length == 3 else 0.0
        axes.errorbar(
            [place + aside for place, _ in points],
            [score.mean * scale.factor for _, score in points],
            yerr=bars([score for _, score in points], scale.factor),
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
    label_units(axes, units, axis="x")
    axes.set_xlim(-0.6, len(units) - 0.4)
    axes.set_xlabel("tuned unit, from input to output")
    axes.set_ylabel(f"validation {metric}" + (f" ({scale.unit})" if scale.unit else ""))
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    wide = axes.figure.bbox.width / axes.figure.dpi
    legend_above(axes, columns=5 if wide > 9 else 3 if wide > 5 else 2)


def _span(runs: Mapping[int, Sequence[Point]]) -> tuple[float, float]:
    """Scores that are near enough to those of units to be drawn."""
    known = [score.mean for points in runs.values() for _, score in points]
    near = [score for score in known if np.isfinite(score)]
    if len(near) < 2:
        return -np.inf, np.inf
    errors = [float(s.stderr or 0.0) for points in runs.values() for _, s in points]
    spread = max(max(near) - min(near), *(error for error in errors if np.isfinite(error)))
    return min(near) - 4 * spread, max(near) + 4 * spread


def _draw_reference(axes: Axes, score: Scored, style: tuple[str, str, Any], scale: Scale) -> None:
    label, colour, dashes = style
    mean = score.mean * scale.factor
    axes.axhline(mean, label=label, color=colour, linestyle=dashes, linewidth=1.3, zorder=2)
    if finite(score.stderr):
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
    figure = axes.figure
    if (figure.bbox.width / figure.dpi - 1.2) / count >= LEGIBLE_CELL and count <= 18:
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
    label_units(axes, units, axis="x")
    label_units(axes, units, axis="y")
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
