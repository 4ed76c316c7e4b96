"""How the choice depends on greedy's ε and stop rule: replayed on recorded trials, no training.

As a rule's ε (or z) grows, its answer changes only where ε passes a gain of some round; so it is
enough to replay once between every two such gains. Where a rule would need a trial that was never
run, what is known stops there, and the table says so.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from layersearch.report.drawing import BLUE, GREEN, VERMILION
from layersearch.report.page.evidence import Evidence
from layersearch.report.page.replay import greedy_ways
from layersearch.space.subset import Subset
from layersearch.strategies.protocol import Ledger
from layersearch.strategies.rounds import Round
from layersearch.strategies.stop_rules import Gain, paired_gain


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A stop rule and what varies of it."""

    key: str
    words: str
    stop: str
    varied: str  # the option: min_gain, which is ε, or z
    fixed: Mapping[str, float]
    colour: str = ""


def variants(own: Mapping[str, Any]) -> list[Variant]:
    """Those of the page: ε under all three rules, and z under the paired one."""
    z = float(own.get("z", 1.0))
    return [
        Variant(
            key="paired",
            words=f"paired, z = {z:g}",
            stop="paired",
            varied="min_gain",
            fixed={"z": z},
            colour=BLUE,
        ),
        Variant(
            key="paper",
            words="the paper's rule",
            stop="paper",
            varied="min_gain",
            fixed={},
            colour=VERMILION,
        ),
        Variant(
            key="code",
            words="the paper's code",
            stop="official",
            varied="min_gain",
            fixed={},
            colour=GREEN,
        ),
        Variant(key="z", words="paired, ε = 0", stop="paired", varied="z", fixed={"min_gain": 0.0}),
    ]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """What a rule chooses from `low` up to `high`."""

    low: float
    high: float  # infinity: and beyond
    chosen: Subset | None
    missing: int  # trials of the next round that were never run; 0: the answer is final


def replay(
    evidence: Evidence,
    ledger: Ledger,
    variant: Variant,
    direction: str,
    own: Mapping[str, Any],
) -> list[Interval]:
    """What the rule chooses, by its ε (or z), from 0 upwards; empty where nothing is known."""
    kept = {name: own[name] for name in ("max_rounds", "start_score") if name in own}

    def rounds(value: float) -> list[Round]:
        options = {
            **kept,
            **variant.fixed,
            "direction": direction,
            "stop": variant.stop,
            "speculate": 0,
            variant.varied: value,
        }
        ways = greedy_ways(evidence, options)
        return ways[0].survey(ledger) if ways else []

    # The most permissive value goes furthest, and so meets every gain that could decide.
    furthest = rounds(1e9 if variant.stop == "official" else -1e9)
    if not furthest or not furthest[0].complete:
        return []
    met = thresholds(variant, furthest, ledger)
    edges = [0.0, *sorted({value for value in met if value > 0 and isfinite(value)}), inf]
    found = []
    for low, high in itertools.pairwise(edges):
        middle = (low + high) / 2 if isfinite(high) else low * 2 + 1.0
        chosen, missing = _outcome(rounds(middle))
        found.append(Interval(low=low, high=high, chosen=chosen, missing=missing))
    return merged(found)


def thresholds(variant: Variant, rounds: Sequence[Round], ledger: Ledger) -> Iterable[float]:
    """The values of ε (or z) at which a round's verdict turns."""
    best = -inf
    for number, played in enumerate(rounds, start=1):
        if played.winner is None or not played.complete:
            return
        score = ledger.score(played.winner)
        scored = played.base is not None and isfinite(ledger.score(played.base))
        if number == 1 and scored and played.base is not None:
            best = ledger.score(played.base)
        if variant.stop == "paper":
            yield from (score, score - best)  # the first round may be judged against 0
        elif variant.stop == "official":
            yield best - score
        elif scored and played.base is not None:
            gain = paired_gain(ledger.scores[played.winner], ledger.scores[played.base])
            yield gain.mean if variant.varied == "min_gain" else _ratio(gain)
        best = max(best, score)


def _ratio(gain: Gain) -> float:
    return gain.mean / gain.stderr if gain.stderr > 0 else inf


def _outcome(rounds: Sequence[Round]) -> tuple[Subset | None, int]:
    """The answer of the rounds that are complete, and what the next one lacks."""
    chosen = None
    for played in rounds:
        if not played.complete:
            return chosen, len(played.trials) - played.settled
        chosen = played.chosen
    return chosen, 0


def merged(intervals: Sequence[Interval]) -> list[Interval]:
    """Neighbours with the same outcome as one."""
    found: list[Interval] = []
    for one in intervals:
        last = found[-1] if found else None
        if (
            last is not None
            and last.chosen == one.chosen
            and bool(last.missing) == bool(one.missing)
        ):
            found[-1] = Interval(
                low=last.low, high=one.high, chosen=one.chosen, missing=last.missing
            )
        else:
            found.append(one)
    return found


def _same(a: Interval, b: Interval) -> bool:
    return a.chosen == b.chosen and bool(a.missing) == bool(b.missing)
