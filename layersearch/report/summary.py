"""What a search found, on the terminal: what to use, and whether that is really better.

A difference is called one only if the interval of the comparison says so; see `comparison`.
"""

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from layersearch.report.comparison import Comparison, compare_summaries
from layersearch.report.confidence import confidence_notes, confidence_sentences
from layersearch.report.front import front_lines
from layersearch.report.wording import (
    Scale,
    count,
    duration,
    listed,
    look_text,
    plural,
    subset_text,
    times,
)
from layersearch.space import contender_name

BASELINES = {  # name in result.json -> in words
    "linear_probe": "the linear probe",
    "full_finetune": "full finetuning",
    "lp_ft": "LP-FT (linear probe, then full finetuning)",
    "runner_up": "the runner-up of the search",
}
VERDICTS = {
    "better": "chosen is better",
    "worse": "chosen is worse",
    "within noise": "within noise",
    "unknown": "too few runs to tell",
}
_STYLES = {"better": "green", "worse": "red", "within noise": "yellow", "unknown": "dim"}
_NO_GAIN = (
    "So nothing shows that tuning these units gains anything over the linear probe, which is the "
    "simpler choice; more seeds or samples could tell."
)
_SMALLER = "So it does not beat full finetuning; its advantage is that it tunes and stores less."


def summary(result: Mapping[str, Any]) -> RenderableType:
    """The summary of a result (fields as in `results`), for a rich console."""
    scale = Scale(_metric(result)["name"])
    comparisons = compare_with_baselines(result)
    parts: list[RenderableType] = [
        Text(f"{result['study']}: what the {result['strategy']} search found", style="bold"),
        Text(),
        *(Text(sentence) for sentence in advice(result)),
    ]
    if sure := confidence_sentences(result):
        parts += [Text(), *(Text(sentence) for sentence in sure)]
        parts += [Text(note, style="dim") for note in confidence_notes(result)]
    if front := front_lines(result):
        parts += [Text(), *front]
    if "chosen" in result.get("test", {}):
        parts += [Text(), _table(result, scale, comparisons)]
        parts += [Text(note, style="dim") for note in comparison_notes(comparisons)]
    if result.get("rounds"):
        parts += [Text(), Text(_way(result)), *_rounds(result["rounds"], scale)]
    parts += [Text(), *(Text(line) for line in _cost(result, scale))]
    return Group(*parts)


def plain_summary(result: Mapping[str, Any], *, width: int = 100) -> str:
    """The summary as text without colours."""
    buffer = StringIO()
    Console(file=buffer, width=width, color_system=None, highlight=False).print(summary(result))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def compare_with_baselines(result: Mapping[str, Any]) -> dict[str, Comparison]:
    """The chosen subset against each baseline that was tested, in the order of `BASELINES`."""
    test = result.get("test", {})
    if test.get("chosen", {}).get("mean") is None:
        return {}
    direction = _metric(result)["direction"]
    return {
        name: compare_summaries(test["chosen"], test[name], direction=direction)
        for name in BASELINES
        if name in test and test[name]["mean"] is not None
    }


def advice(result: Mapping[str, Any]) -> list[str]:
    """What to use, and how sure that is: one sentence each."""
    scale = Scale(_metric(result)["name"])
    if result["score"].get("mean") is None:
        return ["No subset has a score yet."]
    comparisons = compare_with_baselines(result)
    sentences = [_what(result)]
    if result.get("interrupted"):
        sentences.append("That is the best so far: the search was interrupted before its end.")
        return sentences
    if result["score"].get("look_epochs"):
        sentences.append(
            f"It goes by {look_text(result['score']['look_epochs'])}: the search ended before any "
            "finalist was trained by the whole schedule."
        )
    if not comparisons:
        sentences.append("It was not tested against a baseline, so nothing says it is worth it.")
    for name, comparison in comparisons.items():
        if name != "linear_probe" or result["subset"]:
            sentences.append(_against(BASELINES[name], comparison, scale))
    sentences += [
        f"It could not be compared with {BASELINES.get(name, name)}, whose training failed: {why}."
        for name, why in result.get("failed_baselines", {}).items()
    ]
    sentences += _recommendation(result, comparisons)
    return sentences


def _what(result: Mapping[str, Any]) -> str:
    units = result["subset"]
    if not units:
        return "Tune no unit: train a new head alone (the linear probe)."
    share = ""
    parameters = result.get("parameters")
    if parameters and parameters.get("total"):
        part = 100 * parameters["tuned"] / parameters["total"]
        share = f" ({count(parameters['tuned'])} parameters, {part:.2g}% of the backbone)"
    return f"Tune {subset_text(units)} and a new head{share}."


def _against(name: str, comparison: Comparison, scale: Scale) -> str:
    by = scale.difference(abs(comparison.difference)).lstrip("+")
    if comparison.low is None or comparison.high is None:
        if comparison.difference == 0:
            return f"It scored the same as {name}, and too few runs say how sure that is."
        word = "better" if comparison.difference > 0 else "worse"
        return f"It scored {word} than {name} by {by}, but too few runs say how sure that is."
    low, high = scale.number(comparison.low, sign=True), scale.number(comparison.high, sign=True)
    interval = f"95% interval {low} to {high}{scale.points}"
    if comparison.verdict == "within noise":
        return f"Against {name} the difference is within noise ({interval})."
    return f"On the test split it is {comparison.verdict} than {name} by {by} ({interval})."


def _recommendation(result: Mapping[str, Any], comparisons: Mapping[str, Comparison]) -> list[str]:
    """What follows from the comparisons, where it is not simply 'use the chosen subset'."""
    worse = [name for name, comparison in comparisons.items() if comparison.verdict == "worse"]
    if worse:
        best = min(worse, key=lambda name: comparisons[name].difference)
        return [f"So use {BASELINES[best]} instead, or search again with more validation samples."]
    if not result["subset"]:
        return []
    probe, full = comparisons.get("linear_probe"), comparisons.get("full_finetune")
    if probe is not None and probe.verdict != "better":
        return [_NO_GAIN]
    if full is not None and full.verdict == "within noise":
        return [_SMALLER]
    return []


def _table(result: Mapping[str, Any], scale: Scale, comparisons: Mapping[str, Comparison]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("")
    table.add_column(Text(f"test {_metric(result)['name']}"), justify="right")
    table.add_column("runs", justify="right")
    table.add_column("chosen is better by", justify="right")
    table.add_column("")
    chosen = result["test"]["chosen"]
    table.add_row("chosen", scale.value(chosen["mean"], chosen.get("stderr")), _runs(chosen))
    for name, comparison in comparisons.items():
        side = result["test"][name]
        error = "" if comparison.stderr is None else f" ± {scale.number(comparison.stderr)}"
        verdict = comparison.verdict
        table.add_row(
            contender_name(name),
            scale.value(side["mean"], side.get("stderr")),
            _runs(side),
            scale.number(comparison.difference, sign=True) + error,
            Text(VERDICTS[verdict], style=_STYLES[verdict]),
        )
    return table


def _runs(side: Mapping[str, Any]) -> str:
    return str(side.get("seeds", ""))


def comparison_notes(comparisons: Mapping[str, Comparison]) -> list[str]:
    """How the comparisons were made, and what their intervals leave out."""
    if not comparisons:
        return []
    first = next(iter(comparisons.values()))
    pairs = "the same seeds" if first.seeds > 1 else "one training each"
    if first.samples:
        pairs += f" and the same {first.samples:,} test samples"
    notes = [f"Compared on {pairs}; ± is one standard error, of the mean or of the difference."]
    if first.seeds == 1:
        notes.append(
            "One training each says nothing about other seeds: set final.seeds to 3 or more."
        )
    elif not first.samples:
        notes.append("The noise of the test samples themselves is not included.")
    return notes


def _way(result: Mapping[str, Any]) -> str:
    look = result["rounds"][0].get("look_epochs")
    return "The way there" + (f", by {look_text(look)}:" if look else ":")


def _rounds(rounds: Sequence[Mapping[str, Any]], scale: Scale) -> list[Text]:
    lines = []
    before: Sequence[str] = []
    for number, entry in enumerate(rounds, start=1):
        base = before if entry.get("base") is None else entry["base"]
        line = f"  {number}. {_step(base, entry['subset'])}  {_score(entry, scale)}"
        if entry.get("gain") is not None:
            line += f", gain {_gain(entry, scale)}"
        if entry.get("candidates", 1) > 1:
            line += f", the best of {entry['candidates']}"
        accepted = entry.get("accepted", True)
        lines.append(Text(line if accepted else f"{line}: not taken"))
        if accepted:
            before = entry["subset"]
        leap = _step(before, entry.get("leap") or before)
        if entry.get("leap") and set(entry["leap"]) != set(before):
            lines.append(Text(f"     {leap}  at once: what units gain alone nearly adds up"))
    return lines


def _gain(entry: Mapping[str, Any], scale: Scale) -> str:
    error = entry.get("gain_stderr")
    noise = "" if error is None else f" ± {scale.number(error)}"
    return f"{scale.number(entry['gain'], sign=True)}{noise}{scale.points}"


def _step(before: Sequence[str], after: Sequence[str]) -> str:
    added = [f"+ {name}" for name in after if name not in before]
    removed = [f"\N{MINUS SIGN} {name}" for name in before if name not in after]
    return " ".join([*added, *removed]) or "the head alone"


def _score(entry: Mapping[str, Any], scale: Scale) -> str:
    return scale.value(entry["score"], entry.get("stderr"))


def _cost(result: Mapping[str, Any], scale: Scale) -> list[str]:
    cost, full = result["cost"], result.get("cost_of_full_finetune") or {}
    amounts = {
        "trainings": lambda number: plural(number, "training"),
        "epochs": lambda number: plural(number, "epoch"),
        "flops": lambda number: count(number, "FLOP"),
        "seconds": duration,
    }
    spent = [word(cost[name]) for name, word in amounts.items() if cost.get(name) is not None]
    ratios = [
        f"{times(cost[name] / full[name])} the {words}"
        for name, words in (("epochs", "epochs"), ("flops", "FLOPs"), ("seconds", "time"))
        if full.get(name) and cost.get(name) is not None
    ]
    lines = [f"The search took {listed(spent)}."] if spent else []
    if ratios:
        lines.append(f"That is {listed(ratios)} of one full finetuning.")
    score = result["score"]
    if score.get("mean") is not None:
        look = score.get("look_epochs")
        by = f" (by {look_text(look)})" if look else ""
        lines.append(
            f"Its score in the search, {scale.value(score['mean'], score.get('stderr'))}{by}, is "
            "the best of many and so flatters it: only the test split, which no search sees, does "
            "not."
        )
    return lines


def _metric(result: Mapping[str, Any]) -> Mapping[str, str]:
    return {"name": "accuracy", "direction": "maximize", **result.get("metric", {})}
