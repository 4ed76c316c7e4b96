"""What a search found as pandas tables: one row a trial, a unit, a round, a member of the front."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from layersearch.errors import LayersearchError
from layersearch.report.confidence import widest
from layersearch.report.page.evidence import Evidence
from layersearch.space.names import did_you_mean
from layersearch.space.records import TrialRecord
from layersearch.space.subset import Subset

if TYPE_CHECKING:
    import pandas as pd

_INNER = frozenset(  # attributes that a table leaves out, or has under another name
    {"subset", "tunes", "correct", "driver", "curve", "failure", "stderr", "fold_scores"}
)


def frame(what: str, evidence: Evidence) -> "pd.DataFrame":
    """One of the tables.

    Args:
        what: 'trials', 'profile' (units by themselves), 'rounds' (of greedy), 'front' (of several
            values), 'tests' (the chosen subset and the baselines) or 'as_good' (the chosen subset,
            its runner-up, and what is as good within noise, the cheapest first).
        evidence: of the study.

    Raises: LayersearchError: there is no such table, or pandas is not installed.
    """
    if what not in FRAMES:
        raise LayersearchError(
            f"to_frame: there is no table {what!r}; {did_you_mean(what, FRAMES)}"
        )
    try:
        import pandas as pd
    except ImportError:
        raise LayersearchError(
            "to_frame: pandas is not installed; install it with: pip install 'layersearch[pandas]'"
        ) from None
    made: pd.DataFrame = pd.DataFrame(FRAMES[what](evidence))
    return made


def _trials(evidence: Evidence) -> list[dict[str, Any]]:
    return [_trial(record, evidence) for record in evidence.history]


def _trial(record: TrialRecord, evidence: Evidence) -> dict[str, Any]:
    values = evidence.trials[record.number].values
    subset = record.subset
    return {
        "trial": record.number,
        "state": record.state.value,
        "subset": None if subset is None else str(subset),
        "units": None if subset is None else len(subset),
        **{
            name: values[place] if place < len(values) and record.score is not None else None
            for place, name in enumerate(evidence.metrics)
        },
        "stderr": record.stderr,
        **{f"recipe.{name}": value for name, value in record.recipe.items()},
        **{
            name: value
            for name, value in record.attributes.items()
            if name not in _INNER and isinstance(value, int | float | str)
        },
        **{unit: subset is not None and unit in subset for unit in evidence.unit_names},
    }


def _profile(evidence: Evidence) -> list[dict[str, Any]]:
    found = []
    for unit in evidence.units:
        score = evidence.scores.get(Subset([unit.name]))
        found.append(
            {
                "unit": unit.name,
                "depth": unit.depth,
                "parameters": unit.numel,
                evidence.metric: None if score is None else score.mean,
                "stderr": None if score is None else score.stderr,
            }
        )
    return found


def _rounds(evidence: Evidence) -> list[dict[str, Any]]:
    rounds = (evidence.result or {}).get("rounds") or []
    return [
        {
            "round": number,
            **{
                name: _written(value) if name in ("base", "subset") else value
                for name, value in one.items()
            },
        }
        for number, one in enumerate(rounds, start=1)
    ]


def _front(evidence: Evidence) -> list[dict[str, Any]]:
    return [
        {
            "trial": member.get("trial"),
            "subset": _written(member.get("subset")),
            **dict(member.get("values") or {}),
            **{f"cost.{name}": value for name, value in (member.get("costs") or {}).items()},
            "chosen": bool(member.get("chosen")),
        }
        for member in (evidence.result or {}).get("front") or []
    ]


def _tests(evidence: Evidence) -> list[dict[str, Any]]:
    test: Mapping[str, Any] = (evidence.result or {}).get("test") or {}
    return [
        {
            "what": name,
            "mean": side.get("mean"),
            "stderr": side.get("stderr"),
            "seeds": side.get("seeds"),
            **{
                f"chosen_better_by.{key}": value
                for key, value in (side.get("against") or {}).items()
            },
        }
        for name, side in test.items()
    ]


def _as_good(evidence: Evidence) -> list[dict[str, Any]]:
    found = widest(evidence.result or {})
    if found is None:
        return []
    entries = [("chosen", found["chosen"]), ("runner-up", found.get("runner_up"))]
    entries += [("as good", entry) for entry in found.get("as_good") or ()]
    return [
        {
            "what": what,
            "subset": _written(entry["subset"]),
            "mean": entry["score"].get("mean"),
            "stderr": entry["score"].get("stderr"),
            **{f"cost.{name}": value for name, value in entry["costs"].items()},
            **{
                f"chosen_better_by.{key}": (entry.get("against") or {}).get(key)
                for key in ("difference", "stderr", "low", "high", "verdict")
            },
            "look_epochs": found.get("look_epochs"),
        }
        for what, entry in entries
        if entry is not None
    ]


def _written(names: Any) -> str | None:
    return None if names is None else str(Subset(map(str, names)))


FRAMES: Mapping[str, Any] = {
    "trials": _trials,
    "profile": _profile,
    "rounds": _rounds,
    "front": _front,
    "tests": _tests,
    "as_good": _as_good,
}
