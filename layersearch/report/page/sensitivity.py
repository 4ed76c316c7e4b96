"""How the choice depends on greedy's ε and stop rule, as a figure and tables; see `variation`."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layersearch.report.drawing import PALE, new_figure
from layersearch.report.page.evidence import Evidence
from layersearch.report.page.replay import greedy_options, ledger_of
from layersearch.report.page.section import Picture, Section, Table
from layersearch.report.page.variation import Interval, Variant, replay, variants
from layersearch.report.wording import look_text, plural

MOST_INTERVALS = 12  # a rule, in the table


def sensitivity_section(evidence: Evidence) -> Section | None:
    """None where the recorded trials do not even hold greedy's first round."""
    evidence = evidence.searched
    if not evidence.scored or len(evidence.metrics) > 1:  # greedy needs one order
        return None
    own = greedy_options(evidence)
    direction = (own or {}).get("direction", "forward")
    ways = ["forward", "backward"] if direction == "both" else [direction]
    ledger = ledger_of(evidence)
    found: list[tuple[str, Variant, list[Interval]]] = []
    for way in ways:
        for variant in variants(own or {}):
            intervals = replay(evidence, ledger, variant, way, own or {})
            if intervals:
                found.append((way, variant, intervals))
    if not found:
        return None
    lead = [
        "What greedy would have chosen from the same trials by other rules; nothing was trained."
    ]
    if evidence.look is not None:
        lead.append(f"It is replayed on {look_text(evidence.look)}.")
    if own is None and not evidence.config:
        lead.append("The study does not say by which strategy it was searched.")
    elif own is None:
        lead.append("Another strategy searched this study; greedy is only replayed on its trials.")
    else:
        lead.append(_own_rule(own, evidence))
    drawn = [(v, many) for way, v, many in found if way == ways[0] and v.varied == "min_gain"]
    return Section(
        key="sensitivity",
        title="How sensitive the choice is to ε",
        lead=lead,
        pictures=[_picture(drawn, evidence)] if drawn else [],
        tables=[
            _table(f"{v.words}, {way}" if len(ways) > 1 else v.words, v, many, evidence)
            for way, v, many in found
        ],
        notes=_NOTES,
    )


_NOTES = (
    "‘At least’: the rule would have gone on to a round whose trials were never run.",
    (
        "Paired: a round's gain must exceed both ε and z standard errors. The paper's rule: its "
        "score must exceed the best so far by more than ε. The paper's code: it builds on every "
        "round's best, and stops when one falls more than ε below the best seen."
    ),
)


def _picture(drawn: Sequence[tuple[Variant, list[Interval]]], evidence: Evidence) -> Picture:
    return Picture(
        name="sensitivity",
        caption="How many units each rule chooses, by ε; hatched and with a question mark where "
        "trials that were never run would be needed to know.",
        alt="Intervals of ε and what each rule chooses, as in the tables below.",
        draw=lambda width: draw_intervals(drawn, evidence, width),
    )


def _own_rule(own: Mapping[str, Any], evidence: Evidence) -> str:
    stop = own.get("stop", "paired")
    gain = own.get("min_gain")
    epsilon = (0.01 if stop == "official" else 0.0) if gain is None else float(gain)
    z = f", z = {own.get('z', 1.0):g}" if stop == "paired" else ""
    return f"The search itself used the rule ‘{stop}’, ε = {_value(epsilon, evidence)}{z}."


def _value(epsilon: float, evidence: Evidence) -> str:
    scaled = epsilon * evidence.scale.factor
    return f"{scaled:.3g}{evidence.scale.points}"


def _table(
    words: str, variant: Variant, intervals: Sequence[Interval], evidence: Evidence
) -> Table:
    symbol = "z" if variant.varied == "z" else "ε"
    rows = [
        (_span(one, variant, evidence), _chosen(one), _score(one, evidence))
        for one in intervals[:MOST_INTERVALS]
    ]
    return Table(
        caption=f"{words[0].upper()}{words[1:]}, by {symbol}",
        head=(symbol, "chosen", f"validation {evidence.metric}"),
        rows=rows,
        text=frozenset({0, 1}),
    )


def _span(one: Interval, variant: Variant, evidence: Evidence) -> str:
    low, high = (
        f"{end:.2f}" if variant.varied == "z" else f"{end * evidence.scale.factor:.3g}"
        for end in (one.low, one.high)
    )
    points = "" if variant.varied == "z" else evidence.scale.points
    if one.high == inf:
        return "any" if one.low == 0.0 else f"from {low}{points}"
    return f"below {high}{points}" if one.low == 0.0 else f"{low} to {high}{points}"


def _chosen(one: Interval) -> str:
    if one.chosen is None:
        return f"not known: {plural(one.missing, 'trial')} missing" if one.missing else "nothing"
    name = str(one.chosen) if one.chosen else "{}: the head alone"
    if one.missing:
        return f"at least {name}; the next round lacks {plural(one.missing, 'trial')}"
    return name


def _score(one: Interval, evidence: Evidence) -> str:
    scored = None if one.chosen is None else evidence.scores.get(one.chosen)
    return "" if scored is None else evidence.scale.value(scored.mean, scored.stderr)


def draw_intervals(
    found: Sequence[tuple[Variant, list[Interval]]], evidence: Evidence, width: float
) -> Figure:
    """One bar a rule, divided where its answer changes; the number of units in each part."""
    figure, axes = new_figure(width, 1.1 + 0.5 * len(found))
    limit = _limit([many for _, many in found], evidence)
    for place, (variant, many) in enumerate(reversed(found)):
        for number, one in enumerate(interval for interval in many if interval.low < limit):
            _draw_interval(axes, place, one, variant, min(one.high, limit), number, evidence)
            if min(one.high, limit) - one.low > limit * 0.04:
                middle = (one.low + min(one.high, limit)) / 2 * evidence.scale.factor
                axes.text(
                    middle,
                    place,
                    _size(one),
                    ha="center",
                    va="center",
                    fontsize=9.5,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
                )
    axes.set_yticks(range(len(found)), [variant.words for variant, _ in reversed(found)])
    axes.set_xlim(0, limit * evidence.scale.factor)
    axes.set_xlabel(f"ε{' (points)' if evidence.scale.points else ''}; in the bars: units chosen")
    return figure


def _draw_interval(
    axes: Axes,
    place: int,
    one: Interval,
    variant: Variant,
    high: float,
    number: int,
    evidence: Evidence,
) -> None:
    factor = evidence.scale.factor
    axes.barh(
        place,
        (high - one.low) * factor,
        left=one.low * factor,
        height=0.6,
        color=variant.colour if number % 2 == 0 else PALE,
        alpha=0.35,
        edgecolor="black",
        hatch="///" if one.missing else "",
        linewidth=0.8,
    )


def _size(one: Interval) -> str:
    units = 0 if one.chosen is None else len(one.chosen)
    return f"{units}{'?' if one.missing else ''}"


def _limit(every: Sequence[Sequence[Interval]], evidence: Evidence) -> float:
    """Where the axis of ε ends: beyond the largest gain of a round.

    The paper's first round is judged against 0, so that its answer also changes where ε is as large
    as a score; that is left to the table.
    """
    means = [score.mean for score in evidence.scores.values()]
    spread = max(means) - min(means) if means else 0.0
    edges = [one.low for many in every for one in many if 0 < one.low <= spread]
    return max(1.25 * max(edges, default=0.0), 0.02 if evidence.scale.share else spread * 0.1, 1e-9)
