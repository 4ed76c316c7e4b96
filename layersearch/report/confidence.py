"""How sure a search is of its choice, in words: field `confidence` of a result (see `results`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from layersearch.report.comparison import Comparison
from layersearch.report.front import value_text
from layersearch.report.wording import Scale, count, listed, look_text, subset_text

Entry = Mapping[str, Any]  # a subset: {subset, trial, recipe, score, costs, against}
Schedule = Mapping[str, Any]  # what was compared by one schedule
_COSTS = {  # how a cost reads after the subset that has it
    "trainable_parameters": "tunes {} parameters",
    "added_parameters": "adds {} parameters",
    "task_bytes": "takes {} to store",
    "step_multiply_adds": "takes {} multiply-adds a training step",
    "training_memory_bytes": "takes {} of memory to train",
    "latency_ms": "adds {} to serving",
}


def schedules(result: Mapping[str, Any]) -> Sequence[Schedule]:
    """What was compared, the schedule by which the choice was made first; empty where none was."""
    return list((result.get("confidence") or {}).get("schedules") or ())


def widest(result: Mapping[str, Any]) -> Schedule | None:
    """The schedule that compares the most subsets; of equals, that of the choice."""
    return max(schedules(result), key=lambda found: int(found["compared"]), default=None)


def runner_up(result: Mapping[str, Any]) -> Entry | None:
    """The next best subset by the schedule of the choice, or by another if it has no other."""
    found = (schedule.get("runner_up") for schedule in schedules(result))
    return next((entry for entry in found if entry), None)


def as_good(result: Mapping[str, Any]) -> Sequence[Entry]:
    """The other subsets that may be as good, the cheapest first, of the `widest` schedule."""
    found = widest(result)
    return [] if found is None else list(found.get("as_good") or ())


def by_looks(schedule: Schedule) -> str:
    """'looks of 1 epoch', or empty for the whole schedule."""
    look = schedule.get("look_epochs")
    return "" if look is None else look_text(look)


def name_of(entry: Entry) -> str:
    """'{layer1.0}', or 'the head alone'."""
    return subset_text(entry["subset"]) if entry["subset"] else "the head alone"


def cost_of(result: Mapping[str, Any], entry: Entry) -> str:
    """'74 k', '1.2 ms': what makes this subset cheap or dear."""
    cost = cost_name(result)
    value = entry["costs"][cost]
    return count(value) if cost.endswith("parameters") else value_text(cost, value)


def cost_name(result: Mapping[str, Any]) -> str:
    """By what subsets count as cheap."""
    return str((result.get("confidence") or {}).get("cost", "trainable_parameters"))


def comparison_of(entry: Entry) -> Comparison:
    """The chosen subset against this one."""
    return Comparison.from_json(entry["against"])


def confidence_sentences(result: Mapping[str, Any]) -> list[str]:
    """What the search itself tells of its choice: the runner-up, and what is as good."""
    scale = Scale((result.get("metric") or {}).get("name", "accuracy"))
    found = []
    first = next((s for s in schedules(result) if s.get("runner_up")), None)
    if first is not None:
        found.append(_against_runner_up(first, scale))
    wide = widest(result)
    if wide is not None and wide.get("as_good_count") is not None and wide["compared"] > 1:
        found.append(_as_good(result, wide))
    return found


def confidence_notes(result: Mapping[str, Any]) -> list[str]:
    """How sure that is, and of what."""
    compared = [found for found in schedules(result) if found["compared"] > 1]
    if not compared:
        return []
    first = compared[0]
    sizes = [
        f"{found['compared']:,} by {by_looks(found) or 'the whole schedule'}" for found in compared
    ]
    on = {
        "samples": f"Compared on the same {first['count']:,} validation samples",
        "folds": f"Compared over the same {first['count']} folds",
        "independent": "Compared by their standard errors, as if they were independent",
    }.get(first.get("on") or "")
    if on is None:
        return [f"{listed(sizes)} were scored, but how noisy their scores are is not known."]
    level = f"{100 * float(result['confidence'].get('level', 0.95)):.0f}%"
    which = "subsets" if len(compared) == 1 else "subsets of a schedule"
    note = f"{on}, all {which} at once ({listed(sizes)}): with {level} confidence the best of them"
    return [f"{note} is the chosen one or as good within noise. Other trainings may differ more."]


def _against_runner_up(schedule: Schedule, scale: Scale) -> str:
    entry = schedule["runner_up"]
    against = comparison_of(entry)
    where = by_looks(schedule)
    where = f"By {where}" if where else "In the search"
    name = f"the runner-up, {name_of(entry)}"
    if against.low is None or against.high is None:
        return f"{where}, how far the chosen subset is from {name}, is lost in the noise."
    interval = f"95% interval {_ends(against, scale)}"
    if against.verdict == "within noise":
        comma = "," if by_looks(schedule) else ""
        return f"{where}{comma} {name}, is within noise of the chosen subset ({interval})."
    by = scale.difference(abs(against.difference)).lstrip("+")
    verb = "beats" if against.verdict == "better" else "falls short of"
    return f"{where} the chosen subset {verb} {name}, by {by} ({interval})."


def _ends(against: Comparison, scale: Scale) -> str:
    assert against.low is not None
    assert against.high is not None
    low, high = (scale.number(end, sign=True) for end in (against.low, against.high))
    return f"{low} to {high}{scale.points}"


def _as_good(result: Mapping[str, Any], schedule: Schedule) -> str:
    others, total = schedule["compared"] - 1, schedule["as_good_count"]
    where = f"By {by_looks(schedule)}, " if by_looks(schedule) else ""
    if not total:
        rest = "the only other subset is" if others == 1 else f"all {others:,} other subsets are"
        return _opened(f"{where}{rest} ruled out as the best.")
    cheapest, cost = schedule["as_good"][0], cost_name(result)
    what = f"{where}{total:,} of {others:,} other subsets {'is' if total == 1 else 'are'} as good"
    if cheapest["costs"][cost] >= schedule["chosen"]["costs"][cost]:
        return f"{what} within noise, none of them cheaper."
    if not cheapest["subset"]:
        return f"{what} within noise; the cheapest is {name_of(cheapest)}, with no unit tuned."
    words = _COSTS.get(cost, f"has {cost} {{}}").format(cost_of(result, cheapest))
    return f"{what} within noise; the cheapest, {name_of(cheapest)}, {words}."


def _opened(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
