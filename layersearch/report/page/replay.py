"""Greedy search played again over a study's recorded trials: nothing is trained.

`Greedy` is a pure function of a history, so with another rule it shows what it would have chosen,
as far as the recorded trials tell: where it would need one that is not there, it says so.
"""

from collections.abc import Mapping
from typing import Any

from layersearch.errors import LayersearchError
from layersearch.report.page.evidence import Evidence
from layersearch.space.search_space import SearchSpace
from layersearch.strategies.greedy import Greedy
from layersearch.strategies.greedy_both import GreedyBothWays
from layersearch.strategies.make import OPTIONS, make_strategy
from layersearch.strategies.protocol import MAX_FAILURES, Ledger
from layersearch.strategies.rounds import Round


def greedy_options(evidence: Evidence) -> dict[str, Any] | None:
    """The options of the study's greedy search; None if it was another strategy's."""
    section = evidence.config.get("strategy")
    if not isinstance(section, Mapping) or section.get("name") != "greedy":
        return None
    options = {k: v for k, v in section.items() if k in OPTIONS["greedy"] and v is not None}
    if evidence.look is None:
        options.pop("lazy", None)
    else:
        options.setdefault("z", 0.0)
    return {k: v for k, v in options.items() if k not in ("look_epochs", "finalists")}


def greedy_ways(evidence: Evidence, options: Mapping[str, Any]) -> tuple[Greedy, ...]:
    """Greedy with these options on the study's space: one, or forward and backward.

    Empty where the study does not say its space, or the space leaves greedy nothing to begin with.
    """
    space = evidence.space
    if not isinstance(space, SearchSpace):
        return ()
    try:
        made = make_strategy(
            "greedy", options, space=space, seed=0, max_failures=max_failures(evidence)
        )
    except LayersearchError:
        return ()
    if isinstance(made, GreedyBothWays):
        return made.ways
    return (made,) if isinstance(made, Greedy) else ()


def max_failures(evidence: Evidence) -> int:
    """How often a subset may fail before it is lost."""
    allowed = (evidence.config.get("execution") or {}).get("max_failures")
    return allowed if isinstance(allowed, int) and allowed > 0 else MAX_FAILURES


def ledger_of(evidence: Evidence) -> Ledger:
    """The fate of each subset."""
    return Ledger(evidence.history, max_failures=max_failures(evidence))


def rounds_played(greedy: Greedy, ledger: Ledger) -> list[Round]:
    """The rounds that have begun: those that ended, and the current one if it has a score."""
    rounds = []
    for played in greedy.survey(ledger):
        if played.settled or played.winner is not None:
            rounds.append(played)
        if not played.complete:
            break
    return rounds
