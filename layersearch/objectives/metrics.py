"""Metrics by name: a few of our own, then torchmetrics' and scikit-learn's.

A metric turns the scores of N samples and their targets into one number. Names are looked up in
this order: our own (`OWN`, `topK_accuracy`), torchmetrics' multiclass metrics without their prefix
(`auroc`, `calibration_error`, `cohen_kappa`; macro averages unless they say otherwise), and
scikit-learn's scorers (`f1_weighted`, `neg_brier_score`, `roc_auc_ovr`).

N: samples; C: classes; logits: (N, C) float32 on the CPU; targets: (N,) int64.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from layersearch.errors import ObjectiveError
from layersearch.objectives import libraries
from layersearch.space.names import did_you_mean

Direction = Literal["maximize", "minimize"]
Measure = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number of scores and targets, and which way it is better."""

    name: str
    direction: Direction
    measure: Measure  # (logits, targets) -> number
    per_sample: Callable[[Tensor, Tensor], Tensor] | None = None  # (N,) values that it is mean of
    hits: bool = False  # whether the per-sample values are 0 or 1: right or wrong


def hits(logits: Tensor, targets: Tensor, *, k: int = 1) -> Tensor:
    """(N,) bool: whether the target is among the k highest scores."""
    if k == 1:
        return logits.argmax(dim=1) == targets
    if k >= logits.shape[1]:
        raise ObjectiveError(
            f"objective.metric: 'top{k}_accuracy' needs more than {k} classes (the data has "
            f"{logits.shape[1]}); use 'accuracy'"
        )
    return (logits.topk(k, dim=1).indices == targets[:, None]).any(dim=1)


def losses(logits: Tensor, targets: Tensor) -> Tensor:
    """(N,) float32: the cross-entropy of each sample, in nats."""
    return torch.nn.functional.cross_entropy(logits, targets, reduction="none")


def balanced_accuracy(logits: Tensor, targets: Tensor) -> float:
    """The mean recall of the classes that have a sample."""
    right, true, _ = _counts(logits, targets)
    present = true > 0
    return float((right[present] / true[present]).mean())


def macro_f1(logits: Tensor, targets: Tensor) -> float:
    """The mean F1 of the classes that have a sample or a prediction."""
    right, true, predicted = _counts(logits, targets)
    present = (true + predicted) > 0
    return float((2 * right[present] / (true + predicted)[present]).mean())


def _counts(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each class, (C,) float64: samples predicted rightly, samples of it, predictions of it."""
    classes, predictions = logits.shape[1], logits.argmax(dim=1)
    right = torch.bincount(targets[predictions == targets], minlength=classes)
    true = torch.bincount(targets, minlength=classes)
    predicted = torch.bincount(predictions, minlength=classes)
    return right.double(), true.double(), predicted.double()


def _mean(values: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> float:
    return float(values(logits, targets).double().mean())


def _top(k: int) -> Metric:
    name = "accuracy" if k == 1 else f"top{k}_accuracy"
    values = partial(hits, k=k)
    measure = partial(_mean, values)
    return Metric(name=name, direction="maximize", measure=measure, per_sample=values, hits=True)


OWN: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _top(1),
        _top(5),
        Metric(name="balanced_accuracy", direction="maximize", measure=balanced_accuracy),
        Metric(name="macro_f1", direction="maximize", measure=macro_f1),
        Metric(
            name="log_loss",
            direction="minimize",
            measure=partial(_mean, losses),
            per_sample=losses,
        ),
    )
}
_TOP = re.compile(r"top_?([1-9][0-9]*)(_accuracy)?")


def find_metric(name: str) -> Metric:
    """The metric of that name.

    Raises: ObjectiveError: if there is none, with the nearest names; or if there is one that cannot
        be used here (it needs settings, or gives more than one number), with the reason.
    """
    if name in OWN:
        return OWN[name]
    if match := _TOP.fullmatch(name):
        return _top(int(match[1]))
    measure = libraries.torchmetrics_measure(name)
    if measure is not None:
        minimised = name in libraries.TORCHMETRICS_MINIMISED
        return Metric(name=name, direction="minimize" if minimised else "maximize", measure=measure)
    measure = libraries.sklearn_measure(name)
    if measure is not None:
        # scikit-learn's scorers are all better when higher: its losses are negated ('neg_…').
        return Metric(name=name, direction="maximize", measure=measure)
    raise ObjectiveError(
        f"objective.metric: {name!r} is not a metric; {did_you_mean(name, metric_names())} "
        "(a metric of your own is named 'package.module:callable')"
    )


def metric_names() -> tuple[str, ...]:
    """All names that `find_metric` knows, sorted; topK_accuracy exists for every K."""
    theirs = (*libraries.torchmetrics_names(), *libraries.sklearn_names())
    return tuple(sorted({*OWN, *theirs}))
