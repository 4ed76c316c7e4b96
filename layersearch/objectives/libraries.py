"""Metrics that torchmetrics and scikit-learn bring, by their names there.

Both libraries are imported when one of their metrics is first asked for: they are slow to import.
N: samples; C: classes; logits: (N, C) float32 on the CPU; targets: (N,) int64.
"""

import inspect
import warnings
from collections.abc import Callable
from functools import cache, partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layersearch.errors import ObjectiveError

TORCHMETRICS_MINIMISED = frozenset({"calibration_error", "eer", "hamming_distance", "hinge_loss"})
_PREFIX = "multiclass_"
# They give curves or tables, or speak of several labels a sample: never one number here.
_NOT_A_NUMBER = frozenset(
    {"confusion_matrix", "exact_match", "precision_recall_curve", "roc", "stat_scores"}
)
# One-against-rest rankings: a class without a sample has no value and must be left out of the mean.
_BY_CLASS = frozenset({"auroc", "average_precision", "eer", "logauc"})

# Scorers of classifiers; the others judge regressions, clusterings or several labels a sample.
_SCORERS = (
    "average_precision",
    "balanced_accuracy",
    "d2_brier_score",
    "d2_log_loss_score",
    "f1",
    "f1_macro",
    "f1_micro",
    "f1_weighted",
    "jaccard",
    "jaccard_macro",
    "jaccard_micro",
    "jaccard_weighted",
    "matthews_corrcoef",
    "neg_brier_score",
    "neg_log_loss",
    "neg_negative_likelihood_ratio",
    "positive_likelihood_ratio",
    "precision",
    "precision_macro",
    "precision_micro",
    "precision_weighted",
    "recall",
    "recall_macro",
    "recall_micro",
    "recall_weighted",
    "roc_auc",
    "roc_auc_ovo",
    "roc_auc_ovo_weighted",
    "roc_auc_ovr",
    "roc_auc_ovr_weighted",
)


@cache
def torchmetrics_names() -> tuple[str, ...]:
    """Names of torchmetrics' multiclass metrics that need no settings and give one number."""
    module = _torchmetrics()
    if module is None:
        return ()
    names = (name.removeprefix(_PREFIX) for name in dir(module) if name.startswith(_PREFIX))
    return tuple(n for n in names if n not in _NOT_A_NUMBER and not _settings(module, n))


def torchmetrics_measure(name: str) -> Callable[[Tensor, Tensor], float] | None:
    """The torchmetrics metric of that name; None if it has none.

    Raises: ObjectiveError: if it has one that cannot be had by name alone, saying why.
    """
    module = _torchmetrics()
    if module is None or not hasattr(module, _PREFIX + name):
        return None
    if name in _NOT_A_NUMBER:
        raise ObjectiveError(
            f"objective.metric: {name!r} gives more than one number and cannot be optimised; "
            "write 'package.module:callable' that returns one"
        )
    if settings := _settings(module, name):
        raise ObjectiveError(
            f"objective.metric: {name!r} needs a value for {', '.join(settings)}; "
            "write 'package.module:callable' that calls it with one"
        )
    return partial(_torchmetrics_call, name)


def _torchmetrics() -> ModuleType | None:
    try:
        import torchmetrics.functional.classification as module
    except ImportError:
        return None
    return module


def _settings(module: ModuleType, name: str) -> list[str]:
    """Arguments that the metric cannot do without, beside the samples."""
    parameters = inspect.signature(getattr(module, _PREFIX + name)).parameters.values()
    given = {"preds", "target", "num_classes"}
    return [p.name for p in parameters if p.default is p.empty and p.name not in given]


def _torchmetrics_call(name: str, logits: Tensor, targets: Tensor) -> float:
    module = _torchmetrics()
    metric = getattr(module, _PREFIX + name)
    classes = logits.shape[1]
    preds = logits if name == "hinge_loss" else logits.softmax(dim=1)
    if name not in _BY_CLASS:
        return float(metric(preds, targets, num_classes=classes))
    present = torch.unique(targets)
    if len(present) < 2:
        raise ObjectiveError(
            f"objective.metric: {name!r} needs validation samples of two classes at least "
            f"(there are {len(present)}); use more samples or stratified folds"
        )
    with warnings.catch_warnings():
        # It warns of every class without a sample; those are left out of the mean here.
        warnings.simplefilter("ignore")
        by_class = metric(preds, targets, num_classes=classes, average=None)
    return float(by_class[present].mean())


@cache
def sklearn_names() -> tuple[str, ...]:
    """Names of scikit-learn's scorers of classifiers, as far as the installed version has them."""
    metrics = _sklearn()
    if metrics is None:
        return ()
    known = set(metrics.get_scorer_names())
    return tuple(name for name in _SCORERS if name in known)


def sklearn_measure(name: str) -> Callable[[Tensor, Tensor], float] | None:
    """The scikit-learn scorer of that name; None if it has none.

    Raises: ObjectiveError: if it has one that does not judge classes.
    """
    metrics = _sklearn()
    if metrics is None or name not in metrics.get_scorer_names():
        return None
    if name not in _SCORERS:
        raise ObjectiveError(
            f"objective.metric: {name!r} judges regressions, clusterings or several labels a "
            "sample, not one class a sample; use a classification metric such as 'accuracy'"
        )
    return partial(_sklearn_call, name)


def _sklearn() -> Any:
    try:
        import sklearn.metrics as metrics
    except ImportError:
        return None
    return metrics


def _sklearn_call(name: str, logits: Tensor, targets: Tensor) -> float:
    scores = logits.double().softmax(dim=1).numpy()  # its rows must sum to 1 in float64
    scorer = _sklearn().get_scorer(name)
    truth = targets.numpy()
    try:
        with warnings.catch_warnings():
            # It warns, each epoch, of classes that nothing was predicted as; they count as 0.
            warnings.simplefilter("ignore")
            return float(scorer(_answers(scores), truth, truth))
    except ValueError as error:
        raise ObjectiveError(f"objective.metric: {name!r} cannot score this: {error}") from error


def _answers(probabilities: NDArray[np.float64]) -> Any:
    """A fitted classifier, as scikit-learn's scorers ask for, that gives these (N, C) answers."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Answers(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
        def __init__(self) -> None:
            self.classes_ = np.arange(probabilities.shape[1])

        def predict(self, _: Any) -> NDArray[np.int64]:
            answers: NDArray[np.int64] = np.argmax(probabilities, axis=1)
            return answers

        def predict_proba(self, _: Any) -> NDArray[np.float64]:
            return probabilities

    return Answers()
