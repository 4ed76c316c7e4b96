"""A trial: one subset trained and validated, one function under every strategy and runner."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layersearch.backbones import Chain
from layersearch.data import DataSplits, Fold
from layersearch.objectives import Objective, Outcome, step_multiply_adds, training_flops
from layersearch.space import Subset, derive_seed
from layersearch.space.trial import Report, Reporter, SoFar, pack_correct
from layersearch.subtuning.memory import samples_at_a_time
from layersearch.subtuning.network import TunedNetwork, first_tuned, stage_multiply_adds
from layersearch.subtuning.recipe import Recipe
from layersearch.subtuning.snapshots import Snapshot, TrainingState, pack, unpack
from layersearch.subtuning.training import Workplace, evaluate, train


def subtune(
    workplace: Workplace,
    subset: Subset,
    data: DataSplits,
    recipe: Recipe,
    report: Reporter,
    *,
    objective: Objective,
    seed: int,
    snapshot: bytes | None = None,
    batch_parts: int = 1,
    costs: Mapping[str, float] | None = None,
) -> Outcome:
    """Trains a subset on each fold and scores it on that fold's validation samples.

    Trials with the same seed share folds, batches, augmentation views and head start, whatever
    their subset. Equal arguments on the same device give equal numbers, whether a trial runs in one
    go or is interrupted and resumed.

    Args:
        workplace: the backbone and what the trials of this process share.
        subset: the units to tune; empty for the linear probe.
        data: training samples and folds; its test split stays sealed.
        recipe: how to train.
        report: called after every validation of every fold, with the trial's snapshot; may raise
            TrialStopped, which passes through.
        objective: its score is reported after every epoch.
        seed: of the whole search.
        snapshot: of the same trial, to go on from; what was reported before it is reported again,
            marked as replayed.
        batch_parts: that each batch is trained in, where memory does not take it whole.
        costs: of the subset, known before training; an objective of the user's own sees them.

    Returns:
        Scores per fold and epoch, pooled validation predictions and the costs of the trial, of all
        of it where it was resumed: `epochs`, `trainings`, `flops` (of training and validating the
        suffix); and `seconds` since it was resumed.

    Raises:
        SnapshotError: the snapshot is damaged or of another trial; nothing has been reported.
    """
    started = time.perf_counter()
    trial = _Trial(
        workplace,
        subset,
        data,
        recipe,
        report,
        objective=objective,
        seed=seed,
        batch_parts=batch_parts,
        costs=costs,
    )
    trial.run(snapshot)
    curves = tuple(map(tuple, trial.curves))
    samples = torch.cat([fold.validation for fold in data.folds])
    numbers = torch.cat([torch.full_like(fold.validation, fold.number) for fold in data.folds])
    order = samples.argsort()
    return Outcome(
        subset=subset,
        fold_scores=tuple(curve[-1] for curve in curves),
        curves=curves,
        logits=torch.cat(trial.logits)[order],
        targets=workplace.labels.cpu()[samples[order]],
        samples=samples[order],
        sample_ids=tuple(data.train.ids[index] for index in samples[order].tolist()),
        folds=numbers[order],
        costs={
            **(costs or {}),
            "epochs": len(data.folds) * recipe.epochs,
            "trainings": len(data.folds),
            "flops": trial_flops(workplace.chain, subset, data, recipe),
            "seconds": time.perf_counter() - started,
        },
    )


def trial_flops(chain: Chain, subset: Subset, data: DataSplits, recipe: Recipe) -> float:
    """FLOPs of a whole trial's suffix: training every fold, and its validations.

    Frozen prefixes are computed once for all trials; the feature store counts them.
    """
    stages = stage_multiply_adds(chain, subset, recipe)
    step = step_multiply_adds(subset, chain.units, stages=stages)
    forward = sum(stages[first_tuned(chain, subset) :])
    trained = sum(len(fold.train) for fold in data.folds)
    validated = sum(len(fold.validation) for fold in data.folds)
    validations = sum(map(recipe.validates_after, range(recipe.epochs)))
    return training_flops(step, samples=trained, epochs=recipe.epochs) + training_flops(
        forward, samples=validated, epochs=validations
    )


class _Trial:
    """The folds of a trial, one after another, and what they have given; see `subtune`."""

    def __init__(
        self,
        workplace: Workplace,
        subset: Subset,
        data: DataSplits,
        recipe: Recipe,
        report: Reporter,
        *,
        objective: Objective,
        seed: int,
        batch_parts: int,
        costs: Mapping[str, float] | None,
    ) -> None:
        self._workplace = workplace
        self._subset = subset
        self._data = data
        self._recipe = recipe
        self._report = report
        self._objective = objective
        self._seed = seed
        self._costs = costs
        self._whole = batch_parts == 1
        self._at_a_time = samples_at_a_time(recipe, batch_parts)
        self.curves: list[list[float]] = []  # one a fold that has begun
        self.logits: list[Tensor] = []  # (n, C), one a fold that has ended

    def run(self, snapshot: bytes | None) -> None:
        """Runs the folds, or those that a snapshot leaves."""
        begun: TrainingState | None = None
        if snapshot is not None:
            past = unpack(snapshot, self._identity())
            begun = past.training
            self.curves = list(map(list, past.curves))
            self.logits = list(past.logits)
            self._replay(snapshot)
        for index in range(len(self.logits), len(self._data.folds)):
            if begun is None:
                self.curves.append([])
            train(
                self._workplace,
                self._subset,
                self._data.folds[index].train,
                self._recipe,
                seed=derive_seed(self._seed, "fold", self._data.folds[index].number),
                after_epoch=partial(self._after_epoch, self._data.folds[index]),
                begun=begun,
                at_a_time=None if self._whole else self._at_a_time,
            )
            begun = None

    def _replay(self, snapshot: bytes) -> None:
        recipe = self._recipe
        validated = [epoch for epoch in range(recipe.epochs) if recipe.validates_after(epoch)]
        for fold, curve in zip(self._data.folds, self.curves, strict=False):
            for epoch, score in zip(validated, curve, strict=False):
                self._say(fold, epoch, score, lambda: snapshot, replayed=True)

    def _after_epoch(
        self,
        fold: Fold,
        epoch: int,
        network: TunedNetwork,
        capture: Callable[[], TrainingState],
    ) -> None:
        if not self._recipe.validates_after(epoch):
            return
        scores = evaluate(
            network,
            self._workplace.features,
            fold.validation,
            device=self._workplace.device,
            precision=self._workplace.precision,
            **({} if self._whole else {"batch_size": self._at_a_time}),
        )
        value = self._score(fold, scores)
        self.curves[-1].append(value)
        ended = epoch + 1 == self._recipe.epochs
        if ended:
            self.logits.append(scores)
        self._say(
            fold,
            epoch,
            value,
            lambda: self._pack(None if ended else capture()),
            so_far=self._so_far() if ended else None,
        )

    def _so_far(self) -> SoFar | None:
        """What the folds that have ended say of their samples; None where no fold comes after."""
        done = self._data.folds[: len(self.logits)]
        if len(done) == len(self._data.folds):
            return None
        samples = torch.cat([fold.validation for fold in done])
        targets = self._workplace.labels.cpu()[samples]
        right = self._objective.correct(torch.cat(self.logits), targets)
        if right is None:
            return None
        pooled = torch.cat([fold.validation for fold in self._data.folds]).sort().values
        places = torch.searchsorted(pooled, samples).numpy()
        correct, known = np.zeros((2, len(pooled)), dtype=np.bool_)
        correct[places], known[places] = right, True
        return SoFar(correct=pack_correct(correct), known=pack_correct(known), count=len(pooled))

    def _score(self, fold: Fold, scores: Tensor) -> float:
        targets = self._workplace.labels[fold.validation.to(self._workplace.device)].cpu()
        return self._objective.score(
            scores,
            targets,
            samples=fold.validation,
            sample_ids=tuple(self._data.train.ids[index] for index in fold.validation.tolist()),
            subset=self._subset,
            fold=fold.number,
            costs=self._costs,
        )

    def _say(
        self,
        fold: Fold,
        epoch: int,
        score: float,
        snapshot: Callable[[], bytes],
        *,
        replayed: bool = False,
        so_far: SoFar | None = None,
    ) -> None:
        done = fold.number * self._recipe.epochs + epoch + 1
        self._report(
            Report(
                fold=fold.number,
                epoch=epoch,
                score=score,
                step=done - 1,
                epochs_done=done,
                epochs_total=len(self._data.folds) * self._recipe.epochs,
                replayed=replayed,
                so_far=so_far,
                snapshot=snapshot,
            )
        )

    def _pack(self, training: TrainingState | None) -> bytes:
        return pack(
            Snapshot(
                trial=self._identity(),
                curves=tuple(map(tuple, self.curves)),
                logits=tuple(self.logits),
                training=training,
            )
        )

    def _identity(self) -> dict[str, Any]:
        """What decides the numbers of this trial and differs between those of a search."""
        return {
            "subset": list(self._subset.names),
            "recipe": self._recipe.describe(),
            "seed": self._seed,
            "folds": [len(fold.validation) for fold in self._data.folds],
            "classes": self._workplace.classes,
        }
