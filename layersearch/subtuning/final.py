"""What the chosen subset is worth on the test split, retrained on all training samples.

The baselines are trained in the same way: the linear probe (no unit tuned), full finetuning (all
units, head started at random, as in the paper) and LP-FT (all units, head started from the linear
probe; Kumar et al. 2022, arXiv 2202.10054). Their heads are plain ones, even where that of the
chosen subset is Siamese: they are what one would do without any of this.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from layersearch.objectives import Objective, step_multiply_adds, training_flops
from layersearch.space import Subset, derive_seed
from layersearch.subtuning.features import FeatureStore
from layersearch.subtuning.network import stage_multiply_adds
from layersearch.subtuning.recipe import HeadRecipe, Recipe
from layersearch.subtuning.training import Workplace, evaluate, train

BASELINES = ("linear_probe", "full_finetune", "lp_ft")
RUNNER_UP = "runner_up"  # of the search, if it is to be tested as well


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A subset and recipe to retrain and test under a name."""

    name: str
    subset: Subset
    recipe: Recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class Retraining:
    """What came of retraining a contender once; N: test samples."""

    score: float
    logits: Tensor  # (N, C) float32 on the CPU
    tuned: Mapping[str, Tensor]  # of the first seed: tuned parameters, norm buffers, head
    seconds: float


class Kept(Protocol):
    """Where finished retrainings are kept, so that an interrupted comparison goes on."""

    def find(self, contender: Contender, number: int) -> Retraining | None:
        """The retraining of a contender with seed `number`, if it was finished before."""

    def keep(self, contender: Contender, number: int, retraining: Retraining) -> None:
        """Takes a finished one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """The test scores of one contender, a seed each; N: test samples."""

    name: str
    subset: Subset
    scores: tuple[float, ...]
    logits: tuple[Tensor, ...]  # (N, C) float32 on the CPU, a seed each
    tuned: Mapping[str, Tensor]  # of the first seed: tuned parameters, norm buffers, head
    epochs: int  # of one retraining
    flops: float  # of one retraining
    seconds: float  # of one retraining, the mean over seeds

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.scores)

    @property
    def stderr(self) -> float:
        """Standard error of the mean over the seeds; NaN for a single one.

        It tells how much retraining matters, not how much the choice of test samples does.
        """
        if len(self.scores) < 2:
            return math.nan
        return statistics.stdev(self.scores) / math.sqrt(len(self.scores))


def contenders(
    chosen: Subset,
    recipe: Recipe,
    *,
    everything: Subset,
    baselines: Sequence[str] = BASELINES,
    depth: int | None = None,
    runner_up: Contender | None = None,
) -> list[Contender]:
    """The chosen subset and the baselines asked for, each with its recipe.

    Args:
        chosen: what the search found.
        recipe: of the search, with the sampled numbers if there were any.
        everything: all units of the backbone.
        baselines: names out of BASELINES, and RUNNER_UP.
        depth: of the baselines' heads; None: as in the recipe.
        runner_up: what RUNNER_UP stands for; None: there is none, and it is left out.
    """
    depth = recipe.head.depth if depth is None else depth
    plain = replace(recipe, siamese=False)
    random_head = replace(plain, head=HeadRecipe(depth=depth, start="random"))
    fitted_head = replace(plain, head=HeadRecipe(depth=depth, start="linear_probe"))
    known = {
        "linear_probe": Contender(name="linear_probe", subset=Subset(), recipe=plain),
        "full_finetune": Contender(name="full_finetune", subset=everything, recipe=random_head),
        "lp_ft": Contender(name="lp_ft", subset=everything, recipe=fitted_head),
    }
    if runner_up is not None and (runner_up.subset or "linear_probe" not in baselines):
        known[RUNNER_UP] = replace(runner_up, name=RUNNER_UP)
    first = Contender(name="chosen", subset=chosen, recipe=recipe)
    return [first, *(known[name] for name in baselines if name in known)]


def judge(
    workplace: Workplace,
    contender: Contender,
    *,
    samples: Tensor,
    test: FeatureStore,
    test_labels: Tensor,
    objective: Objective,
    seeds: int,
    seed: int,
    after_seed: Callable[[str, int, float], None] | None = None,
    after_epoch: Callable[[str, int, int], None] | None = None,
    kept: Kept | None = None,
    costs: Mapping[str, float] | None = None,
) -> Verdict:
    """Retrains a contender `seeds` times on the samples (n,) and scores it on the test split.

    Seeds are shared between contenders: run s of one meets the batches and the head of run s of
    another.

    Args:
        workplace: backbone, training features and labels.
        contender: what to train.
        samples: indices of the training samples.
        test: features of the test images, in float32: what a saved task will compute.
        test_labels: (N,) int64 on the CPU.
        objective: gives the score.
        seeds: retrainings.
        seed: of the whole search.
        after_seed: called with the contender's name, the number of the run and its score.
        after_epoch: called with the contender's name, the number of the run and the epochs done: 0
            when it begins.
        kept: retrainings that were finished before are taken from there instead of done again.
        costs: of the subset, known before training, for an objective of the user's own.
    """
    runs: list[Retraining] = []
    for number in range(seeds):
        run = None if kept is None else kept.find(contender, number)
        if run is None:
            if after_epoch is not None:
                after_epoch(contender.name, number, 0)
            run = _retrain(
                workplace,
                contender,
                number,
                samples=samples,
                test=test,
                test_labels=test_labels,
                objective=objective,
                seed=seed,
                costs=costs,
                after_epoch=after_epoch,
            )
            if kept is not None:
                kept.keep(contender, number, run)
        runs.append(run)
        if after_seed is not None:
            after_seed(contender.name, number, run.score)
    recipe, chain = contender.recipe, workplace.chain
    return Verdict(
        name=contender.name,
        subset=contender.subset,
        scores=tuple(run.score for run in runs),
        logits=tuple(run.logits for run in runs),
        tuned=runs[0].tuned,
        epochs=recipe.epochs,
        flops=training_flops(
            step_multiply_adds(
                contender.subset,
                chain.units,
                stages=stage_multiply_adds(chain, contender.subset, recipe),
            ),
            samples=len(samples),
            epochs=recipe.epochs,
        ),
        seconds=statistics.fmean(run.seconds for run in runs),
    )


def _retrain(
    workplace: Workplace,
    contender: Contender,
    number: int,
    *,
    samples: Tensor,
    test: FeatureStore,
    test_labels: Tensor,
    objective: Objective,
    seed: int,
    costs: Mapping[str, float] | None,
    after_epoch: Callable[[str, int, int], None] | None,
) -> Retraining:
    """Once, with seed `number`; arguments as `judge`."""
    started = time.perf_counter()

    def told(epoch: int, *_: object) -> None:
        if after_epoch is not None:
            after_epoch(contender.name, number, epoch + 1)

    network = train(
        workplace,
        contender.subset,
        samples,
        contender.recipe,
        seed=derive_seed(seed, "final", number),
        after_epoch=told,
    )
    seconds = time.perf_counter() - started
    everything = torch.arange(len(test_labels))
    network.unfold()  # as the saved task will compute
    logits = evaluate(network, test, everything, device=workplace.device, precision="fp32")
    state = network.tuned_state() if number == 0 else {}
    return Retraining(
        score=objective.score(logits, test_labels, subset=contender.subset, costs=costs),
        logits=logits,
        tuned={name: value.cpu() for name, value in state.items()},
        seconds=seconds,
    )
