"""Which trials belong to which round of a greedy search, in words."""

from collections.abc import Mapping

from layersearch.report.dashboard.markdown import code
from layersearch.report.page.evidence import Evidence
from layersearch.report.page.path import change
from layersearch.report.page.replay import greedy_options, greedy_ways, ledger_of, rounds_played
from layersearch.space.subset import Subset
from layersearch.strategies.rounds import Round


def rounds_of(evidence: Evidence) -> Mapping[Subset, str]:
    """Subset -> its part in the search's rounds; empty where the search was not greedy."""
    options = greedy_options(evidence)
    if options is None:
        return {}
    found: dict[Subset, str] = {}
    ways, ledger = greedy_ways(evidence, options), ledger_of(evidence)
    for way in ways:
        for played in rounds_played(way, ledger):
            if played.number == 1 and played.base is not None:
                found.setdefault(played.base, "what the first round builds on")
            for subset in played.candidates:
                found[subset] = _part(subset, played, way.forward if len(ways) > 1 else None)
    return found


def _part(subset: Subset, played: Round, forward: bool | None) -> str:
    which = {None: "", True: ", forward", False: ", backward"}[forward]
    what = f"round {played.number}{which}: {code(change(played.base, subset))}"
    if played.base:
        what += f" to {code(played.base)}"
    if not played.complete:
        return f"{what} (the round has not ended)"
    if subset != played.winner:
        return f"{what}, one of {len(played.candidates)} candidates"
    taken = "taken" if played.chosen == subset else "not taken"
    return f"{what}, the best of {len(played.candidates)} candidates, {taken}"
