"""Where the values of an objective come from: a metric, a cost, or a callable of the user's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from layersearch.errors import ObjectiveError
from layersearch.objectives.costs import COSTS
from layersearch.objectives.custom import (
    Answer,
    callable_name,
    check_signature,
    finite_number,
    load_callable,
    read_answer,
)
from layersearch.objectives.metrics import Direction, Metric, find_metric
from layersearch.objectives.outcome import Outcome
from layersearch.objectives.uncertainty import (
    binomial_standard_error,
    bootstrap_standard_error,
    standard_error,
)

BOOTSTRAP_SEED = 0  # one for all trials: subsets are judged on the same redrawn samples


@dataclass(frozen=True, kw_only=True)
class Source:
    """What one name in `objective.metric` stands for: one of the three below."""

    name: str
    directions: tuple[Direction, ...]  # one a value; only the user's own may have several
    metric: Metric | None = None
    cost: str | None = None
    own: Callable[[Outcome], Any] | None = None

    def for_classes(self, classes: Sequence[str]) -> "Source":
        """The source for data of these classes; see `Metric.for_classes`."""
        if self.metric is None:
            return self
        return replace(self, metric=self.metric.for_classes(classes))

    def answer(self, outcome: Outcome, *, values: Sequence[str]) -> Answer:
        """The values, whose names are given, and the user's constraints.

        Raises: ObjectiveError: if they are not finite numbers; if the outcome lacks the cost. What
            the user's own raises passes unchanged.
        """
        if self.own is not None:
            return read_answer(self.name, self.own(outcome), values=values)
        if self.metric is not None:
            found = self.metric.measure(outcome.logits, outcome.targets)
        elif self.name in outcome.costs:
            found = float(outcome.costs[self.name])
        else:
            known = ", ".join(sorted(outcome.costs)) or "none"
            raise ObjectiveError(
                f"objective.metric: this trial has no cost {self.name!r} (it has {known})"
            )
        return Answer(values=(finite_number(self.name, found),))

    def stderr(self, outcome: Outcome, *, first: bool) -> float | None:
        """The standard error of the first value; None: it cannot be told, or there is no noise.

        Args:
            outcome: that it is a value of.
            first: whether it is the first of all, which the folds are scored by.
        """
        if self.metric is not None:
            return _of_metric(self.metric, outcome)
        if self.own is not None and first and len(outcome.fold_scores) > 1:
            return standard_error(outcome.fold_scores)
        return None


def find_source(
    metric: str | Callable[[Outcome], Any], directions: Sequence[Direction] | None
) -> Source:
    """The source that a name or a callable stands for.

    Args:
        metric: a metric's name, a cost's, 'package.module:callable', or a callable.
        directions: one a value; None: as the metric has it, or 'maximize' for the user's own.

    Raises: ObjectiveError: an unknown name, with the nearest; a direction that contradicts it.
    """
    if isinstance(metric, str) and ":" not in metric:
        return _named(metric, directions)
    own = load_callable(metric) if isinstance(metric, str) else metric
    if not callable(own):
        raise ObjectiveError(
            f"objective.metric: must be a name or a callable (got {type(own).__name__})"
        )
    name = metric if isinstance(metric, str) else callable_name(own)
    check_signature(name, own)
    return Source(name=name, directions=tuple(directions or ("maximize",)), own=own)


def _named(name: str, directions: Sequence[Direction] | None) -> Source:
    metric = None if name in COSTS else find_metric(name, also=tuple(COSTS))
    own: Direction = "minimize" if metric is None else metric.direction
    if directions is not None and tuple(directions) != (own,):
        raise ObjectiveError(
            f"objective.direction: {name!r} is to be {own}d (got {', '.join(directions)!r}); "
            "leave it out"
        )
    if metric is None:
        return Source(name=name, directions=(own,), cost=name)
    return Source(name=metric.name, directions=(own,), metric=metric)


def _of_metric(metric: Metric, outcome: Outcome) -> float | None:
    """Over the pooled samples: of the mean, or by drawing them anew."""
    if metric.per_sample is not None:
        values = metric.per_sample(outcome.logits, outcome.targets).double().numpy()
        if metric.hits:
            return binomial_standard_error(values)
        return standard_error(values) if len(values) > 1 else None

    def redrawn(positions: NDArray[np.int64]) -> float | None:
        drawn = torch.from_numpy(positions)
        try:
            return metric.measure(outcome.logits[drawn], outcome.targets[drawn])
        except ObjectiveError:
            return None  # this draw misses a class that the metric needs

    return bootstrap_standard_error(redrawn, len(outcome.targets), seed=BOOTSTRAP_SEED)
