"""What metrics of our own compute, each a function of scores and targets.

N: samples; C: classes; logits: (N, C) float32 on the CPU; targets: (N,) int64.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from layersearch.errors import ObjectiveError

BINS = 15  # of the calibration error, as is customary (Guo et al. 2017, arXiv 1706.04599)


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


def auroc(logits: Tensor, targets: Tensor) -> float:
    """The mean, over the classes that have a sample, of each one's area under the ROC curve.

    The area is the chance that a sample of the class has a higher probability of it than a sample
    of another class (Hanley and McNeil 1982); of equal ones, half count.

    Raises: ObjectiveError: if there are no samples of two classes.
    """
    present = torch.unique(targets)
    if len(present) < 2:
        raise ObjectiveError(
            "objective.metric: 'auroc' needs validation samples of two classes at least "
            f"(there are {len(present)}); use more samples or stratified folds"
        )
    probabilities = logits.double().softmax(dim=1)
    areas = []
    for label in present.tolist():
        mine = targets == label
        positive = int(mine.sum())
        negative = len(targets) - positive
        ranks = _ranks(probabilities[:, label])
        areas.append(
            (float(ranks[mine].sum()) - positive * (positive + 1) / 2) / (positive * negative)
        )
    return sum(areas) / len(areas)


def calibration_error(logits: Tensor, targets: Tensor) -> float:
    """How far confidence is from accuracy, on average over samples binned by their confidence.

    The expected calibration error of Naeini et al. (AAAI 2015), with `BINS` bins of equal width.
    """
    confidence, said = logits.double().softmax(dim=1).max(dim=1)
    inner = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1]
    bins = torch.bucketize(confidence, inner, right=True)
    gaps = torch.zeros(BINS, dtype=torch.float64)
    gaps.index_add_(0, bins, confidence - (said == targets).double())
    return float(gaps.abs().sum() / len(targets))


def class_recall(logits: Tensor, targets: Tensor, label: int) -> float:
    """The share of the class's samples that are found; NaN if it has none."""
    right, true, _ = _counts(logits, targets)
    return float(right[label] / true[label])


def class_precision(logits: Tensor, targets: Tensor, label: int) -> float:
    """The share of what is taken for the class that is of it; 0 where nothing is."""
    right, _, predicted = _counts(logits, targets)
    return float(right[label] / predicted[label].clamp(min=1))


def class_f1(logits: Tensor, targets: Tensor, label: int) -> float:
    """The harmonic mean of the class's recall and precision; NaN if it has no sample."""
    right, true, predicted = _counts(logits, targets)
    if true[label] == 0:
        return float("nan")
    return float(2 * right[label] / (true + predicted)[label])


def mean_of(values: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> float:
    """The mean of one value a sample."""
    return float(values(logits, targets).double().mean())


def _counts(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each class, (C,) float64: samples predicted rightly, samples of it, predictions of it."""
    classes, predictions = logits.shape[1], logits.argmax(dim=1)
    right = torch.bincount(targets[predictions == targets], minlength=classes)
    true = torch.bincount(targets, minlength=classes)
    predicted = torch.bincount(predictions, minlength=classes)
    return right.double(), true.double(), predicted.double()


def _ranks(values: Tensor) -> Tensor:
    """(N,) float64: the rank of each value, from 1; equal ones share the mean of theirs."""
    _, place, count = torch.unique(values, return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    ranks: Tensor = (last - (count - 1) / 2)[place]
    return ranks
