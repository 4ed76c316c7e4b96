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
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from replay_tables import Game, Scores, drawn_samples

from layersearch.space import Subset
from layersearch.strategies.lazy import tried_units
from layersearch.strategies.stop_rules import paired_gain


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
    game = Game(scores, drawn_samples(seed), seed)
    whole = schedule == len(scores.schedules) - 1
    train = partial(game.train, number=0, look=None if whole else int(scores.schedules[schedule]))
    base, bounds = Subset(), dict[str, float]()
    for number in range(1, most + 1):
        candidates = {u: Subset((*base, u)) for u in scores.units if u not in base}
        if not candidates or not {base, *candidates.values()} <= scores.rows.keys():
            return
        before = train(base)
        paired = {unit: paired_gain(train(subset), before) for unit, subset in candidates.items()}
        gains = {unit: gain.mean for unit, gain in paired.items()}
        allowed = {unit: gain.mean + lazy * gain.stderr for unit, gain in paired.items()}
        best = max(gains, key=gains.__getitem__)
        if number > 1:
            tried = tried_units(gains, bounds)
            found = max(tried, key=gains.__getitem__)
            count.units += len(gains)
            count.exceeded += sum(gain > bounds[unit] for unit, gain in gains.items())
            count.tried += len(tried)
            count.rounds += 1
            count.wrong += gains[found] < gains[best]
            test = {unit: scores.test[candidates[unit]] for unit in (found, best)}
            count.losses.append(test[best] - test[found])
        base, bounds = candidates[best], allowed


if __name__ == "__main__":
    main()
