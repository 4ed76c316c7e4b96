"""Values as trackers take them: flat, short, numbers apart from words."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from layersearch.space import TrialRecord

_COSTS_APART = ("memo_of",)  # numbers among a trial's attributes that measure nothing


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as ('recipe.epochs', 8); what is no mapping is a leaf."""
    for name, value in values.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, Mapping):
            yield from flat(value, path)
        else:
            yield path, value


def numbers(record: TrialRecord) -> dict[str, float]:
    """What was measured of a trial: costs, seconds, epochs, its standard error."""
    found = {
        name: float(value)
        for name, value in record.attributes.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
        if name not in _COSTS_APART and math.isfinite(value)
    }
    if record.stderr is not None and math.isfinite(record.stderr):
        found["stderr"] = float(record.stderr)
    return found
