"""The finetuning profile along the depth, and the heat map of pairs, of whatever was scored."""

from layersearch.report.drawing import Scored
from layersearch.report.figures import find_pairs, is_map, pairs_figure, profile_figure
from layersearch.report.page.evidence import Evidence
from layersearch.report.page.section import Picture, Section, Table
from layersearch.report.wording import count, plural, subset_text
from layersearch.space.subset import Subset

LISTED_PAIRS = 20


def profile_section(evidence: Evidence) -> Section | None:
    """None where no unit was scored by itself."""
    evidence = evidence.profiled
    names, scores = evidence.unit_names, evidence.scores
    singles = [(unit, scores.get(Subset([unit.name]))) for unit in evidence.units]
    known = [(unit, score) for unit, score in singles if score is not None]
    if not known:
        return None
    rows = [
        _row("head alone (linear probe)", 0, scores.get(Subset()), evidence),
        *(_row(unit.name, unit.numel, score, evidence) for unit, score in singles),
        _row(
            "all units (full finetuning)",
            sum(unit.numel for unit in evidence.units),
            scores.get(evidence.everything),
            evidence,
        ),
    ]
    better = max if evidence.sign > 0 else min
    best = better(known, key=lambda pair: pair[1].mean)[0].name
    missing = len(singles) - len(known)
    lead = [f"Of the units by themselves{evidence.how}, {best} scores best."]
    if missing:
        lead.append(f"{plural(missing, 'unit')} of {len(singles)} have no score by themselves.")
    return Section(
        key="profile",
        title="The finetuning profile",
        lead=lead,
        pictures=[
            Picture(
                name="profile",
                caption=f"Validation {evidence.metric} of every unit tuned by itself, and of "
                "runs of neighbours where tried, from input to output; bars: one standard error.",
                alt="Score against depth, a point a unit; the numbers of single units are in the "
                "table below.",
                draw=lambda width: profile_figure(
                    names,
                    scores,
                    metric=evidence.metric,
                    higher_is_better=evidence.sign > 0,
                    with_pairs=False,
                    width=width,
                ),
            )
        ],
        tables=[
            Table(
                caption=f"Every unit by itself{evidence.how}",
                head=("tuned", "parameters", f"validation {evidence.metric}"),
                rows=rows,
                marked=frozenset(i for i, row in enumerate(rows) if row[0] == best),
                folded=len(rows) > 12,
            )
        ],
    )


def pairs_section(evidence: Evidence) -> Section | None:
    """None where no two units that are not neighbours were scored as a pair."""
    evidence = evidence.profiled
    names, scores = evidence.unit_names, evidence.scores
    pairs = find_pairs(names, scores)
    if not is_map(names, pairs):
        return None
    ranked = sorted(pairs.items(), key=lambda item: -evidence.sign * item[1].mean)
    rows = [
        (
            subset_text([names[first], names[second]]),
            evidence.scale.value(score.mean, score.stderr),
            _beyond(first, second, score, evidence),
        )
        for (first, second), score in ranked[:LISTED_PAIRS]
    ]
    unit = f" in {evidence.scale.unit}" if evidence.scale.unit else ""
    possible = len(names) * (len(names) - 1) // 2
    return Section(
        key="pairs",
        title="Pairs of units",
        lead=[
            (
                f"{len(pairs)} of {possible} pairs have a score{evidence.how}, the best "
                f"{rows[0][0]}: {rows[0][1]}."
            )
        ],
        pictures=[
            Picture(
                name="pairs",
                caption=f"Validation {evidence.metric}{unit} of pairs, of single units on the "
                "diagonal; the best is framed, cells left white were not tried.",
                alt="Heat map of pairs of units; the best pairs are in the table below.",
                draw=lambda width: pairs_figure(
                    names,
                    scores,
                    metric=evidence.metric,
                    higher_is_better=evidence.sign > 0,
                    width=min(width, max(3.9, 1.4 + 0.45 * len(names))),
                ),
            )
        ],
        tables=[
            Table(
                caption=f"The best {len(rows)} pairs",
                head=("tuned", f"validation {evidence.metric}", "over the better unit alone"),
                rows=rows,
                folded=len(rows) > 12,
            )
        ],
    )


def _row(name: str, parameters: int, score: Scored | None, evidence: Evidence) -> tuple[str, ...]:
    shown = "not scored" if score is None else evidence.scale.value(score.mean, score.stderr)
    return (name, count(parameters), shown)


def _beyond(first: int, second: int, score: Scored, evidence: Evidence) -> str:
    """How much the pair scores over the better of its units."""
    names = evidence.unit_names
    singles = [evidence.scores.get(Subset([names[place]])) for place in (first, second)]
    if any(single is None for single in singles):
        return ""
    best = max(evidence.sign * single.mean for single in singles if single is not None)
    return evidence.scale.number(evidence.sign * score.mean - best, sign=True)
