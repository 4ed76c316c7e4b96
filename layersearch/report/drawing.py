"""What all figures share: settings, colours, names on axes, files.

Colours are Okabe and Ito's, told apart with any colour vision; marker, dash or hatch always differ
as well, so that a figure reads in black and white.
"""

import unicodedata
import warnings
from collections.abc import Sequence
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
from layersearch.space.files import unwritable, write_whole

BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, PURPLE = "#E69F00", "#CC79A7"
BLACK, GREY, PALE = "#000000", "#555555", "#aaaaaa"
FORMATS = ("png", "svg", "pdf")
LONGEST_NAME = 30  # characters of a name in a figure
# Text as text, and the same bytes for the same figure.
SETTINGS: Any = {
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


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure with one set of axes; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def legend_above(axes: Axes, *, columns: int) -> None:
    """Above the axes: within them it would hide points."""
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=columns,
        frameon=False,
        handlelength=3.2,
    )


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as PNG, SVG or PDF; the same bytes each time."""
    buffer = BytesIO()
    undated: Any = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with mpl.rc_context(SETTINGS), warnings.catch_warnings():
        # A name in a script that the font lacks shows as boxes in a PNG, and well in an SVG.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format=kind, dpi=150, metadata=undated)
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Writes the figure in one step, as PNG, SVG or PDF by the path's suffix.

    Raises: LayersearchError: if the suffix is another, or the file cannot be written.
    """
    kind = check_kind(path)
    try:
        return write_whole(path, figure_bytes(figure, kind))
    except OSError as error:
        raise LayersearchError(unwritable(path, error)) from error


def check_kind(path: str | Path) -> str:
    """What kind of figure a path's suffix says. Raises: LayersearchError: none of ours."""
    kind = Path(path).suffix.lstrip(".").lower()
    if kind not in FORMATS:
        raise LayersearchError(f"{path}: a figure ends in .{', .'.join(FORMATS)} (got {kind!r})")
    return kind


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """A name as a figure shows it: no control characters, and its middle left out if it is long."""
    tame = "".join(c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}"
                   for c in name)  # fmt: skip
    if len(tame) <= longest:
        return tame
    tail = longest // 2
    return f"{tame[: longest - tail - 1]}…{tame[-tail:]}"


def label_units(axes: Axes, units: Sequence[str], *, axis: str) -> None:
    """A tick a unit, names turned where they would overlap, and left out where even that would."""
    size = 9.5 if len(units) <= 30 else 7.0
    names = [short(name, name_room(axes)) for name in units]
    inches = axes.figure.bbox.width if axis == "x" else axes.figure.bbox.height
    space = (inches / axes.figure.dpi - 1.2) / len(units)  # inches a name
    every = max(1, int(np.ceil(size * 1.15 / 72 / max(space, 1e-6))))
    places = range(0, len(units), every)
    if axis == "y":
        axes.set_yticks(places, names[::every], fontsize=size)
        return
    axes.set_xticks(places, names[::every], fontsize=size)
    if max(map(len, names)) * size / 72 * 0.65 > space * every:
        for label in axes.get_xticklabels():
            label.set(rotation=55, ha="right", rotation_mode="anchor")


def name_room(axes: Axes) -> int:
    """Characters of a name that a figure of this width has room for."""
    return LONGEST_NAME if axes.figure.bbox.width / axes.figure.dpi > 6 else LONGEST_NAME // 2


def bars(points: Sequence[Scored], factor: float) -> list[float] | None:
    """Lengths of error bars, 0 where an error is not known; None where none is."""
    if not any(finite(point.stderr) for point in points):
        return None
    return [float(p.stderr or 0.0) * factor if finite(p.stderr) else 0.0 for p in points]


def finite(value: float | None) -> bool:
    """Whether it is a number that can be drawn."""
    return value is not None and bool(np.isfinite(value))
