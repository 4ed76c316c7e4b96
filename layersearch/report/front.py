"""The Pareto front of a search with several values, on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from layersearch.report.wording import Scale, count, listed, subset_text

SHOWN = 15  # members; the file has them all
RULES = {
    "best": "the best {first}",
    "one_stderr": "the best {second} within a standard error of the best {first}",
    "knee": "the nearest to the best of all values at once",
}


def front_lines(result: Mapping[str, Any]) -> list[RenderableType]:
    """The front of a result (fields as in `results`), and which member was taken and why."""
    front: Sequence[Mapping[str, Any]] = result.get("front") or ()
    if not front:
        return []
    metrics = result["metrics"]
    goals = listed([f"{metric['name']} ({metric['direction']}d)" for metric in metrics])
    lines: list[RenderableType] = [
        Text(
            f"{len(front)} of {result.get('front_of', len(front))} subsets are on the Pareto front "
            f"of {goals}:"
        ),
        _table(_shown(front), [metric["name"] for metric in metrics]),
    ]
    if len(front) > SHOWN:
        lines.append(Text(f"… and {len(front) - SHOWN} more in result.json", style="dim"))
    return [*lines, Text(f"* taken: {_why(result)}", style="dim")]


def value_text(name: str, value: float, stderr: float | None = None) -> str:
    """A value in the words of what it is: '89.3 ± 0.9%', '4.67 k', '1.2 ms'."""
    if name.endswith("_ms"):
        return f"{value:.3g} ms"
    if name.endswith("_bytes"):
        return count(value, "B")
    if float(value).is_integer() and abs(value) >= 1000:
        return count(value)
    if float(value).is_integer() and stderr is None:
        return f"{value:.0f}"
    return Scale(name).value(value, stderr)


def _shown(front: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first ones, and the one that was taken wherever it stands."""
    late = [member for member in front[SHOWN:] if member.get("chosen")]
    return [*front[: SHOWN - len(late)], *late]


def _table(front: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("subset", overflow="fold")
    for name in names:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for member in front:
        errors = member.get("stderrs", {})
        table.add_row(
            "*" if member.get("chosen") else "",
            Text(subset_text(member["subset"]) if member["subset"] else "the head alone"),
            *(value_text(name, member["values"][name], errors.get(name)) for name in names),
        )
    return table


def _why(result: Mapping[str, Any]) -> str:
    rule = result.get("choose", "best")
    names = [metric["name"] for metric in result["metrics"]]
    if not isinstance(rule, str):
        return "as objective.choose says"
    reason = RULES[rule].format(first=names[0], second=names[1])
    return f"{reason}; take another by the same command with -o objective.choose='[UNITS]'"
