"""How sure it is: the chosen subset against the runner-up, and the subsets that are as good."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from layersearch.report.confidence import (
    Entry,
    Schedule,
    by_looks,
    comparison_of,
    confidence_notes,
    cost_name,
    cost_of,
    name_of,
    schedules,
)
from layersearch.report.drawing import BLUE, GREY, VERMILION, name_room, new_figure, short
from layersearch.report.page.evidence import Evidence
from layersearch.report.page.section import Picture, Section, Table
from layersearch.space import contender_name

DRAWN = 15  # subsets that are as good, in the figure
_VERDICTS = {True: "as good", False: "ruled out", None: "not known"}
_FOLDED = 8  # rows from which a table is shown only when asked for
_METHOD = (
    "Every subset is given the chance to be the best, and is ruled out only where another is ahead "
    "of it by more than luck allows among so many (multiple comparisons with the best, Hsu 1984; "
    "the samples that subsets get right alike are taken into account). An interval allows for the "
    "chosen subset being the pick of them all: it is wider than that of a single comparison, and "
    "may reach 0 where a subset is ruled out, which a one-sided test decides. As good within noise "
    "means: not shown to be worse; more validation samples could show it."
)


def confidence_section(evidence: Evidence) -> Section | None:
    """None where nothing was compared."""
    result = evidence.result or {}
    compared = [found for found in schedules(result) if found["compared"] > 1]
    if not compared:
        return None
    known = [found for found in compared if found.get("on")]
    several = len(compared) > 1
    return Section(
        key="confidence",
        title="How sure it is",
        lead=confidence_notes(result),
        pictures=[_picture(found, evidence, several=several) for found in known],
        tables=[_table(found, evidence) for found in compared],
        notes=[_METHOD] if known else [],
    )


def _picture(found: Schedule, evidence: Evidence, *, several: bool) -> Picture:
    how = f" by {by_looks(found) or 'the whole schedule'}" if several else ""
    look = found.get("look_epochs")
    return Picture(
        name="confidence" if look is None else f"confidence_looks_{look}",
        caption=f"By how much the chosen subset scores better{how}, with the 95% interval: than "
        "the runner-up, the baselines, and the cheapest that are as good. Circles: as good within "
        "noise; squares: ruled out as the best.",
        alt="Differences and intervals; the numbers are in the table below.",
        draw=lambda width: draw_intervals(_rows(found)[:DRAWN], evidence, width),
    )


def _rows(found: Schedule) -> list[tuple[str, Entry]]:
    """What is shown: the runner-up and the baselines, then what is as good, the cheapest first."""
    special = [("runner-up", found.get("runner_up"))]
    special += [(contender_name(name), one) for name, one in found["baselines"].items()]
    rows: dict[int, tuple[str, Entry]] = {}
    for word, entry in special:
        if entry is not None:
            before = rows.get(entry["trial"])
            rows[entry["trial"]] = (word if before is None else f"{before[0]}, {word}", entry)
    for entry in found["as_good"]:
        rows.setdefault(entry["trial"], ("", entry))
    return list(rows.values())


def draw_intervals(rows: Sequence[tuple[str, Entry]], evidence: Evidence, width: float) -> Figure:
    """One line a subset: the difference and its interval; colours tell the verdict."""
    scale = evidence.scale
    figure, axes = new_figure(width, 0.9 + 0.3 * len(rows))
    axes.axvline(0, color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    for place, (_, entry) in enumerate(reversed(rows)):
        against = comparison_of(entry)
        if against.low is None or against.high is None:
            continue
        noise = entry.get("may_be_best") is not False
        axes.errorbar(
            [against.difference * scale.factor],
            [place],
            xerr=[
                [(against.difference - against.low) * scale.factor],
                [(against.high - against.difference) * scale.factor],
            ],
            color=BLUE if noise else VERMILION,
            marker="o" if noise else "s",
            markersize=5,
            capsize=3,
            linewidth=1.5,
        )
    names = [_named(entry, evidence) for _, entry in reversed(rows)]
    axes.set_yticks(range(len(rows)), [short(name, name_room(axes)) for name in names])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    points = " (points)" if scale.points else ""
    axes.set_xlabel(f"chosen is better by{points}")
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    return figure


def _named(entry: Entry, evidence: Evidence) -> str:
    return "all units" if set(entry["subset"]) == set(evidence.unit_names) else name_of(entry)


def _table(found: Schedule, evidence: Evidence) -> Table:
    result = evidence.result or {}
    rows = [("chosen", *_facts(found["chosen"], evidence), "", "", "")]
    for word, entry in _rows(found):
        against = comparison_of(entry)
        interval = ""
        if against.low is not None and against.high is not None:
            low, high = (evidence.scale.number(v, sign=True) for v in (against.low, against.high))
            interval = f"{low} to {high}"
        verdict = _VERDICTS[entry.get("may_be_best")]
        difference = evidence.scale.number(against.difference, sign=True)
        rows.append((word, *_facts(entry, evidence), difference, interval, verdict))
    total, shown = found.get("as_good_count") or 0, len(found["as_good"])
    more = f"; {total - shown:,} more are as good" if total > shown else ""
    by = by_looks(found) or "the whole schedule"
    return Table(
        caption=f"Compared by {by}{more}",
        head=(
            "",
            "subset",
            "parameters" if cost_name(result) == "trainable_parameters" else cost_name(result),
            f"validation {evidence.metric}",
            "chosen better by",
            "95% interval",
            "",
        ),
        rows=rows,
        text=frozenset({0, 1, 6}),
        marked=frozenset({0}),
        folded=len(rows) > _FOLDED,
    )


def _facts(entry: Entry, evidence: Evidence) -> tuple[str, str, str]:
    score = entry["score"]
    return (
        _named(entry, evidence),
        cost_of(evidence.result or {}, entry),
        evidence.scale.value(score["mean"], score.get("stderr")),
    )
