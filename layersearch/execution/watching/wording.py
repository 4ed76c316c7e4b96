"""How a display words numbers, times and ends of trials."""

from layersearch.execution.standing import Allowance
from layersearch.space.records import TrialRecord


def duration(seconds: float) -> str:
    """'41 s', '12 min', '3.2 h'."""
    if seconds < 100:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def between(low: float, high: float) -> str:
    """'about 40 s', '2 to 3 min'."""
    shortest, longest = duration(low), duration(high)
    if shortest == longest:
        return f"about {longest}"
    number, unit = shortest.rsplit(" ", 1)
    return f"{number if longest.endswith(' ' + unit) else shortest} to {longest}"


def score(value: float, stderr: float | None = None) -> str:
    """'0.9350 ± 0.0112'."""
    return f"{value:.4f}" + ("" if stderr is None else f" ± {stderr:.4f}")


def plural(count: int, word: str) -> str:
    """'1 trial', '2 trials'."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def first_line(text: str) -> str:
    """Of a reason that may hold a traceback."""
    return (text.splitlines() or [""])[0]


def finished(record: TrialRecord, value: float) -> str:
    """How a scored trial ended."""
    memo = record.attributes.get("memo_of")
    return score(value, record.stderr) + ("" if memo is None else f", known from trial {memo}")


def allowance(bound: Allowance, *, seconds_since: float) -> str:
    """'12 of 60 trials', '3 min of 2.0 h'."""
    if bound.name == "seconds":
        return f"{duration(bound.used + seconds_since)} of {duration(bound.limit)}"
    return f"{min(bound.used, bound.limit):.0f} of {bound.limit:.0f} {bound.name}"
