"""A trial: one subset trained and validated, one function under every strategy and runner."""

import time

import torch
from torch import Tensor

from layersearch.backbones import Chain
from layersearch.data import DataSplits, Fold
from layersearch.objectives import Objective, Outcome, step_multiply_adds, training_flops
from layersearch.space import Subset, derive_seed
from layersearch.space.trial import Report, Reporter
from layersearch.subtuning.network import TunedNetwork, first_tuned
from layersearch.subtuning.recipe import Recipe
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
) -> Outcome:
    """Trains a subset on each fold and scores it on that fold's validation samples.

    Trials with the same seed share folds, batches, augmentation views and head start, whatever
    their subset. Equal arguments on the same device give equal numbers.

    Args:
        workplace: the backbone and what the trials of this process share.
        subset: the units to tune; empty for the linear probe.
        data: training samples and folds; its test split stays sealed.
        recipe: how to train.
        report: called after every validation of every fold; may raise TrialStopped, which passes
        through.
        objective: its score is reported after every epoch.
        seed: of the whole search.

    Returns:
        Scores per fold and epoch, pooled validation predictions and the costs of the trial:
        `epochs`, `trainings`, `flops` (of training and validating the suffix), `seconds`.
    """
    started = time.perf_counter()
    curves: list[tuple[float, ...]] = []
    logits: list[Tensor] = []
    for fold in data.folds:
        curve, scores = _run_fold(
            workplace, subset, data, fold, recipe, report, objective=objective, seed=seed
        )
        curves.append(curve)
        logits.append(scores)
    samples = torch.cat([fold.validation for fold in data.folds])
    numbers = torch.cat([torch.full_like(fold.validation, fold.number) for fold in data.folds])
    order = samples.argsort()
    return Outcome(
        subset=subset,
        fold_scores=tuple(curve[-1] for curve in curves),
        curves=tuple(curves),
        logits=torch.cat(logits)[order],
        targets=workplace.labels.cpu()[samples[order]],
        samples=samples[order],
        sample_ids=tuple(data.train.ids[index] for index in samples[order].tolist()),
        folds=numbers[order],
        costs={
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
    step = step_multiply_adds(subset, chain.units, stages=chain.multiply_adds)
    forward = sum(chain.multiply_adds[first_tuned(chain, subset) :])
    trained = sum(len(fold.train) for fold in data.folds)
    validated = sum(len(fold.validation) for fold in data.folds)
    validations = sum(map(recipe.validates_after, range(recipe.epochs)))
    return training_flops(step, samples=trained, epochs=recipe.epochs) + training_flops(
        forward, samples=validated, epochs=validations
    )


def _run_fold(
    workplace: Workplace,
    subset: Subset,
    data: DataSplits,
    fold: Fold,
    recipe: Recipe,
    report: Reporter,
    *,
    objective: Objective,
    seed: int,
) -> tuple[tuple[float, ...], Tensor]:
    """The fold's score after each validation, and its last class scores (n, C)."""
    targets = workplace.labels[fold.validation.to(workplace.device)].cpu()
    names = tuple(data.train.ids[index] for index in fold.validation.tolist())
    curve: list[float] = []
    last: list[Tensor] = []

    def after_epoch(epoch: int, network: TunedNetwork) -> None:
        if not recipe.validates_after(epoch):
            return
        scores = evaluate(
            network,
            workplace.features,
            fold.validation,
            device=workplace.device,
            precision=workplace.precision,
        )
        value = objective.score(
            scores,
            targets,
            samples=fold.validation,
            sample_ids=names,
            subset=subset,
            fold=fold.number,
        )
        curve.append(value)
        last[:] = [scores]
        done = fold.number * recipe.epochs + epoch + 1
        report(
            Report(
                fold=fold.number,
                epoch=epoch,
                score=value,
                step=done - 1,
                epochs_done=done,
                epochs_total=len(data.folds) * recipe.epochs,
            )
        )

    train(
        workplace,
        subset,
        fold.train,
        recipe,
        seed=derive_seed(seed, "fold", fold.number),
        after_epoch=after_epoch,
    )
    return tuple(curve), last[0]
