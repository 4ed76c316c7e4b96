"""Whether trials keep the limits of a search, in words: the dashboard knows nothing of it.

It calls the trial with the best value the best, even if that may not be chosen.
"""

from collections.abc import Mapping
from typing import Any

from layersearch.report.dashboard.markdown import escaped
from layersearch.report.page.evidence import Evidence
from layersearch.space.records import TrialRecord, TrialState


def is_limited(evidence: Evidence) -> bool:
    """Whether the search has limits."""
    section = evidence.config.get("objective")
    limits = section.get("constraints") if isinstance(section, Mapping) else None
    space = evidence.made_with.get("space")
    hard = space.get("limits") if isinstance(space, Mapping) else None
    return bool(limits or hard) or any("feasible" in r.attributes for r in evidence.history)


def broken(record: TrialRecord) -> str:
    """The limits that a trial breaks, in words; '' if it breaks none that is known."""
    ruled_out = record.attributes.get("infeasible")
    if ruled_out:
        return escaped(ruled_out)
    if record.attributes.get("feasible") is not False:
        return ""
    over: Any = record.attributes.get("constraints")
    parts = [
        f"{escaped(name)} by {value:.4g}"
        for name, value in (over.items() if isinstance(over, Mapping) else ())
        if isinstance(value, int | float) and value > 0
    ]
    return "it breaks " + " and ".join(parts) if parts else "it breaks a limit"


def of_trial(record: TrialRecord, evidence: Evidence) -> str:
    """Whether the trial keeps every limit, in words."""
    if broken(record):
        return f"**no**: {broken(record)}"
    if not is_limited(evidence):
        return "yes: the search has no limits"
    if record.state is TrialState.COMPLETE:
        return "yes: it keeps every limit"
    return "not known: it was not scored"


def of_the_best(evidence: Evidence) -> str:
    """Whether what the dashboard calls the best trial may be chosen at all."""
    if not is_limited(evidence):
        return "the search has no limits"
    if len(evidence.metrics) > 1:
        out = sum(bool(broken(record)) for record in evidence.history)
        return f"{out} of {len(evidence.history)} trials break a limit; none of them is chosen"
    shown = _shown_best(evidence)
    if shown is None:
        return "no trial has a score"
    if not broken(shown):
        return f"yes: trial {shown.number} keeps every limit"
    best = evidence.scored[0] if evidence.scored else None
    instead = (
        "no trial with a score keeps every limit"
        if best is None
        else f"the best that keeps every limit is trial {best.number}"
    )
    return (
        f"**no**: trial {shown.number}, which the dashboard calls the best, may not be chosen "
        f"({broken(shown)}); {instead}"
    )


def _shown_best(evidence: Evidence) -> TrialRecord | None:
    """The trial of the best value among all that are complete to Optuna."""
    complete = [r for r in evidence.history if r.score is not None]
    return max(complete, key=lambda r: (r.score or 0.0, -r.number), default=None)
