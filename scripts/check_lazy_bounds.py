#!/usr/bin/env python
"""How often the bound of lazy rounds is wrong, and what that costs, on tables of trained subsets.

    python scripts/check_lazy_bounds.py scripts/tables/*-seed0.npz

Greedy's lazy rounds skip a unit if its last known gain, plus so many of its standard errors
(`strategy.lazy`), is below what the best of the round gains already. That is safe if a unit's gain
never grows as the subset does, which nobody promises of networks. Here greedy plays, forward and
up to `--rounds` units, on tables in which every candidate is trained (scripts/judge_table.py), on
validation samples drawn anew (with replacement) many times. Rounds follow the best of *all*
candidates, so that each round is judged as if those before it had gone well.

Counted: units whose gain in a round exceeds the bound that they came with; rounds in which the best
candidate is skipped; and how much worse, by the 4,000 test images, what the lazy round chooses is
than what the full one does, over all rounds. Rounds in which the table lacks a candidate are left
out.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from replay_tables import SAMPLES, Scores

from layersearch.space import Subset

Bools = NDArray[np.bool_]


@dataclass
class Count:
    """What was seen, over all draws."""

    units: int = 0  # that came with a bound
    exceeded: int = 0  # of these, how many gained more
    rounds: int = 0  # after the first
    tried: int = 0  # units that lazy rounds tried
    wrong: int = 0  # rounds whose best was skipped
    losses: list[float] = field(default_factory=list)  # on the test images, one a round


def main() -> None:
    """Prints a line a table, allowance and number of rounds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--draws", type=int, default=100, help="of validation samples")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--lazy", type=float, nargs="+", default=[0.0, 1.0, 2.0])
    arguments = parser.parse_args()
    print(
        "| table | schedule | lazy | units over their bound | units tried | rounds whose best is "
        "skipped | loss on test, points |\n| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    )
    for path in arguments.tables:
        scores = Scores(path)
        for schedule, epochs in enumerate(scores.schedules.tolist()):
            for lazy in arguments.lazy:
                count = Count()
                for seed in range(arguments.draws):
                    play(scores, seed, count, schedule=schedule, lazy=lazy, most=arguments.rounds)
                losses = 100 * np.array(count.losses)
                print(
                    f"| {scores.name} | {epochs} | {lazy:g} "
                    f"| {count.exceeded} of {count.units} ({share(count.exceeded, count.units)}) "
                    f"| {share(count.tried, count.units)} "
                    f"| {count.wrong} of {count.rounds} ({share(count.wrong, count.rounds)}) "
                    f"| {losses.mean():.3f} ± {losses.std(ddof=1) / len(losses) ** 0.5:.3f} |"
                )


def share(part: int, whole: int) -> str:
    """As a percentage."""
    return f"{100 * part / whole:.0f}%" if whole else "none"


def play(scores: Scores, seed: int, count: Count, *, schedule: int, lazy: float, most: int) -> None:
    """Greedy's rounds on one draw of validation samples; adds to `count`."""
    drawn = np.random.default_rng(seed).integers(0, SAMPLES["validation"], SAMPLES["validation"])
    base, bounds = Subset(), dict[str, float]()
    for number in range(1, most + 1):
        rows = {
            unit: scores.rows.get(Subset((*base, unit)))
            for unit in scores.units
            if unit not in base
        }
        if not rows or base not in scores.rows or None in rows.values():
            return
        before = scores.rows[base].validation[schedule][drawn]
        gains, allowed = dict[str, float](), dict[str, float]()
        for unit, row in rows.items():
            assert row is not None
            mean, error = paired(row.validation[schedule][drawn], before)
            gains[unit], allowed[unit] = mean, mean + lazy * error
        best = max(gains, key=gains.__getitem__)
        if number > 1:
            tried = tried_lazily(gains, bounds)
            found = max(tried, key=gains.__getitem__)
            count.units += len(gains)
            count.exceeded += sum(gain > bounds[unit] for unit, gain in gains.items())
            count.tried += len(tried)
            count.rounds += 1
            count.wrong += gains[found] < gains[best]
            test = {unit: scores.test[Subset((*base, unit))] for unit in (found, best)}
            count.losses.append(test[best] - test[found])
        base, bounds = Subset((*base, best)), allowed


def paired(after: Bools, before: Bools) -> tuple[float, float]:
    """The mean gain on the same samples, and its standard error."""
    difference = after.astype(float) - before
    return float(difference.mean()), float(difference.std(ddof=1) / len(difference) ** 0.5)


def tried_lazily(gains: Mapping[str, float], bounds: Mapping[str, float]) -> list[str]:
    """The units that a lazy round tries: in the order of their bounds, while these may win."""
    tried, most = list[str](), -np.inf
    for unit in sorted(gains, key=lambda unit: -bounds[unit]):
        if bounds[unit] < most:
            break
        tried.append(unit)
        most = max(most, gains[unit])
    return tried


if __name__ == "__main__":
    main()
