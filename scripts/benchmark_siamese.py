#!/usr/bin/env python
"""Is a Siamese head better than a plain one? The same subsets, seeds and images, tested.

    python scripts/benchmark_siamese.py                     # a quarter of an hour on one core
    python scripts/benchmark_siamese.py --seeds 2 --test 500

For each task and subset: trained on all training samples with each head and the same seeds, and
scored on the test split. Differences are paired by seed; their ± is one standard error of the mean
over seeds. The tasks are searches of `search_spaces/`, so they need the same files.
"""

import argparse
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from layersearch.build.components import Components, build_components
from layersearch.build.given import Given
from layersearch.config import load_config
from layersearch.space import Subset
from layersearch.space.trial import WorkerPlace
from layersearch.subtuning import (
    Contender,
    Recipe,
    Verdict,
    judge,
    known_costs,
    open_test_split,
    open_workplace,
)

SPACES = Path(__file__).parents[1] / "search_spaces"
SUBSETS = (
    "layer1.1",
    "layer2.0",
    "layer3.1",
    "layer1.1 layer3.2",
    "layer2.0 layer2.1 layer2.2",
    "all",
)
HEAD = ["subset", "plain", "Siamese", "difference, points", "added parameters", "training, s"]


def main() -> None:
    """Measures all tasks and prints their tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", nargs="*", default=["cifar10_jpeg", "mnist"])
    parser.add_argument("--train", type=int, nargs="*", default=[200, 1000], help="samples")
    parser.add_argument("--test", type=int, default=4000, help="samples")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for task in arguments.tasks:
        for train in arguments.train:
            overrides = [
                f"data.train_samples={train}",
                f"data.test_samples={arguments.test}",
                "execution.device=cpu",
                *arguments.override,
            ]
            config = load_config(SPACES / f"resnet20_{task}.yaml", overrides)
            print(f"\n{task}, {train} training samples\n", flush=True)
            print(_line(HEAD), _line(["---"] * len(HEAD)), sep="\n", flush=True)
            for row in rows(build_components(config, Given()), arguments.seeds):
                print(_line(row), flush=True)


def rows(parts: Components, seeds: int) -> Iterator[list[str]]:
    """A line of the table for each subset."""
    materials = parts.materials
    workplace = open_workplace(materials, WorkerPlace(number=0, threads=1))
    samples, test = open_test_split(materials, workplace, purpose="a comparison of heads")

    def verdict(subset: Subset, recipe: Recipe) -> Verdict:
        return judge(
            workplace,
            Contender(name="contender", subset=subset, recipe=recipe),
            samples=materials.data.final_train,
            test=test,
            test_labels=samples.labels,
            objective=materials.objective,
            seeds=seeds,
            seed=materials.seed,
        )

    def added(subset: Subset, recipe: Recipe) -> str:
        classes = len(materials.data.classes)
        costs = known_costs(workplace.chain, subset, classes, replace(materials, recipe=recipe))
        return f"{costs['added_parameters']:,.0f}"

    heads = [replace(materials.recipe, siamese=siamese) for siamese in (False, True)]
    for names in SUBSETS:
        subset = parts.space.subset([names] if names == "all" else names.split())
        plain, both = (verdict(subset, recipe) for recipe in heads)
        gains = [b - a for a, b in zip(plain.scores, both.scores, strict=True)]
        yield [
            "everything" if names == "all" else str(subset),
            _score(plain.scores),
            _score(both.scores),
            _score(gains, sign="+"),
            " → ".join(added(subset, recipe) for recipe in heads),
            f"{plain.seconds:.1f} → {both.seconds:.1f}",
        ]


def _score(scores: Sequence[float], *, sign: str = "") -> str:
    """'87.3 ± 0.4', in per cent or points."""
    error = math.nan
    if len(scores) > 1:
        error = statistics.stdev(scores) / math.sqrt(len(scores))
    return f"{100 * statistics.fmean(scores):{sign}.2f} ± {100 * error:.2f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
