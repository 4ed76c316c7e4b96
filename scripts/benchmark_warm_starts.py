#!/usr/bin/env python
"""Do looks that go on from the last round's winner rank candidates better than fresh looks do?

    python scripts/benchmark_warm_starts.py search_spaces/resnet20_mnist.yaml \
        scripts/tables/resnet20_mnist-seed0.npz --seed 0

A round of greedy tries to add each unit to a base. A *cold* look trains a candidate for an epoch
from the pretrained weights. A *warm* one begins with the base as its whole schedule left it, head
included, and trains base and added unit for an epoch. Both are scored on the same validation
images, and held against the test accuracy of the candidates by the whole schedule, which a table
has (scripts/judge_table.py). The bases are the best single units by validation in the table.
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from replay_tables import Scores
from scipy.stats import spearmanr
from torch import Tensor

from layersearch.build.components import build_components
from layersearch.build.given import NOTHING_GIVEN
from layersearch.config import load_config
from layersearch.space import Subset, derive_seed
from layersearch.space.trial import WorkerPlace
from layersearch.subtuning import Recipe, open_workplace
from layersearch.subtuning.network import TunedNetwork
from layersearch.subtuning.optimisation import Optimisation, autocast
from layersearch.subtuning.training import (
    Workplace,
    evaluate,
    shuffled,
    starting_head,
    train,
)


def main() -> None:
    """Prints a row for each base."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("table", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the table")
    parser.add_argument("--bases", type=int, default=3)
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    config = load_config(
        arguments.config,
        [
            *(f"seed={arguments.seed}", "data.holdout=1000", "data.folds=null"),
            *arguments.override,
        ],
    )
    materials = build_components(config, NOTHING_GIVEN).materials
    workplace = open_workplace(materials, WorkerPlace(number=0, threads=1))
    (fold,) = materials.data.folds
    targets = workplace.labels[fold.validation]
    seed = derive_seed(materials.seed, "fold", fold.number)
    table = Scores(arguments.table)
    look = replace(materials.recipe, epochs=int(table.schedules[0]))

    def right(network: TunedNetwork) -> float:
        scores = evaluate(
            network,
            workplace.features,
            fold.validation,
            device=workplace.device,
            precision=workplace.precision,
        )
        return float((scores.argmax(1) == targets).float().mean())

    def looked_at(subset: Subset, begin: dict[str, Tensor]) -> float:
        return right(look_from(begin, workplace, subset, fold.train, look, seed=seed))

    singles = sorted(
        (Subset([unit]) for unit in table.units),
        key=lambda subset: -float(table.rows[subset].validation[-1].mean()),
    )
    print("| base | cold: Spearman | regret | warm: Spearman | regret |\n|" + " --- |" * 5)
    regrets: dict[str, list[float]] = {"cold": [], "warm": []}
    for base in singles[: arguments.bases]:
        winner = train(workplace, base, fold.train, materials.recipe, seed=seed).tuned_state()
        candidates = [Subset([*base, unit]) for unit in table.units if unit not in base]
        test = [table.test[candidate] for candidate in candidates]
        row = [str(base)]
        for name, begin in (("cold", {}), ("warm", winner)):
            scores = [looked_at(candidate, begin) for candidate in candidates]
            best = max(range(len(scores)), key=scores.__getitem__)
            regrets[name].append(100 * (max(test) - test[best]))
            row += [f"{spearmanr(scores, test).statistic:+.2f}", f"{regrets[name][-1]:.2f}"]
        print(f"| {' | '.join(row)} |", flush=True)
    means = {name: statistics.fmean(values) for name, values in regrets.items()}
    print(f"mean regret, points: cold {means['cold']:.2f}, warm {means['warm']:.2f}")


def look_from(
    begin: dict[str, Tensor],
    workplace: Workplace,
    subset: Subset,
    samples: Tensor,
    recipe: Recipe,
    *,
    seed: int,
) -> TunedNetwork:
    """As `train`, from the tuned weights `begin`, where the subset has them."""
    head = starting_head(workplace, samples, recipe.head, seed=seed)
    network = TunedNetwork(workplace.chain, subset, head, recipe=recipe, seed=seed)
    with torch.no_grad():
        for name, value in network.changing().items():
            known = begin.get(name if name.startswith("head.") else name.partition(".")[2])
            if known is not None:
                value.copy_(known)
    optimisation = Optimisation(
        network.tuned_parameters,
        recipe,
        steps_per_epoch=-(-len(samples) // recipe.batch_size),
        device=workplace.device,
        precision=workplace.precision,
    )
    for epoch in range(recipe.epochs):
        network.train()
        for batch in shuffled(samples, recipe.batch_size, seed=derive_seed(seed, "order", epoch)):
            values = workplace.features.values(network.first, batch, epoch)
            with autocast(workplace.device, workplace.precision):
                scores = network(*values)
            optimisation.step([F.cross_entropy(scores.float(), workplace.labels[batch])])
    return network.eval()


if __name__ == "__main__":
    main()
