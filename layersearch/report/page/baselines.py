"""The chosen subset against the linear probe, full finetuning and LP-FT, on the test split."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from layersearch.report.comparison import Comparison
from layersearch.report.drawing import (
    BLACK,
    BLUE,
    GREEN,
    PALE,
    PURPLE,
    VERMILION,
    finite,
    new_figure,
)
from layersearch.report.page.evidence import Evidence
from layersearch.report.page.section import Picture, Section, Table
from layersearch.report.summary import VERDICTS, comparison_notes
from layersearch.report.summary import compare_with_baselines as compared
from layersearch.report.wording import Scale
from layersearch.space import contender_name

_LOOKS = {  # name -> colour, marker
    "chosen": (BLUE, "*"),
    "linear_probe": (VERMILION, "s"),
    "full_finetune": (BLACK, "D"),
    "lp_ft": (GREEN, "^"),
    "runner_up": (PURPLE, "o"),
}


def baselines_section(evidence: Evidence) -> Section | None:
    """None before anything was tested."""
    test = (evidence.result or {}).get("test", {})
    if evidence.result is None or test.get("chosen", {}).get("mean") is None:
        return None
    comparisons = compared(evidence.result)
    failed = evidence.result.get("failed_baselines", {})
    name = f"test {evidence.metric}"
    head = ("", name, "runs", "chosen is better by", "95% interval", "verdict")
    rows: list[tuple[str, ...]] = [("chosen", *_score(test["chosen"], evidence.scale), "", "", "")]
    rows += [_row(key, test[key], c, evidence.scale) for key, c in comparisons.items()]
    rows += [(contender_name(key), "failed", "", "", "", str(why)) for key, why in failed.items()]
    picture = Picture(
        name="baselines",
        caption=f"Mean {name} of the retrainings, with its standard error; small dots are the "
        "single runs.",
        alt=f"{name} of the chosen subset and of the baselines, as in the table below.",
        draw=lambda width: draw_baselines(test, evidence.metric, width),
    )
    return Section(
        key="baselines",
        title="Against the baselines",
        pictures=[picture],
        tables=[
            Table(
                caption=f"{name[0].upper()}{name[1:]}, retrained on all training samples",
                head=head,
                rows=rows,
                text=frozenset({0, 5}),
                marked=frozenset({0}),
            )
        ],
        notes=comparison_notes(comparisons),
    )


def draw_baselines(test: Mapping[str, Any], metric: str, width: float) -> Figure:
    """One line a contender: every run, the mean and its error."""
    scale = Scale(metric)
    sides = [name for name in _LOOKS if test.get(name, {}).get("mean") is not None]
    figure, axes = new_figure(width, 0.9 + 0.42 * len(sides))
    for place, name in enumerate(reversed(sides)):
        side, (colour, marker) = test[name], _LOOKS[name]
        runs = [score * scale.factor for score in side.get("scores", ()) if finite(score)]
        axes.plot(runs, [place - 0.24] * len(runs), ".", color=PALE, markersize=5, zorder=2)
        error = side.get("stderr")
        axes.errorbar(
            [side["mean"] * scale.factor],
            [place],
            xerr=[error * scale.factor] if finite(error) else None,
            color=colour,
            marker=marker,
            markersize=12 if marker == "*" else 7,
            capsize=4,
            linewidth=1.8,
        )
    axes.set_yticks(range(len(sides)), [contender_name(name) for name in reversed(sides)])
    axes.set_ylim(-0.6, len(sides) - 0.5)
    axes.set_xlabel(f"test {metric}" + (f" ({scale.unit})" if scale.unit else ""))
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    return figure


def _row(name: str, side: Mapping[str, Any], found: Comparison, scale: Scale) -> tuple[str, ...]:
    error = "" if found.stderr is None else f" ± {scale.number(found.stderr)}"
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f"{scale.number(found.low, sign=True)} to {scale.number(found.high, sign=True)}"
    difference = scale.number(found.difference, sign=True) + error
    return (
        contender_name(name),
        *_score(side, scale),
        difference,
        interval,
        VERDICTS[found.verdict],
    )


def _score(side: Mapping[str, Any], scale: Scale) -> tuple[str, str]:
    return scale.value(side["mean"], side.get("stderr")), str(side.get("seeds", ""))
