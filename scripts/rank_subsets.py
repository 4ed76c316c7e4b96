#!/usr/bin/env python
"""How well cheap scores rank the subsets of a backbone, judged by a table of what they give.

    python scripts/rank_subsets.py search_spaces/resnet20_mnist.yaml \
        runs/tables/resnet20_mnist-seed0.npz --seed 0 -o recipe.precision=bf16 -o recipe.epochs=5

The table is one of `scripts/judge_table.py`; the options must be those that it was made with. A
score sees the training and the validation images, never the table's test side. For each it prints
the rank correlation with test accuracy (Spearman: all subsets, single units, up to three units;
Kendall: all), and how far below the table's best subset on the test images its first choice is, and
the best of its first 3 and 5 by the whole schedule's validation. Scores:

controls   parameter count, depth, size, chance: what anything must beat
looks      a training of one epoch of each unit alone, and their gains summed
merged     the deltas of these trainings switched on together in one network, without training it;
           its head: all head deltas summed, or fitted anew to its features by ridge regression
one shot   one training, each batch with a random subset switched on; then every subset by switching
gradients  of all units by one backward pass at the linear probe, summed over the units of a subset

Prices are in epochs of full finetuning: one is a forward and a backward pass over the training
images through all stages, three times a forward pass.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr
from switched_network import Switched, features
from torch import Tensor, nn

from layersearch.build.components import build_components
from layersearch.build.given import NOTHING_GIVEN
from layersearch.config import load_config
from layersearch.space import Subset, derive_seed
from layersearch.space.trial import WorkerPlace
from layersearch.subtuning import Recipe, Workplace, open_workplace, train
from layersearch.subtuning.optimisation import Optimisation, autocast
from layersearch.subtuning.training import EVALUATION_VIEW, shuffled, starting_head

RIDGE = 0.03  # of the mean squared feature
MOST_UNITS = 3  # of the subsets that are switched on
EMPTY = 0.1  # share of a one-shot training's batches with no unit on
Bits = int  # bit u: unit u is tuned


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a score says of subsets, the higher the better, and its price."""

    name: str
    values: Mapping[Bits, float]
    epochs: float = 0.0
    seconds: float = 0.0  # of one processor


class Table:
    """A table of `scripts/judge_table.py`: R subsets, V validation and T test samples."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            self.units = [str(unit) for unit in file["units"]]
            self.subsets = [int(bits) for bits in file["subsets"]]
            counts = np.bitwise_count(file["validation"]).sum(2)  # (R, schedules)
            self.test = np.bitwise_count(file["test"]).sum(1).astype(float)  # (R,)
        self.looks = dict(zip(self.subsets, counts[:, 0].tolist(), strict=True))
        self.whole = counts[:, -1].astype(float)
        self.on = np.array(
            [[bits >> unit & 1 for unit in range(len(self.units))] for bits in self.subsets],
            dtype=float,
        )


def main() -> None:
    """Prints the table of scores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", help="the search file: backbone, data and recipe")
    parser.add_argument("table", type=Path, help="of scripts/judge_table.py")
    parser.add_argument("--seed", type=int, default=0, help="that the table was made with")
    parser.add_argument("--holdout", type=int, default=1000, help="validation images")
    parser.add_argument("--test", type=int, default=4000, help="test images")
    parser.add_argument("--one-shot", type=int, nargs="*", default=[5, 10], help="epochs of each")
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(arguments.table)
    config = load_config(
        arguments.config,
        [
            f"seed={arguments.seed}",
            f"data.holdout={arguments.holdout}",
            "data.folds=null",
            f"data.test_samples={arguments.test}",
            *arguments.override,
        ],
    )
    materials = build_components(config, NOTHING_GIVEN).materials
    workplace = open_workplace(materials, WorkerPlace(number=0, threads=1))
    (fold,) = materials.data.folds
    bench = Bench(
        workplace=workplace,
        recipe=materials.recipe,
        training=fold.train,
        validation=fold.validation,
        seed=derive_seed(materials.seed, "fold", fold.number),
    )
    assert table.units == [unit.name for unit in workplace.chain.units]
    print(f"{arguments.table.stem}: {len(table.subsets)} subsets; {arguments.test} test images")
    print("\n| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    for score in every_score(table, bench, one_shot=arguments.one_shot):
        print(judged(score, table, arguments.test), flush=True)


def every_score(table: Table, bench: "Bench", *, one_shot: Iterable[int]) -> Iterator[Score]:
    """The controls, then the scores."""
    yield from controls(table, [unit.numel for unit in bench.workplace.chain.units])
    yield from from_looks(table)
    yield from merged(table, bench)
    for epochs in one_shot:
        yield from trained_at_once(table, bench, epochs=epochs)
    yield from gradients(table, bench)


# --- Judging ------------------------------------------------------------------------------------

COLUMNS = (
    "score",
    "Spearman, all",
    "one unit",
    "up to 3",
    "Kendall, all",
    "regret of the first",
    "of 3",
    "of 5",
    "epochs",
    "seconds",
)


def judged(score: Score, table: Table, tests: int) -> str:
    """A score's row."""
    values = np.array([score.values.get(bits, np.nan) for bits in table.subsets])
    known = np.isfinite(values)
    size = table.on.sum(1)
    order = np.flatnonzero(known)[np.argsort(-values[known], kind="stable")]
    regrets = [
        100 * (table.test.max() - table.test[max(order[:k], key=lambda i: table.whole[i])]) / tests
        for k in (1, 3, 5)
    ]
    cells = [
        _correlation(spearmanr, values, table, known),
        _correlation(spearmanr, values, table, known & (size == 1)),
        _correlation(spearmanr, values, table, known & (size <= MOST_UNITS)),
        _correlation(kendalltau, values, table, known),
        *(f"{regret:.2f}" for regret in regrets),
        f"{score.epochs:.1f}",
        f"{score.seconds:.1f}",
    ]
    return f"| {score.name} | {' | '.join(cells)} |"


def _correlation(
    measure: object, values: NDArray[np.float64], table: Table, which: NDArray[np.bool_]
) -> str:
    assert callable(measure)
    if len(np.unique(values[which])) < 2:
        return ""
    return f"{measure(values[which], table.test[which])[0]:+.2f}"


# --- Scores that train nothing of their own -------------------------------------------------------


def controls(table: Table, numels: list[int]) -> Iterator[Score]:
    """What takes no look at the data."""
    units = np.arange(len(numels))
    size = np.maximum(1, table.on.sum(1))
    by_name = {
        "fewest parameters": -table.on @ np.array(numels),
        "most parameters": table.on @ np.array(numels),
        "earliest on average": -(table.on @ units) / size,
        "latest on average": table.on @ units / size,
        "most units": table.on.sum(1),
        "chance": np.random.default_rng(0).random(len(size)),
    }
    for name, values in by_name.items():
        yield Score(name=name, values=dict(zip(table.subsets, values.tolist(), strict=True)))


def from_looks(table: Table) -> Iterator[Score]:
    """One epoch of every subset, for comparison; and of the single units, their gains summed."""
    yield Score(name="one epoch of every subset", values=table.looks, epochs=len(table.looks))
    singles = range(len(table.units))
    gains = np.array([table.looks[1 << unit] - table.looks[0] for unit in singles])
    for name, values in {
        "gains of single units summed": table.on @ gains,
        "the same over the root of the size": table.on
        @ gains
        / np.sqrt(np.maximum(1, table.on.sum(1))),
        "the largest of them": np.where(table.on > 0, gains, -np.inf).max(1),
    }.items():
        found = dict(zip(table.subsets, values.tolist(), strict=True))
        yield Score(name=name, values=found, epochs=len(gains) + 1)


# --- Scores by switching --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What scores are made with."""

    workplace: Workplace
    recipe: Recipe
    training: Tensor  # (n,) indices of samples
    validation: Tensor  # (m,)
    seed: int  # of a training

    @property
    def epoch(self) -> int:
        """Multiply-adds of an epoch of full finetuning."""
        return 3 * sum(self.workplace.chain.multiply_adds) * len(self.training)

    def targets(self, samples: Tensor) -> NDArray[np.int64]:
        """Their classes."""
        labels: NDArray[np.int64] = self.workplace.labels.cpu()[samples].numpy()
        return labels


def merged(table: Table, bench: Bench) -> Iterator[Score]:
    """The deltas of one-epoch trainings of single units, added up in one network."""
    began = time.process_time()
    workplace, chain = bench.workplace, bench.workplace.chain
    look = replace(bench.recipe, epochs=1, validate_every=1)
    trained = [
        train(workplace, Subset(names), bench.training, look, seed=bench.seed)
        for names in [[], *([unit.name] for unit in chain.units)]
    ]
    alone = [flat(network.head) for network in trained]
    switched = Switched(chain, copy.deepcopy(trained[0].head), look, seed=bench.seed)
    for network in trained[1:]:
        for name, value in network.changing().items():
            if name.startswith("units."):
                switched.tuned[name.removeprefix("units.")].data.copy_(value.data)

    def set_head(bits: int) -> None:
        on = [alone[u + 1] - alone[0] for u in range(len(chain.units)) if bits >> u & 1]
        nn.utils.vector_to_parameters(sum(on, alone[0]), switched.head.parameters())

    seconds = time.process_time() - began
    found = switched_scores(table, bench, switched, set_head)
    for what, values, epochs, took in found:
        name = f"deltas of single units merged, {what}"
        yield Score(name=name, values=values, epochs=len(trained) + epochs, seconds=seconds + took)


def trained_at_once(table: Table, bench: Bench, *, epochs: int) -> Iterator[Score]:
    """One training with up to three random units on in each batch, a tenth of them with none."""
    began = time.process_time()
    workplace, seed = bench.workplace, bench.seed
    recipe = replace(bench.recipe, epochs=epochs)
    head = starting_head(workplace, bench.training, recipe.head, seed=seed)
    switched = Switched(workplace.chain, head, recipe, seed=seed)
    optimisation = Optimisation(
        switched.network.tuned_parameters,
        recipe,
        steps_per_epoch=-(-len(bench.training) // recipe.batch_size),
        device=workplace.device,
        precision=workplace.precision,
    )
    random = np.random.default_rng(seed % 2**32)
    for epoch in range(epochs):
        switched.network.train()
        order = derive_seed(seed, "order", epoch)
        for batch in shuffled(bench.training, recipe.batch_size, seed=order):
            size = int(random.integers(1, MOST_UNITS + 1)) if random.random() > EMPTY else 0
            units = random.choice(len(workplace.chain.units), size, replace=False)
            optimisation.step(
                [loss_of(switched, workplace, sum(1 << int(u) for u in units), batch)]
            )
    seconds = time.process_time() - began
    for what, values, spent, took in switched_scores(table, bench, switched, lambda _: None):
        yield Score(
            name=f"one shot, {epochs} epochs, {what}",
            values=values,
            epochs=epochs + spent,
            seconds=seconds + took,
        )


def loss_of(switched: Switched, workplace: Workplace, bits: int, batch: Tensor) -> Tensor:
    """The mean cross-entropy of a subset on a batch (B,)."""
    values = workplace.features.values(switched.first(bits), batch, EVALUATION_VIEW)
    with autocast(workplace.device, workplace.precision):
        scores = switched(bits, *values)
    return F.cross_entropy(scores.float(), workplace.labels[batch.to(workplace.device)])


def switched_scores(
    table: Table, bench: Bench, switched: Switched, set_head: Callable[[int], None]
) -> list[tuple[str, dict[int, float], float, float]]:
    """By switching: name, values by subset, epochs and seconds that scoring took."""
    began = time.process_time()
    subsets = [bits for bits in table.subsets if bits.bit_count() <= MOST_UNITS]
    samples = torch.cat([bench.training, bench.validation])
    trained = len(bench.training)
    shares = {"accuracy": 0.5, "log loss": 0.5, "head refitted, squared error": 1.0}
    found: dict[str, dict[int, float]] = {name: {} for name in shares}
    spent = 0
    old, new = bench.targets(bench.training), bench.targets(bench.validation)
    for bits, entering, more in features(switched, bench.workplace, subsets, samples):
        spent += more
        set_head(bits)
        with torch.no_grad():
            scores = switched.head(entering[trained:].to(bench.workplace.device)).float().cpu()
        found["accuracy"][bits] = float((scores.argmax(1).numpy() == new).mean())
        found["log loss"][bits] = -float(F.cross_entropy(scores, torch.from_numpy(new)))
        error = ridge_error(entering[:trained].numpy(), old, entering[trained:].numpy(), new)
        found["head refitted, squared error"][bits] = -error
    seconds = time.process_time() - began
    # Only what refits the head needs the training images' features.
    return [
        (name, values, shares[name] * spent / bench.epoch, shares[name] * seconds)
        for name, values in found.items()
    ]


def ridge_error(
    x: NDArray[np.float32],  # (n, F)
    y: NDArray[np.int64],  # (n,)
    others: NDArray[np.float32],  # (m, F)
    targets: NDArray[np.int64],  # (m,)
) -> float:
    """Mean squared error on others of the classes, one-hot, by ridge regression on x."""
    hot = np.eye(int(max(y.max(), targets.max())) + 1)
    mean, centre = x.mean(0), hot[y].mean(0)
    x = x - mean
    gram = x.T @ x
    penalty = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = np.linalg.solve(gram + penalty, x.T @ (hot[y] - centre))
    guesses = (others - mean) @ weights + centre
    return float(((guesses - hot[targets]) ** 2).sum(1).mean())


def flat(head: nn.Module) -> Tensor:
    """All parameters of a head in a row."""
    return nn.utils.parameters_to_vector(head.parameters()).detach().clone()


# --- Scores by one backward pass ------------------------------------------------------------------


def gradients(table: Table, bench: Bench) -> Iterator[Score]:
    """Of the loss at the linear probe, by every unit's parameters; summed over a subset's units.

    Auto-RGN is Lee et al.'s relative gradient norm (2022, arXiv 2210.11466); the alignment is what
    a signed step of the training gradient gains of the validation loss, to first order.
    """
    began = time.process_time()
    workplace, chain = bench.workplace, bench.workplace.chain
    head = starting_head(workplace, bench.training, bench.recipe.head, seed=bench.seed)
    switched = Switched(chain, head, bench.recipe, seed=bench.seed)
    switched.eval()
    training = _gradients(bench, switched, bench.training)
    seconds = time.process_time() - began
    validation = _gradients(bench, switched, bench.validation)
    both = time.process_time() - began
    units = len(chain.units)
    norm, size, fisher, gain = (np.zeros(units) for _ in range(4))
    for u, unit in enumerate(chain.units):
        for name in unit.parameters:
            mean = training[name].mean(0)
            norm[u] += mean.square().sum().item()
            size[u] += switched.tuned[name].detach().square().sum().item()
            fisher[u] += training[name].square().mean(0).sum().item()
            gain[u] += (mean.sign() * validation[name].mean(0)).sum().item()
    for name, values, epochs, took in [
        ("relative gradient norm (Auto-RGN)", np.sqrt(norm / size), 1.0, seconds),
        ("gradient norm", np.sqrt(norm), 1.0, seconds),
        ("Fisher information", fisher, 1.0, seconds),
        ("alignment with the validation gradient", gain, 2.0, both),
    ]:
        scores = dict(zip(table.subsets, (table.on @ values).tolist(), strict=True))
        yield Score(name=name, values=scores, epochs=epochs, seconds=took)


def _gradients(bench: Bench, switched: Switched, samples: Tensor) -> dict[str, Tensor]:
    """By each parameter, of every batch: (batches, ...)."""
    everything = 2 ** len(switched.chain.units) - 1
    found: dict[str, list[Tensor]] = {name: [] for name in switched.tuned}
    for batch in torch.split(samples, bench.recipe.batch_size):
        loss = loss_of(switched, bench.workplace, everything, batch)
        by_parameter = torch.autograd.grad(loss, list(switched.tuned.values()))
        for values, gradient in zip(found.values(), by_parameter, strict=True):
            values.append(gradient)
    return {name: torch.stack(values) for name, values in found.items()}


if __name__ == "__main__":
    main()
