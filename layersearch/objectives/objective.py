"""Objective: what a trial is scored by: one value or several, and constraints.

Every metric is measured on the validation predictions of all folds pooled. Its standard error is
that of the mean where it is one over samples (accuracy, topK_accuracy, log_loss), else it is found
by drawing the samples anew (bootstrap). N: samples; C: classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layersearch.errors import ObjectiveError
from layersearch.objectives.constraints import Constraint, read_constraints
from layersearch.objectives.metrics import Direction, Metric
from layersearch.objectives.outcome import Outcome
from layersearch.objectives.sources import Source, find_source
from layersearch.space.subset import Subset

NamedMetric = str | Callable[[Outcome], Any]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an objective says of an outcome."""

    values: tuple[float, ...]  # one a thing to optimise, in the metric's own unit and direction
    stderrs: tuple[float | None, ...]  # one a value; None: it cannot be told, or there is no noise
    constraints: Mapping[str, float]  # excess over each bound, feasible when <= 0

    @property
    def stderr(self) -> float | None:
        """Of the first value."""
        return self.stderrs[0]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is optimised, in which directions, and constraints; made by `make_objective`.

    The first value is what learning curves show, greedy and pruners compare, and the retrained
    networks are tested by.
    """

    names: tuple[str, ...]  # of the values
    directions: tuple[Direction, ...]  # one a value
    sources: tuple[Source, ...]  # where the values come from, in their order
    constraints: tuple[Constraint, ...] = field(default=())

    @property
    def name(self) -> str:
        """That of the first value."""
        return self.names[0]

    @property
    def direction(self) -> Direction:
        """That of the first value."""
        return self.directions[0]

    @property
    def metric(self) -> Metric | None:
        """That of the first value; None: it is of the user's own."""
        return self.sources[0].metric

    @property
    def several(self) -> bool:
        """Whether there is more than one value, and so no best trial but a Pareto front."""
        return len(self.names) > 1

    @property
    def limits(self) -> dict[str, float]:
        """Maxima of costs known before training: what they rule out is never trained."""
        return {c.name: c.bound for c in self.constraints if c.hard and c.end == "max"}

    @property
    def floors(self) -> dict[str, float]:
        """Minima of costs known before training: what they rule out is never trained."""
        return {c.name: c.bound for c in self.constraints if c.hard and c.end == "min"}

    @property
    def costs(self) -> frozenset[str]:
        """The costs that values or constraints are about."""
        values = {source.cost for source in self.sources if source.cost is not None}
        return frozenset(values | {c.name for c in self.constraints if c.hard})

    def oriented(self, value: float) -> float:
        """A first value so that higher is better, whatever the direction."""
        return value if self.direction == "maximize" else -value

    def for_classes(self, classes: Sequence[str]) -> "Objective":
        """The objective for data of these classes, which a metric about one class must know.

        Raises: ObjectiveError: it is about a class that there is not, with the nearest names.
        """
        return replace(
            self,
            sources=tuple(source.for_classes(classes) for source in self.sources),
            constraints=tuple(constraint.for_classes(classes) for constraint in self.constraints),
        )

    def try_out(self, folds: Sequence[Tensor], *, classes: int) -> None:
        """Judges made-up scores once, so that a metric that cannot judge these labels says so now.

        A callable of the user's own may do anything, and is called for real outcomes only.

        Args:
            folds: (n,) int64 validation labels of each fold.
            classes: how many there are.

        Raises: ObjectiveError: of the first metric that cannot judge them.
        """
        for labels in folds:
            if self.metric is not None:
                self.score(torch.nn.functional.one_hot(labels, classes).float(), labels)
        pooled = torch.cat(list(folds))
        scores = torch.nn.functional.one_hot(pooled, classes).float()
        for metric in self._metrics():
            metric.measure(scores, pooled)

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
        """The first value for one fold at the end of an epoch, or for test samples.

        Args:
            logits: (N, C) float32 on the CPU.
            targets: (N,) int64 on the CPU.
            samples: (N,) their indices, which this and all that follow only a metric of the user's
                own sees, in the outcome that it gets.
            sample_ids: N names.
            subset: the units that the trial tunes.
            fold: the number of the fold.
            costs: those known before training.

        Raises: ObjectiveError: if the result, or a score of the network, is not a finite number; if
            the metric cannot judge these samples. What the user's own raises passes unchanged.
        """
        self._check(logits, targets)
        count, first = len(targets), self.sources[0]
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
        return first.answer(part, values=self.names[: len(first.directions)]).values[0]

    def evaluate(self, outcome: Outcome) -> Evaluation:
        """The values of a whole trial, their standard errors, and the constraints.

        Raises: ObjectiveError: as `score`; or if a value or constraint is of a cost that the
            outcome lacks.
        """
        self._check(outcome.logits, outcome.targets)
        values: list[float] = []
        stderrs: list[float | None] = []
        constraints = {c.key: c.excess(outcome) for c in self.constraints}
        for source in self.sources:
            at, end = len(values), len(values) + len(source.directions)
            answer = source.answer(outcome, values=self.names[at:end])
            rest = [None] * (len(answer.values) - 1)
            stderrs += [source.stderr(outcome, first=at == 0), *rest]
            values += answer.values
            constraints |= answer.constraints
        return Evaluation(values=tuple(values), stderrs=tuple(stderrs), constraints=constraints)

    def measures(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        """Every value that is a metric of scores and targets alone, by its name.

        Raises: ObjectiveError: as `score`.
        """
        self._check(logits, targets)
        found, at = {}, 0
        for source in self.sources:
            if source.metric is not None:
                found[self.names[at]] = source.metric.measure(logits, targets)
            at += len(source.directions)
        return found

    def correct(self, logits: Tensor, targets: Tensor) -> NDArray[np.bool_] | None:
        """(N,) whether each sample counts as right; None if the metric is not a share of hits."""
        if self.metric is None or not self.metric.hits or self.metric.per_sample is None:
            return None
        hits: NDArray[np.bool_] = self.metric.per_sample(logits, targets).numpy()
        return hits

    def describe(self) -> dict[str, Any]:
        """What the objective is, as JSON: part of a study's fingerprint."""
        described: dict[str, Any] = {
            "metric": list(self.names) if self.several else self.name,
            "direction": list(self.directions) if self.several else self.direction,
            "constraints": {constraint.key: constraint.bound for constraint in self.constraints},
        }
        sources = [source.name for source in self.sources]
        if sources != list(self.names):
            described["sources"] = sources
        if any(metric.per_sample is None for metric in self._metrics()):
            described["measured_on"] = "pooled folds"
        return described

    def _metrics(self) -> list[Metric]:
        """All that values and constraints are about."""
        found = [source.metric for source in self.sources]
        return [m for m in (*found, *(c.metric for c in self.constraints)) if m is not None]

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
    metric: NamedMetric | Sequence[NamedMetric],
    *,
    direction: Direction | Sequence[Direction] | None = None,
    names: Sequence[str] | None = None,
    constraints: Mapping[str, Mapping[str, float]] | None = None,
) -> Objective:
    """What trials are scored by.

    Args:
        metric: one or several: a name ('accuracy', 'macro_f1', 'top5_accuracy', 'recall[cat]', one
            of torchmetrics' or scikit-learn's), after it names of costs (`costs.COSTS`),
            'package.module:callable', or a callable; one of the user's own takes the `Outcome` and
            returns what `custom` says.
        direction: 'maximize' or 'minimize', one a value; a metric with a name knows its own; the
            default for the user's own is 'maximize'. A callable that is the only metric returns as
            many values as there are directions.
        names: of the values; None: those of the metrics.
        constraints: `{name: {"max": …, "min": …}}` on costs or metrics.

    Raises: ObjectiveError: for a metric that is unknown or cannot be used, a direction that
        contradicts it, a cost without a metric before it, or a constraint that cannot be read.
    """
    entries: list[NamedMetric]
    entries = [metric] if isinstance(metric, str) or callable(metric) else _listed(metric)
    if not entries:
        raise ObjectiveError("objective.metric: needs at least one metric (got none)")
    wanted = (direction,) if isinstance(direction, str) else direction
    for given in wanted or ():
        if given not in ("maximize", "minimize"):
            raise ObjectiveError(
                f"objective.direction: must be 'maximize' or 'minimize' (got {given!r})"
            )
    sources = _sources(entries, wanted)
    directions = tuple(each for source in sources for each in source.directions)
    known = tuple(names) if names is not None else _value_names(sources)
    if len(known) != len(directions) or len(set(known)) != len(known):
        raise ObjectiveError(
            f"objective.names: {len(directions)} values need as many different names "
            f"(got {', '.join(known)})"
        )
    return Objective(
        names=known,
        directions=directions,
        sources=sources,
        constraints=read_constraints({} if constraints is None else constraints),
    )


def _listed(metrics: Sequence[NamedMetric]) -> list[NamedMetric]:
    if not isinstance(metrics, list | tuple):
        raise ObjectiveError(
            f"objective.metric: must be a name or a callable (got {type(metrics).__name__})"
        )
    return list(metrics)


def _sources(
    entries: Sequence[NamedMetric], wanted: Sequence[Direction] | None
) -> tuple[Source, ...]:
    sources: tuple[Source, ...]
    if len(entries) == 1:
        sources = (find_source(entries[0], wanted),)
    elif wanted is not None and len(wanted) != len(entries):
        raise ObjectiveError(
            f"objective.direction: {len(entries)} metrics need as many directions (got "
            f"{len(wanted)})"
        )
    else:
        each = [None] * len(entries) if wanted is None else [(one,) for one in wanted]
        sources = tuple(find_source(entry, one) for entry, one in zip(entries, each, strict=True))
    if sources[0].cost is not None:
        raise ObjectiveError(
            f"objective.metric: {sources[0].name!r} is a cost, known before any training; name a "
            f"metric before it, such as [accuracy, {sources[0].name}]: curves, and which member of "
            "the front is taken, go by the first"
        )
    return sources


def _value_names(sources: Sequence[Source]) -> tuple[str, ...]:
    """Those of the metrics; the values of one that gives several are numbered."""
    names: list[str] = []
    for source in sources:
        count = len(source.directions)
        names += [source.name] if count == 1 else [f"{source.name}[{i + 1}]" for i in range(count)]
    return tuple(names)
