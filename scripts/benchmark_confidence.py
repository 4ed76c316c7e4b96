#!/usr/bin/env python
"""Whether what a search says of how sure it is holds, on tables of subsets that were all trained.

    python scripts/benchmark_confidence.py runs/tables/*.npz --draws 300

A table holds which of N test samples each subset of ten units got right (`scripts/judge_table.py`).
Here these N samples are the population: validation samples are drawn from them again and again,
a search is replayed on them, and what it says is held against all N. The search is a greedy one;
with --exhaustive every subset of the table is compared as well, which takes seconds a draw. The
cheapest subset is the one of fewest parameters, of ResNet-20.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layersearch.backbones import build_chain, load_backbone
from layersearch.objectives import Best, paired_difference

Bools = NDArray[np.bool_]
PLAIN = 1.96  # standard errors of an interval that knows of no choice


def main() -> None:
    """Prints a line a table and search."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--draws", type=int, default=300, help="of validation samples")
    parser.add_argument("--samples", type=int, default=1000, help="validation samples")
    parser.add_argument("--exhaustive", action="store_true", help="compare all subsets as well")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for path in arguments.tables:
        with np.load(path, allow_pickle=False) as table:
            subsets = table["subsets"].tolist()
            right = np.unpackbits(table["test"], axis=1).astype(np.bool_)
            costs = parameters(subsets, table["units"].tolist())
            units = len(table["units"])
        searches = ["greedy", "exhaustive"] if arguments.exhaustive else ["greedy"]
        for search in searches:
            rng = np.random.default_rng(arguments.seed)
            found = defaultdict[str, list[float]](list)
            for _ in range(arguments.draws):
                drawn = right[:, rng.integers(0, right.shape[1], arguments.samples)]
                pick, tried = _search(search, subsets, drawn, units)
                said = judged(drawn, right.mean(axis=1), pick, tried, subsets, costs)
                for name, value in said.items():
                    found[name].append(value)
            print(f"{path.stem}, {search}, {arguments.draws} draws of {arguments.samples}:")
            for name, values in found.items():
                print(f"  {name}: {np.mean(values):.4g}")


def parameters(subsets: Sequence[int], units: Sequence[str]) -> NDArray[np.int64]:
    """Those (K,) that each subset of ResNet-20's units tunes, the head not among them."""
    chain = build_chain(load_backbone("cifar_resnet20", weights=None))
    size = [chain.unit(name).numel for name in units]
    return np.array([sum(n for u, n in enumerate(size) if bits >> u & 1) for bits in subsets])


def judged(
    drawn: Bools,
    truth: NDArray[np.float64],
    pick: int,
    tried: Sequence[int],
    subsets: Sequence[int],
    costs: NDArray[np.int64],
) -> Mapping[str, float]:
    """What one replayed search says, held against the truth.

    Args:
        drawn: (K, n) which of the validation samples each subset got right.
        truth: (K,) their true scores.
        pick: the chosen subset's row.
        tried: rows that the search scored.
        subsets: the bits of each row.
        costs: (K,) of each row.
    """
    others = [row for row in tried if row != pick]
    rows = [pick, *sorted(others, key=lambda row: -drawn[row].mean())]
    best = Best(drawn[rows].mean(axis=1), correct=list(drawn[rows]))
    good = best.good
    assert good is not None
    true = truth[rows]
    told: dict[str, Any] = {
        "subsets compared": len(rows),
        "as good": good.sum() - 1,
        "the best is among them": good[true == true.max()].any(),
    }
    cheapest = min(np.flatnonzero(good), key=lambda place: costs[rows[place]])
    told["points that the cheapest of them is worse"] = 100 * (true[0] - true[cheapest])
    told["its share of the chosen one's parameters"] = costs[rows[cheapest]] / max(1, costs[pick])
    probe = rows.index(subsets.index(0))
    for name, other in (("the runner-up", 1), ("the linear probe", probe)):
        interval = best.interval(0, other)
        if other == 0 or interval is None:
            continue
        difference = true[0] - true[other]
        told[f"interval against {name} holds"] = interval.low <= difference <= interval.high
        mean, error = paired_difference(drawn[rows[0]], drawn[rows[other]])
        told[f"plain interval against {name} holds"] = abs(mean - difference) <= PLAIN * error
    return {name: float(value) for name, value in told.items()}


def _search(
    search: str, subsets: Sequence[int], drawn: Bools, units: int
) -> tuple[int, Sequence[int]]:
    """The row that a search picks, and those that it tries."""
    scores = drawn.mean(axis=1)
    if search == "exhaustive":
        return int(scores.argmax()), range(len(subsets))
    rows = {bits: row for row, bits in enumerate(subsets)}
    base = rows[0]
    tried = [base]
    while True:
        wanted = [subsets[base] | 1 << unit for unit in range(units)]
        round_ = [rows[bits] for bits in wanted if bits != subsets[base] and bits in rows]
        if not round_:
            return base, tried
        tried += round_
        winner = max(round_, key=lambda row: scores[row])
        gain, error = paired_difference(drawn[winner], drawn[base])
        if gain <= max(0.0, error):  # greedy's rule `paired`, with z = 1
            return base, tried
        base = winner


if __name__ == "__main__":
    main()
