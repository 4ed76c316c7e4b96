"""Added serving latency along the depth: what a task costs by where it begins to tune."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from layersearch.objectives.latency import LatencyTable
from layersearch.report.drawing import (
    BLACK,
    BLUE,
    SETTINGS,
    VERMILION,
    label_units,
    legend_above,
    new_figure,
)


def latency_figure(table: LatencyTable, units: Sequence[str], *, title: str = "") -> Figure:
    """The table of latencies as a figure.

    Args:
        table: of the backbone.
        units: by depth; the horizontal axis.
        title: above the figure.
    """
    alone = [table.predict([unit]) for unit in units]
    onwards = [table.predict(units[place:]) for place in range(len(units))]
    with mpl.rc_context(SETTINGS):
        figure, axes = new_figure(min(14.0, max(6.4, 1.6 + 0.36 * len(units))), 4.2)
        places = range(len(units))
        axes.plot(places, alone, color=BLUE, marker="o", label="this unit is tuned")
        axes.plot(places, onwards, color=VERMILION, marker="s", ls="--", label="and all after it")
        axes.axhline(
            table.original.median, color=BLACK, ls=(0, (2, 2)), lw=1, label="a second whole network"
        )
        held = [(_first(held.subset, units), held.measured) for held in table.held_out]
        if held:
            axes.plot(
                [place for place, _ in held],
                [measured for _, measured in held],
                color=BLACK,
                marker="x",
                ls="",
                label="timed whole, by the first unit",
            )
        axes.set_xlim(-0.5, len(units) - 0.5)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("added latency (ms a batch)")
        label_units(axes, units, axis="x")
        legend_above(axes, columns=2)
        if title:
            figure.suptitle(title)
    return figure


def _first(subset: Sequence[str], units: Sequence[str]) -> int:
    return min(units.index(name) for name in subset)
