"""Metrics by name: a few of our own, then torchmetrics' and scikit-learn's.

A metric turns the scores of N samples and their targets into one number. Names are looked up in
this order: our own (`OWN`, `topK_accuracy`, `recall[CLASS]`, `precision[CLASS]`, `f1[CLASS]`),
torchmetrics' multiclass metrics without their prefix (`cohen_kappa`, `average_precision`; macro
averages unless they say otherwise), and scikit-learn's scorers (`f1_weighted`, `neg_brier_score`,
`roc_auc_ovr`).

N: samples; C: classes; logits: (N, C) float32 on the CPU; targets: (N,) int64.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from torch import Tensor

from layersearch.errors import ObjectiveError
from layersearch.objectives import libraries, measures
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
    of_class: str | None = None  # the class that it is about, if it is about one

    def for_classes(self, classes: Sequence[str]) -> "Metric":
        """The metric for data of these classes, which one about a class must know.

        Raises: ObjectiveError: there is no such class, with the nearest names.
        """
        if self.of_class is None:
            return self
        if self.of_class not in classes:
            raise ObjectiveError(
                f"objective.metric: {self.name!r}: there is no class {self.of_class!r}; "
                f"{did_you_mean(self.of_class, classes)}"
            )
        label = classes.index(self.of_class)
        kind = self.name.partition("[")[0]
        return replace(self, measure=partial(_of_class, self.name, BY_CLASS[kind], label))


def _of_class(
    name: str,
    measure: Callable[[Tensor, Tensor, int], float],
    label: int,
    logits: Tensor,
    targets: Tensor,
) -> float:
    if not bool((targets == label).any()):
        raise ObjectiveError(
            f"objective.metric: {name!r} needs validation samples of its class (there are none); "
            "use more samples or stratified folds"
        )
    return measure(logits, targets, label)


def _not_for_classes(name: str, logits: Tensor, targets: Tensor) -> float:  # noqa: ARG001
    raise ObjectiveError(
        f"objective.metric: {name!r} must first know the classes: objective.for_classes(names)"
    )


def _top(k: int) -> Metric:
    name = "accuracy" if k == 1 else f"top{k}_accuracy"
    values = partial(measures.hits, k=k)
    measure = partial(measures.mean_of, values)
    return Metric(name=name, direction="maximize", measure=measure, per_sample=values, hits=True)


BY_CLASS: Mapping[str, Callable[[Tensor, Tensor, int], float]] = {
    "recall": measures.class_recall,
    "precision": measures.class_precision,
    "f1": measures.class_f1,
}
OWN: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _top(1),
        _top(5),
        Metric(name="balanced_accuracy", direction="maximize", measure=measures.balanced_accuracy),
        Metric(name="macro_f1", direction="maximize", measure=measures.macro_f1),
        Metric(name="auroc", direction="maximize", measure=measures.auroc),
        Metric(
            name="log_loss",
            direction="minimize",
            measure=partial(measures.mean_of, measures.losses),
            per_sample=measures.losses,
        ),
        Metric(name="calibration_error", direction="minimize", measure=measures.calibration_error),
    )
}
_TOP = re.compile(r"top_?([1-9][0-9]*)(_accuracy)?")
_CLASS = re.compile(rf"({'|'.join(BY_CLASS)})\[(.+)\]")


def find_metric(name: str, *, also: Sequence[str] = ()) -> Metric:
    """The metric of that name.

    Args:
        name: of the metric.
        also: what else could have been meant, for the message.

    Raises: ObjectiveError: if there is none, with the nearest names; or if there is one that cannot
        be used here (it needs settings, or gives more than one number), with the reason.
    """
    if name in OWN:
        return OWN[name]
    if match := _TOP.fullmatch(name):
        return _top(int(match[1]))
    if match := _CLASS.fullmatch(name):
        unbound = partial(_not_for_classes, name)
        return Metric(name=name, direction="maximize", measure=unbound, of_class=match[2])
    measure = libraries.torchmetrics_measure(name)
    if measure is not None:
        minimised = name in libraries.TORCHMETRICS_MINIMISED
        return Metric(name=name, direction="minimize" if minimised else "maximize", measure=measure)
    measure = libraries.sklearn_measure(name)
    if measure is not None:
        # scikit-learn's scorers are all better when higher: its losses are negated ('neg_…').
        return Metric(name=name, direction="maximize", measure=measure)
    meant = did_you_mean(name, (*metric_names(), *also))
    raise ObjectiveError(
        f"objective.metric: {name!r} is not a metric; {meant} "
        "(a metric of your own is named 'package.module:callable')"
    )


def metric_names() -> tuple[str, ...]:
    """All names that `find_metric` knows, sorted; topK_accuracy exists for every K."""
    theirs = (*libraries.torchmetrics_names(), *libraries.sklearn_names())
    return tuple(sorted({*OWN, *theirs}))
