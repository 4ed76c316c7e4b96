"""Objective: what a trial is scored by.

A metric that is the mean of one value a sample (accuracy, topK_accuracy, log_loss) is scored on the
validation samples of all folds pooled; any other metric by the mean of its folds; a metric of the
user's own by one call on the whole outcome. N: samples; C: classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layersearch.errors import ObjectiveError
from layersearch.objectives.constraints import Constraint, read_constraints
from layersearch.objectives.costs import COSTS
from layersearch.objectives.custom import (
    callable_name,
    check_signature,
    finite_number,
    load_callable,
)
from layersearch.objectives.metrics import Direction, Metric, find_metric
from layersearch.objectives.outcome import Outcome
from layersearch.objectives.uncertainty import (
    binomial_standard_error,
    bootstrap_standard_error,
    standard_error,
)
from layersearch.space.subset import Subset

BOOTSTRAP_SEED = 0  # one for all trials: subsets are judged on the same redrawn samples


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an objective says of an outcome."""

    values: tuple[float, ...]  # one a thing to optimise, in the metric's own unit and direction
    stderr: float | None  # of the first value; None: it cannot be told
    constraints: Mapping[str, float]  # excess over each bound, feasible when <= 0


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A metric, its direction, and constraints; made by `make_objective`."""

    name: str
    direction: Direction
    metric: Metric | None  # None: a metric of the user's own
    custom: Callable[[Outcome], Any] | None = None
    constraints: tuple[Constraint, ...] = field(default=())

    @property
    def limits(self) -> dict[str, float]:
        """Maxima of costs known before training: what they rule out is never trained."""
        return {c.name: c.bound for c in self.constraints if c.name in COSTS and c.end == "max"}

    def oriented(self, value: float) -> float:
        """The value so that higher is better, whatever the direction."""
        return value if self.direction == "maximize" else -value

    def score(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        samples: Tensor | None = None,
        sample_ids: Sequence[str] | None = None,
        subset: Subset | None = None,
        fold: int = 0,
        costs: Mapping[str, float] | None = None,
    ) -> float:
        """The score of one fold at the end of an epoch.

        Args:
            logits: (N, C) float32 on the CPU.
            targets: (N,) int64 on the CPU.
            samples: (N,) their indices, which this and all that follow only a metric of the user's
                own sees, in the outcome that it gets.
            sample_ids: N names.
            subset: the units that the trial tunes.
            fold: the number of the fold.
            costs: what is known of them so far.

        Raises: ObjectiveError: if the result, or a score of the network, is not a finite number; if
            the metric cannot judge these samples. What the user's own raises passes unchanged.
        """
        self._check(logits, targets)
        if self.metric is not None:
            return finite_number(self.name, self.metric.measure(logits, targets))
        count = len(targets)
        part = Outcome(
            subset=Subset() if subset is None else subset,
            fold_scores=(),
            curves=(),
            logits=logits,
            targets=targets,
            samples=torch.arange(count) if samples is None else samples,
            sample_ids=tuple(map(str, range(count)) if sample_ids is None else sample_ids),
            folds=torch.full((count,), fold),
            costs={} if costs is None else costs,
        )
        return self._own(part)

    def evaluate(self, outcome: Outcome) -> Evaluation:
        """The score of a whole trial, its standard error, and the constraints.

        Raises: ObjectiveError: as `score`; or if a constraint is on a cost that the outcome lacks.
        """
        self._check(outcome.logits, outcome.targets)
        if self.metric is None:
            value = self._own(outcome)
            stderr = _over_folds(outcome.fold_scores)
        elif self.metric.per_sample is not None:
            value = self.metric.measure(outcome.logits, outcome.targets)
            stderr = _over_samples(self.metric, outcome)
        else:
            value, stderr = _mean_over_folds(self.metric, outcome)
        return Evaluation(
            values=(finite_number(self.name, value),),
            stderr=stderr,
            constraints={c.key: c.excess(outcome) for c in self.constraints},
        )

    def correct(self, logits: Tensor, targets: Tensor) -> NDArray[np.bool_] | None:
        """(N,) whether each sample counts as right; None if the metric is not a share of hits."""
        if self.metric is None or not self.metric.hits or self.metric.per_sample is None:
            return None
        hits: NDArray[np.bool_] = self.metric.per_sample(logits, targets).numpy()
        return hits

    def describe(self) -> dict[str, Any]:
        """What the objective is, as JSON: part of a study's fingerprint."""
        return {
            "metric": self.name,
            "direction": self.direction,
            "constraints": {constraint.key: constraint.bound for constraint in self.constraints},
        }

    def _own(self, outcome: Outcome) -> float:
        assert self.custom is not None
        return finite_number(self.name, self.custom(outcome))

    def _check(self, logits: Tensor, targets: Tensor) -> None:
        if len(targets) == 0:
            raise ObjectiveError(f"objective.metric: {self.name!r} needs samples (got none)")
        if not bool(torch.isfinite(logits).all()):
            # argmax would turn them into a class and hide that the training diverged.
            raise ObjectiveError(
                f"objective.metric: {self.name!r} got scores that are NaN or infinite from the "
                "network: its training diverged; lower recipe.lr or set recipe.clip_norm"
            )


def make_objective(
    metric: str | Callable[[Outcome], Any],
    *,
    direction: Direction | None = None,
    constraints: Mapping[str, Mapping[str, float]] | None = None,
) -> Objective:
    """What trials are scored by.

    Args:
        metric: a name ('accuracy', 'macro_f1', 'top5_accuracy', 'log_loss', one of torchmetrics' or
            scikit-learn's), 'package.module:callable', or a callable; one of the user's own takes
            the `Outcome` and returns one number.
        direction: 'maximize' or 'minimize'; a metric with a name knows its own; the default for the
            user's own is 'maximize'.
        constraints: `{name: {"max": …, "min": …}}` on costs (`costs.COSTS`) or metrics.

    Raises: ObjectiveError: for a metric that is unknown or cannot be used, a direction that
        contradicts it, or a constraint that cannot be read.
    """
    if direction not in (None, "maximize", "minimize"):
        raise ObjectiveError(
            f"objective.direction: must be 'maximize' or 'minimize' (got {direction!r})"
        )
    bounds = read_constraints({} if constraints is None else constraints)
    if isinstance(metric, str) and ":" not in metric:
        found = find_metric(metric)
        if direction not in (None, found.direction):
            raise ObjectiveError(
                f"objective.direction: {metric!r} is to be {found.direction}d (got {direction!r}); "
                "leave it out"
            )
        return Objective(name=metric, direction=found.direction, metric=found, constraints=bounds)
    own = load_callable(metric) if isinstance(metric, str) else metric
    if not callable(own):
        raise ObjectiveError(
            f"objective.metric: must be a name or a callable (got {type(own).__name__})"
        )
    name = metric if isinstance(metric, str) else callable_name(own)
    check_signature(name, own)
    return Objective(
        name=name,
        direction="maximize" if direction is None else direction,
        metric=None,
        custom=own,
        constraints=bounds,
    )


def _over_folds(scores: Sequence[float]) -> float | None:
    return standard_error(scores) if len(scores) > 1 else None


def _over_samples(metric: Metric, outcome: Outcome) -> float | None:
    assert metric.per_sample is not None
    values = metric.per_sample(outcome.logits, outcome.targets).double().numpy()
    if metric.hits:
        return binomial_standard_error(values)
    return standard_error(values) if len(values) > 1 else None


def _mean_over_folds(metric: Metric, outcome: Outcome) -> tuple[float, float | None]:
    """The mean of the folds' scores with its standard error; bootstrapped for a single fold."""
    parts = [outcome.folds == fold for fold in torch.unique(outcome.folds)]
    scores = [metric.measure(outcome.logits[part], outcome.targets[part]) for part in parts]
    if len(scores) > 1:
        return float(np.mean(scores)), _over_folds(scores)

    def redrawn(positions: NDArray[np.int64]) -> float | None:
        drawn = torch.from_numpy(positions)
        try:
            return metric.measure(outcome.logits[drawn], outcome.targets[drawn])
        except ObjectiveError:
            return None  # this draw misses a class that the metric needs

    size = len(outcome.targets)
    return scores[0], bootstrap_standard_error(redrawn, size, seed=BOOTSTRAP_SEED)
