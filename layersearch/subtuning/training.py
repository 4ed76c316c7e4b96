"""One training of one subset, and the evaluation of what came out.

N: samples; B: samples of a batch. Randomness comes from seeds alone, and never from the subset: two
subsets trained with one seed see the same batches in the same order, the same augmentation views
and the same head at the start (common random numbers), so they differ by what they tune.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layersearch.backbones import Chain, Values, new_head
from layersearch.space import Subset, derive_seed
from layersearch.subtuning.features import FeatureStore
from layersearch.subtuning.head import HeadFitter, halved
from layersearch.subtuning.network import TunedNetwork
from layersearch.subtuning.optimisation import Optimisation, autocast
from layersearch.subtuning.recipe import HeadRecipe, Precision, Recipe
from layersearch.subtuning.snapshots import TrainingState, capture, restore

EVALUATION_VIEW = -1
# A CPU's caches hold what goes from layer to layer of so many small images: a seventh faster than
# with 500 (ResNet-20, 32 x 32, one thread). GPUs want more at once.
_SCORED_AT_ONCE = {"cpu": 125}
AfterEpoch = Callable[[int, TunedNetwork, Callable[[], TrainingState]], None]
"""Called with the number of the epoch, from 0, the network, and what captures the training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Workplace:
    """What the trials of a process share: the backbone, the features of the samples, the device."""

    chain: Chain  # on the device, frozen, in eval mode
    features: FeatureStore  # of the training samples
    labels: Tensor  # (N,) int64, on the device
    classes: int
    device: torch.device
    precision: Precision
    views: int | None = None  # distinct augmentation views; None: a new one every epoch
    heads: HeadFitter  # linear probes that have been fitted


def train(
    workplace: Workplace,
    subset: Subset,
    samples: Tensor,
    recipe: Recipe,
    *,
    seed: int,
    after_epoch: AfterEpoch | None = None,
    begun: TrainingState | None = None,
    at_a_time: int | None = None,
) -> TunedNetwork:
    """Tunes a subset and a new head on some of the training samples.

    Args:
        workplace: backbone, features, labels and device.
        subset: the units to tune.
        samples: (n,) int64 indices of the samples to train on.
        recipe: how.
        seed: decides batches, head and dropout.
        after_epoch: see AfterEpoch.
        begun: the same training after some of its epochs, to go on from: what comes out is the
            same. It must have the same subset, samples, recipe and seed.
        at_a_time: the most samples of a forward pass; a larger batch is trained in parts, whose
            gradients are summed up. BatchNorm in train mode sees the parts. None: whole batches.

    Returns:
        The tuned network, in eval mode.
    """
    # One that is resumed has a head: it need not be fitted.
    start = recipe.head if begun is None else replace(recipe.head, start="random")
    head = starting_head(
        workplace, samples, start, seed=seed, siamese=recipe.pairs_features(subset)
    )
    network = TunedNetwork(workplace.chain, subset, head, recipe=recipe, seed=seed)
    with _own_randomness(workplace.device, derive_seed(seed, "dropout")):
        _optimise(
            workplace,
            network,
            samples,
            recipe,
            seed=seed,
            after_epoch=after_epoch,
            begun=begun,
            at_a_time=at_a_time or recipe.batch_size + 1,  # one that joins the last batch
        )
    return network


def _optimise(
    workplace: Workplace,
    network: TunedNetwork,
    samples: Tensor,
    recipe: Recipe,
    *,
    seed: int,
    after_epoch: AfterEpoch | None,
    begun: TrainingState | None,
    at_a_time: int,
) -> None:
    forward = torch.compile(network) if recipe.compile else network
    batches = sum(1 for _ in _split(samples, recipe.batch_size))
    optimisation = Optimisation(
        network.tuned_parameters,
        recipe,
        steps_per_epoch=batches,
        device=workplace.device,
        precision=workplace.precision,
    )

    def losses(batch: Tensor, view: int) -> Iterator[Tensor]:
        for part in _split(batch, at_a_time):
            values, beside = _entering(network, workplace.features, part, view)
            with autocast(workplace.device, workplace.precision):
                scores = forward(*values, **beside)
            loss = F.cross_entropy(
                scores.float(),
                # Not waiting: the GPU still computes, and the next batch can be made ready.
                workplace.labels[part.to(workplace.device, non_blocking=True)],
                label_smoothing=recipe.label_smoothing,
            )
            yield loss if len(part) == len(batch) else loss * (len(part) / len(batch))

    if begun is not None:
        restore(begun, network, optimisation, workplace.device)
    for epoch in range(0 if begun is None else begun.epochs, recipe.epochs):
        network.train()
        view = epoch if workplace.views is None else epoch % workplace.views
        for batch in shuffled(samples, recipe.batch_size, seed=derive_seed(seed, "order", epoch)):
            optimisation.step(losses(batch, view))
        network.eval()
        if after_epoch is not None:
            after_epoch(
                epoch,
                network,
                partial(capture, network, optimisation, workplace.device, epochs=epoch + 1),
            )


@contextmanager
def _own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Dropout by the seed; the random numbers of whoever called are left as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def starting_head(
    workplace: Workplace, samples: Tensor, recipe: HeadRecipe, *, seed: int, siamese: bool = False
) -> nn.Module:
    """The head before its first step: the same for all subsets with this seed and samples.

    A Siamese head that starts from the linear probe gives its scores: original and tuned features
    are equal then, and each has half of the probe's weights. (So would a probe on both have: of all
    weights that give these scores, its penalty is smallest for equal halves.)
    """

    def fresh(*, wide: bool) -> nn.Module:
        return new_head(
            workplace.chain.head_features * (2 if wide else 1),
            workplace.classes,
            depth=recipe.depth,
            kind=workplace.chain.head_kind,
            seed=derive_seed(seed, "head"),
        ).to(workplace.device)

    if recipe.start == "random":
        return fresh(wide=siamese)
    halves = siamese and recipe.depth == 1
    fitted = workplace.heads.fit(
        fresh(wide=siamese and not halves),
        workplace.features,
        workplace.labels,
        samples,
        siamese=siamese and not halves,
    )
    return halved(fitted, fresh(wide=True)) if halves else fitted


@torch.no_grad()
def evaluate(
    network: TunedNetwork,
    features: FeatureStore,
    samples: Tensor,
    *,
    device: torch.device,
    precision: Precision,
    batch_size: int | None = None,
) -> Tensor:
    """Class scores (n, classes), float32 on the CPU, of samples (n,) in the evaluation view."""
    network.eval()
    scores = []
    for batch in torch.split(samples, batch_size or _SCORED_AT_ONCE.get(device.type, 500)):
        values, beside = _entering(network, features, batch, EVALUATION_VIEW)
        with autocast(device, precision):
            scores.append(network(*values, **beside).float())
    return torch.cat(scores).cpu()


def _entering(
    network: TunedNetwork, features: FeatureStore, samples: Tensor, view: int
) -> tuple[Values, dict[str, Tensor]]:
    """What a network is called with, for some samples in a view: arguments and keywords.

    The original features are those at the last cut, which are stored as those at any other are.
    """
    values = features.values(network.first, samples, view)
    if not network.siamese:
        return values, {}
    return values, {"original": features.values(network.last, samples, view)[0]}


def shuffled(samples: Tensor, batch_size: int, *, seed: int) -> Iterator[Tensor]:
    """Batches of the samples (n,) in a random order that depends on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(samples), generator=generator)
    return _split(samples[order], batch_size)


def _split(samples: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Batches (B,); a last batch of one sample joins the one before: BatchNorm needs two."""
    count = len(samples)
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    for start, stop in zip(starts, [*starts[1:], count], strict=True):
        yield samples[start:stop]
