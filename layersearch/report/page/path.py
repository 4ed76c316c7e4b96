"""The path of greedy, round by round, with every candidate."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from layersearch.report.drawing import BLACK, BLUE, GREY, VERMILION, finite, new_figure, short
from layersearch.report.page.evidence import Evidence
from layersearch.report.page.replay import greedy_options, greedy_ways, ledger_of, rounds_played
from layersearch.report.page.section import Picture, Section, Table
from layersearch.report.wording import look_text
from layersearch.space.subset import Subset
from layersearch.strategies.greedy import Greedy
from layersearch.strategies.protocol import Ledger
from layersearch.strategies.rounds import Round
from layersearch.strategies.stop_rules import paired_gain


@dataclass(frozen=True, kw_only=True)
class Step:
    """A round as the page shows it; scores in the study's own direction."""

    number: int
    played: Round
    change: str  # '+ layer3.1'
    scores: dict[Subset, float]  # of the candidates that have one
    stderr: float | None  # of the winner's score
    gain: tuple[float, float] | None  # of the winner over the base, paired, with its error
    accepted: bool


def path_sections(evidence: Evidence) -> list[Section]:
    """One a direction; none where the study was not searched greedily."""
    evidence = evidence.searched
    options = greedy_options(evidence)
    if options is None:
        return []
    ledger = ledger_of(evidence)
    ways = greedy_ways(evidence, options)
    found = []
    for way in ways:
        steps = [step(played, ledger, evidence) for played in rounds_played(way, ledger)]
        if steps:
            found.append(_section(way, steps, evidence, several=len(ways) > 1))
    return found


def step(played: Round, ledger: Ledger, evidence: Evidence) -> Step:
    """A round with its scores."""
    scores = {
        subset: evidence.sign * ledger.score(subset)
        for subset in played.candidates
        if finite(ledger.score(subset))
    }
    winner = None if played.winner is None else ledger.scores[played.winner]
    base = None if played.base is None else ledger.scores.get(played.base)
    gain = None
    if winner is not None and base is not None and finite(winner.score) and finite(base.score):
        paired = paired_gain(winner, base)
        gain = (paired.mean, paired.stderr)
    return Step(
        number=played.number,
        played=played,
        change="" if played.winner is None else change(played.base, played.winner),
        scores=scores,
        stderr=None if winner is None else winner.stderr,
        gain=gain,
        accepted=played.winner is not None and played.chosen == played.winner,
    )


def change(base: Subset | None, subset: Subset) -> str:
    """What a candidate adds to the base, or takes from it."""
    if base is None:
        return str(subset)
    added = [f"+ {name}" for name in subset if name not in base]
    removed = [f"\N{MINUS SIGN} {name}" for name in base if name not in subset]
    return " ".join([*added, *removed]) or "nothing"


def _section(way: Greedy, steps: Sequence[Step], evidence: Evidence, *, several: bool) -> Section:
    name = "forward" if way.forward else "backward"
    last = steps[-1].played
    lead = [_in_words(one, evidence) for one in steps]
    if evidence.look is not None:
        lead.insert(
            0,
            f"Its rounds went by {look_text(evidence.look)}; what the whole schedule says of the "
            "finalists is listed under the trials.",
        )
    if last.stop and last.complete:
        lead.append(f"It stopped in round {last.number}: {last.stop}.")
    elif not last.complete:
        left = len(last.trials) - last.settled
        lead.append(f"Round {last.number} has not ended: {left} of its trials are missing.")
    return Section(
        key=f"path-{name}",
        title=f"The path of greedy{f', {name}' if several else ''}",
        lead=lead,
        pictures=[]
        if not any(one.scores for one in steps)
        else [
            Picture(
                name=f"path_{name}",
                caption="Every candidate of every round (circles), the best of each (filled, with "
                "its standard error), and the path (line). A cross: the best of its round, but not "
                "taken.",
                alt="Scores of all candidates by round; the numbers are in the table below.",
                draw=lambda width: draw_path(steps, evidence, width),
            )
        ],
        tables=[_gains(steps, evidence), _candidates(steps, evidence)],
        notes=[
            (
                "A gain is that over the subset that the round builds on, on the same validation "
                "samples; the best of many candidates gains something by luck alone."
            )
        ],
    )


def _in_words(one: Step, evidence: Evidence) -> str:
    if not one.scores:
        return (
            f"Round {one.number}: none of its {len(one.played.candidates)} candidates has a score."
        )
    gain = "" if one.gain is None else f", gain {_gain(one, evidence)}"
    taken = "" if one.accepted else ": not taken"
    return (
        f"Round {one.number}: {one.change}, {evidence.scale.value(max_shown(one, evidence))}"
        f"{gain}{taken}."
    )


def max_shown(one: Step, evidence: Evidence) -> float:
    """The winner's score."""
    best = max if evidence.sign > 0 else min
    return best(one.scores.values())


def _gain(one: Step, evidence: Evidence) -> str:
    if one.gain is None:
        return ""
    mean, error = one.gain
    noise = f" ± {evidence.scale.number(error)}" if finite(error) else ""
    return f"{evidence.scale.number(mean, sign=True)}{noise}"


def _gains(steps: Sequence[Step], evidence: Evidence) -> Table:
    rows = [
        (
            str(one.number),
            one.change,
            evidence.scale.value(max_shown(one, evidence), one.stderr) if one.scores else "",
            _gain(one, evidence),
            str(len(one.played.candidates)),
            "taken" if one.accepted else "not taken",
        )
        for one in steps
    ]
    head = (
        "round",
        "best candidate",
        f"validation {evidence.metric}",
        f"gain{evidence.scale.points and ' (points)'}",
        "candidates",
        "",
    )
    return Table(caption="The best of each round", head=head, rows=rows, text=frozenset({0, 1, 5}))


def _candidates(steps: Sequence[Step], evidence: Evidence) -> Table:
    """A row a change, a column a round."""
    changes = dict.fromkeys(
        change(one.played.base, subset) for one in steps for subset in one.played.candidates
    )
    cells: dict[tuple[str, int], str] = {}
    for one in steps:
        for subset in one.played.candidates:
            text = "no score"
            if subset in one.scores:
                text = evidence.scale.number(one.scores[subset])
            if subset == one.played.winner:
                text = f"★ {text}"
            cells[change(one.played.base, subset), one.number] = text
    order = {name: place for place, name in enumerate(evidence.unit_names)}
    ranked = sorted(changes, key=lambda text: order.get(text[2:], len(order)))
    rows = [(text, *(cells.get((text, one.number), "") for one in steps)) for text in ranked]
    unit = f" ({evidence.scale.unit})" if evidence.scale.unit else ""
    return Table(
        caption=f"All candidates{unit}, ★ the best",
        head=("candidate", *(f"round {one.number}" for one in steps)),
        rows=rows,
        folded=len(rows) > 12,
    )


def draw_path(steps: Sequence[Step], evidence: Evidence, width: float) -> Figure:
    """Rounds across, scores up."""
    figure, axes = new_figure(width, 4.2)
    factor = evidence.scale.factor
    start = steps[0].played.base
    line: list[tuple[float, float]] = []
    if start is not None and start in evidence.scores:
        mean = evidence.scores[start].mean * factor
        axes.plot([0], [mean], "D", color=BLACK, markersize=6, zorder=4)
        line.append((0, mean))
    for one in steps:
        others = [
            score * factor for subset, score in one.scores.items() if subset != one.played.winner
        ]
        axes.plot(
            [one.number] * len(others),
            others,
            "o",
            markerfacecolor="none",
            markeredgecolor=GREY,
            markersize=5,
            linestyle="none",
            zorder=2,
        )
        if not one.scores:
            continue
        best = max_shown(one, evidence) * factor
        error = [one.stderr * factor] if finite(one.stderr) and one.stderr else None
        axes.errorbar(
            [one.number],
            [best],
            yerr=error,
            color=BLUE if one.accepted else VERMILION,
            marker="o" if one.accepted else "X",
            markersize=8,
            capsize=3,
            zorder=4,
        )
        axes.annotate(
            short(one.change, 26 if width > 6 else 14),
            (one.number, best),
            xytext=(8, -4),
            textcoords="offset points",
            va="top",
            fontsize=8.5,
        )
        if one.accepted:
            line.append((one.number, best))
    axes.plot([x for x, _ in line], [y for _, y in line], color=BLUE, linewidth=1.5, zorder=3)
    last = steps[-1].number
    axes.set_xticks(range(last + 1), ["start", *map(str, range(1, last + 1))])
    axes.set_xlim(-0.35, last + 0.9)
    axes.set_xlabel("round")
    unit = f" ({evidence.scale.unit})" if evidence.scale.unit else ""
    axes.set_ylabel(f"validation {evidence.metric}{unit}")
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    return figure
