"""What a worker does: it sets up backbone, data and features once, then runs trials.

`Materials` is all that a worker needs; it can be pickled, and holds the backbone and the training
samples but never the test split.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from layersearch.backbones import Backbone, Chain, build_chain
from layersearch.data import Augmentation, DataSplits, Samples, Views
from layersearch.errors import TrialOutOfMemory
from layersearch.objectives import Objective, Outcome, subset_costs
from layersearch.objectives.latency import LatencyTable
from layersearch.space import Subset
from layersearch.space.cost_shape import CostShape
from layersearch.space.trial import (
    Proposal,
    Reporter,
    TrialResult,
    WorkerPlace,
    pack_correct,
)
from layersearch.subtuning.features import Budget, FeatureStore
from layersearch.subtuning.head import HeadFitter
from layersearch.subtuning.memory import can_split, is_out_of_memory, samples_at_a_time
from layersearch.subtuning.network import stage_multiply_adds
from layersearch.subtuning.precision import resolve_precision
from layersearch.subtuning.recipe import Precision, Recipe
from layersearch.subtuning.training import EVALUATION_VIEW, Workplace
from layersearch.subtuning.trial import subtune


@dataclass(frozen=True, kw_only=True, eq=False)
class Materials:
    """Everything that decides what a trial gives, and where it may keep features."""

    backbone: Backbone
    units: Mapping[str, Any]  # arguments of build_chain: granularity, kinds, patterns, exclude
    data: DataSplits
    augmentation: Augmentation
    views: int | None  # distinct augmentation views; None: a new one every epoch
    recipe: Recipe
    objective: Objective
    seed: int
    cache: Budget = field(default_factory=Budget)
    cache_directory: Path | None = None  # for feature files that the workers of a node share
    cache_key: str = ""  # changes whenever features would
    chain: Chain | None = field(default=None, repr=False)  # cut already; stays in this process
    latency: LatencyTable | None = field(default=None, repr=False)  # of serving, where it is known
    memory: CostShape | None = field(default=None, repr=False)  # of training; see footprint.py

    def __getstate__(self) -> dict[str, Any]:
        # Another process cuts the backbone on its own device; the stages are large to send.
        return {**vars(self), "chain": None}


class JobFactory:
    """Makes the job of one worker; it travels to worker processes without what it made here."""

    def __init__(self, materials: Materials) -> None:
        self.materials = materials
        self.workplace: Workplace | None = None  # of the job made last in this process

    def __call__(self, place: WorkerPlace) -> Callable[[Proposal, Reporter], TrialResult]:
        """Loads everything onto the worker's place; raises what `open_workplace` raises."""
        self.workplace = None  # what a job before held is free for this one
        job = SubtuningJob(self.materials, place)
        self.workplace = job.workplace
        return job

    def __getstate__(self) -> dict[str, Any]:
        return {"materials": self.materials, "workplace": None}


class SubtuningJob:
    """Runs the trials of one worker.

    Raises:
        BackboneError: the backbone cannot be cut.
        RecipeError: the device cannot train as the recipe says.
    """

    def __init__(self, materials: Materials, place: WorkerPlace) -> None:
        self.materials = materials
        self.workplace = open_workplace(materials, place)
        self._counted = 0.0  # FLOPs of frozen prefixes that trials have been charged with
        # Several workers rather divide the cuts, each building what its trials begin with.
        if place.workers_on_node == 1:
            self._prefetch()

    def __call__(self, proposal: Proposal, report: Reporter) -> TrialResult:
        """Trains and scores one subset.

        Raises:
            TrialOutOfMemory: memory, of the device or the host, did not suffice.
            SnapshotError: as `subtune`.
        """
        materials = self.materials
        recipe = materials.recipe.with_numbers(proposal.recipe)
        parts = proposal.batch_parts
        costs = known_costs(
            self.workplace.chain, proposal.subset, self.workplace.classes, materials
        )
        try:
            outcome = subtune(
                self.workplace,
                proposal.subset,
                materials.data,
                recipe,
                report,
                objective=materials.objective,
                seed=materials.seed,
                snapshot=proposal.snapshot,
                batch_parts=parts,
                costs=costs,
            )
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise TrialOutOfMemory(
                f"out of memory on {self.workplace.device} with {samples_at_a_time(recipe, parts)} "
                f"samples at a time: {next(iter(str(error).splitlines()), '') or 'no allocation'}",
                splittable=can_split(recipe, parts),
            ) from error
        spent = dict(outcome.costs)
        # What was computed before the first trial is charged to it.
        prefix = 2.0 * self.workplace.features.multiply_adds
        spent["flops"] += prefix - self._counted
        self._counted = prefix
        result = _result(replace(outcome, costs=spent), materials.objective)
        attributes = {**result.attributes, "precision": self.workplace.precision}
        if parts > 1:
            attributes["micro_batch"] = samples_at_a_time(recipe, parts)
        return replace(result, attributes=attributes)

    def _prefetch(self) -> None:
        """The features at all cuts in one pass: heads are fitted to what comes out at its end."""
        cuts = range(1, len(self.workplace.chain.stages))
        try:
            self.workplace.features.prefetch(cuts, EVALUATION_VIEW)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # Trials fill what they begin with, and have a remedy where memory does not take that.


def open_workplace(materials: Materials, place: WorkerPlace) -> Workplace:
    """Puts backbone, labels and features on a worker's device."""
    device = torch.device(place.device)
    if device.type == "cpu":
        torch.set_num_threads(place.threads)
    recipe = materials.recipe
    precision = resolve_precision(recipe.precision, device, materials.backbone.network)
    chain = frozen_chain(materials, device)
    features = feature_store(
        materials,
        chain,
        materials.data.train.images,
        device=device,
        precision=precision,
        share=place.workers_on_node > 1,
        workers_on_device=place.workers_on_device,
        view_samples=_trained_samples(materials.data),
    )
    return Workplace(
        chain=chain,
        features=features,
        labels=materials.data.train.labels.to(device),
        classes=len(materials.data.classes),
        device=device,
        precision=precision,
        views=materials.views,
        heads=HeadFitter(chain, device=device),
    )


def frozen_chain(materials: Materials, device: torch.device) -> Chain:
    """The backbone on the device, cut at its units, frozen and in eval mode."""
    network = materials.backbone.network.to(device)
    if _lay_channels_last(materials):
        network = network.to(memory_format=torch.channels_last)
    network.requires_grad_(False)
    network.eval()
    if materials.chain is not None and materials.chain.network is network and device.type == "cpu":
        return materials.chain  # its stages share the network's parameters, moved with them
    return build_chain(replace(materials.backbone, network=network), **materials.units)


def feature_store(
    materials: Materials,
    chain: Chain,
    images: Tensor,
    *,
    device: torch.device,
    precision: Precision,
    share: bool = False,
    workers_on_device: int = 1,
    view_samples: Tensor | None = None,
    part: str = "train",
) -> FeatureStore:
    """The feature cache over some images of the task.

    Args:
        materials: preprocessing, augmentation and budgets.
        chain: the backbone on the device.
        images: uint8 (N, C, H, W) or float (N, ...), on the host.
        device: to train on.
        precision: of the forward pass.
        share: whether other workers of this node use the same features.
        workers_on_device: they divide the device's part of the budget.
        view_samples: int64 indices of the samples that augmentation views are used for; None: all.
        part: 'train' or 'test': two parts never share a file.
    """
    preprocessing = materials.backbone.preprocessing
    views = Views(
        seed=materials.seed,
        mean=preprocessing.mean,
        std=preprocessing.std,
        input_size=preprocessing.input_size,
        centre=preprocessing.centre,
        augmentation=materials.augmentation,
        views=materials.views,
        channels_last=_lay_channels_last(materials),
    )
    budget = replace(
        materials.cache, device_bytes=materials.cache.device_bytes // max(1, workers_on_device)
    )
    return FeatureStore(
        chain,
        images,
        views,
        device=device,
        precision=precision,
        channels_last=_lay_channels_last(materials),
        budget=budget,
        directory=materials.cache_directory if share or budget.disk_bytes else None,
        view_samples=view_samples,
        key=f"{materials.cache_key}-{part}-{precision}",
    )


def open_test_split(
    materials: Materials, workplace: Workplace, *, purpose: str
) -> tuple[Samples, FeatureStore]:
    """The test samples and their features, in float32: what a saved task will compute.

    Args:
        materials: of a search that has ended, or of none: nothing may be chosen by what comes out.
        workplace: with the backbone on its device.
        purpose: what they are opened for, in words.
    """
    materials.data.test.unseal()
    samples = materials.data.test.open(purpose)
    features = feature_store(
        replace(materials, cache=workplace.features.lend()),  # two stores, one budget
        workplace.chain,
        samples.images,
        device=workplace.device,
        precision="fp32",
        part="test",
    )
    return samples, features


def known_costs(
    chain: Chain, subset: Subset, classes: int, materials: Materials
) -> dict[str, float]:
    """What a subset costs, known before any training; see `objectives.costs`."""
    buffers = {  # in float32 values: BatchNorm's counters take two
        name: buffer.numel() * buffer.element_size() // 4
        for name, buffer in materials.backbone.network.named_buffers()
    }
    recipe = materials.recipe
    features = chain.head_features * (2 if recipe.pairs_features(subset) else 1)
    costs = subset_costs(
        subset,
        chain.units,
        stages=stage_multiply_adds(chain, subset, recipe),
        head_parameters=head_parameters(features, classes, recipe.head.depth),
        buffers={unit.name: sum(buffers.get(n, 0) for n in unit.buffers) for unit in chain.units},
    )
    if materials.latency is not None:
        costs["latency_ms"] = materials.latency.predict(subset)
    if materials.memory is not None:
        costs["training_memory_bytes"] = materials.memory(subset)
    return costs


def head_parameters(features: int, classes: int, depth: int) -> int:
    """Values in a head: (depth - 1) bias-free square layers and a linear one with a bias."""
    return (depth - 1) * features * features + features * classes + classes


def _trained_samples(data: DataSplits) -> Tensor:
    """The samples (M,) that any fold, or the winner's retraining, trains on, ascending."""
    parts = [*(fold.train for fold in data.folds), data.final_train]
    used: Tensor = torch.unique(torch.cat(parts))
    return used


def _lay_channels_last(materials: Materials) -> bool:
    """Whether images are laid out (N, H, W, C) in memory, which convolutions run faster on."""
    wanted = materials.recipe.channels_last
    if wanted != "auto":
        return wanted and materials.data.train.images.ndim == 4
    convolutions = any(
        isinstance(module, torch.nn.Conv2d) for module in materials.backbone.network.modules()
    )
    return convolutions and materials.data.train.images.ndim == 4


def _result(outcome: Outcome, objective: Objective) -> TrialResult:
    judged = objective.evaluate(outcome)
    correct = objective.correct(outcome.logits, outcome.targets)
    return TrialResult(
        values=judged.values,
        stderr=judged.stderr,
        fold_scores=outcome.fold_scores,
        correct=None if correct is None else pack_correct(correct),
        count=0 if correct is None else len(correct),
        costs=outcome.costs,
        constraints=judged.constraints,
        attributes={"stderrs": judged.stderrs} if objective.several else {},
    )
