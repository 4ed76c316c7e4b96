"""Tune's schedulers, and the one around them that records before they decide.

A scheduler's clock is the number of epochs that a trial has done over all its folds; its metric is
the score reported to the study. A trial that a scheduler stops before its last epoch is pruned.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from layersearch.errors import SearchError
from layersearch.execution.ray_tune.options import SchedulerOptions
from layersearch.space.trial import Report

METRIC, CLOCK = "score", "epochs"  # of the results that schedulers see


class WholeBrackets(HyperBandScheduler):
    """HyperBand that halves a bracket only when the bracket has had all its trials.

    Tune's counts the trials of a bracket that are alive. Where fewer run at once than the bracket
    holds, they would be compared with none, or with whoever happens to be there.
    """

    def release(self, tune_controller: Any) -> None:
        """Goes on with brackets whose missing trials do not come."""
        for bracket in [bracket for band in self._hyperbands for bracket in band if bracket]:
            if bracket.current_trials():
                bracket.whole = True
                self._process_bracket(tune_controller, bracket)

    def _create_bracket(self, s: int) -> Any:
        bracket = super()._create_bracket(s)
        taken, size = bracket._all_trials, bracket._n0  # noqa: SLF001 - there is no other way
        bracket.whole = False
        waited_for = bracket.cur_iter_done
        bracket.filled = lambda: bracket.whole or len(taken) >= size
        bracket.cur_iter_done = lambda: bracket.filled() and waited_for()
        return bracket


_CLASSES: Mapping[str, type[TrialScheduler]] = {
    "asha": ASHAScheduler,
    "hyperband": WholeBrackets,
    "median": MedianStoppingRule,
}
_OURS = ("metric", "mode", "time_attr", "stop_last_trials")

Curve = Sequence[tuple[int, float]]  # (epochs done, score), in order


def make_scheduler(options: SchedulerOptions, *, mode: str, epochs: int) -> TrialScheduler:
    """A scheduler.

    Args:
        options: its name and its own options.
        mode: 'max' or 'min'.
        epochs: of a trial, over all its folds; 0: not known.

    Raises:
        SearchError: there is no such scheduler, or it does not take these options.
    """
    if options.name == "fifo":
        if options.options:
            raise SearchError("execution.scheduler: 'fifo' takes no options; leave them out")
        return FIFOScheduler()
    kind = _CLASSES.get(options.name) or _own(options.name)
    known = _parameters(kind)
    wrong = [name for name in options.options if name not in known or name in _OURS]
    if wrong:
        usable = [name for name in known if name not in _OURS]
        raise SearchError(
            f"execution.scheduler: '{options.name}' takes no {', '.join(wrong)}; its options are "
            f"{', '.join(usable)}"
        )
    chosen = {**_defaults(options.name, epochs), **options.options}
    try:
        made = kind(time_attr=CLOCK, metric=METRIC, mode=mode, **chosen)
    except (TypeError, ValueError, AssertionError) as error:
        raise SearchError(f"execution.scheduler: {options.name}: {error}") from error
    if not isinstance(made, TrialScheduler):
        raise SearchError(f"execution.scheduler: {options.name} gave no scheduler of Ray Tune")
    return made


def _parameters(kind: Callable[..., Any]) -> Sequence[str]:
    try:
        return list(inspect.signature(kind).parameters)
    except (TypeError, ValueError) as error:
        raise SearchError(f"execution.scheduler: {kind} makes no scheduler") from error


def _defaults(name: str, epochs: int) -> dict[str, Any]:
    """Options by which a trial that survives is trained to its own end."""
    if name in {"asha", "hyperband"}:
        if epochs == 0:
            return {"stop_last_trials": False}
        return {"max_t": epochs, "stop_last_trials": False}
    if name == "median":
        return {"grace_period": 1, "min_time_slice": math.inf}
    return {}


def _own(name: str) -> Callable[..., TrialScheduler]:
    module, _, attribute = name.partition(":")
    try:
        found: Callable[..., TrialScheduler] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SearchError(
            f"execution.scheduler: there is no '{name}' ({error}); write fifo, asha, hyperband, "
            "median or 'package.module:callable'"
        ) from error
    return found


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """Stands for a trial of an earlier run when its curve is told to a scheduler."""

    trial_id: str
    status: str = "TERMINATED"


def replay(scheduler: TrialScheduler, curves: Iterable[tuple[int, Curve]]) -> int:
    """Tells ASHA or the median rule what earlier runs of the search saw.

    HyperBand compares the trials of a bracket, which has gone with its run.

    Args:
        scheduler: new.
        curves: numbers of trials that have ended, with their curves.

    Returns:
        How many curves were told.
    """
    if not isinstance(scheduler, ASHAScheduler | MedianStoppingRule):
        return 0
    told = 0
    for number, curve in curves:
        if not curve:
            continue
        trial = Replayed(trial_id=f"earlier-{number}")
        scheduler.on_trial_add(None, trial)
        for epochs, score in curve:
            scheduler.on_trial_result(None, trial, seen(score=score, epochs=epochs))
        scheduler.on_trial_complete(None, trial, seen(score=curve[-1][1], epochs=curve[-1][0]))
        told += 1
    return told


def seen(*, score: float, epochs: int) -> dict[str, Any]:
    """A result as schedulers see it."""
    return {METRIC: score, CLOCK: epochs, "training_iteration": epochs}


class RecordingScheduler(TrialScheduler):
    """Any scheduler of Tune's, told of a report only when the study has it and lets it pass.

    Args:
        inner: decides on pruning and pausing.
        hear: records what a trial said; gives the reports that the study lets pass, None if the
            trial has ended.
        prune: records that `inner` stops a trial, if the trial has not ended; its last report.
    """

    def __init__(
        self,
        inner: TrialScheduler,
        *,
        hear: Callable[[Any, Mapping[str, Any]], Sequence[Report] | None],
        prune: Callable[[Any, Report | None], None],
    ) -> None:
        super().__init__()
        self.inner = inner
        self._hear = hear
        self._prune = prune
        self._live: dict[Any, Report | None] = {}  # trials in their order, with their last report
        self._in_order = type(inner).choose_trial_to_run is FIFOScheduler.choose_trial_to_run

    @property
    def supports_buffered_results(self) -> bool:
        """No: each report may stop its trial."""
        return False

    def set_search_properties(
        self,
        metric: str | None,  # noqa: ARG002 (Tune's signature)
        mode: str | None,  # noqa: ARG002
        **spec: Any,  # noqa: ARG002
    ) -> bool:
        """They are ours."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial waits to begin."""
        self._live[trial] = None
        self.inner.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A trial said something; results that end a trial do not come here."""
        reports = self._hear(trial, result)
        if reports is None:
            return str(TrialScheduler.STOP)
        for report in reports:
            self._live[trial] = report
            decision = str(self.inner.on_trial_result(tune_controller, trial, _seen(report)))
            last = report.epochs_total and report.epochs_done >= report.epochs_total
            if decision == TrialScheduler.CONTINUE or last:
                continue  # after its last epoch it has nothing left but to say its result
            if decision == TrialScheduler.STOP:
                self._prune(trial, report)
            return decision
        return str(TrialScheduler.CONTINUE)

    def on_trial_complete(
        self,
        tune_controller: Any,
        trial: Any,
        result: dict[str, Any],  # noqa: ARG002 (Tune's signature)
    ) -> None:
        """A trial has ended, by itself or stopped."""
        last = self._live.pop(trial, None)
        self._prune(trial, last)
        if last is None:
            self.inner.on_trial_error(tune_controller, trial)
        else:
            self.inner.on_trial_complete(tune_controller, trial, _seen(last))

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A trial's worker died or hangs."""
        self._live.pop(trial, None)
        self.inner.on_trial_error(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A trial ends that is paused or has not begun."""
        self._prune(trial, self._live.pop(trial, None))
        self.inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The next to begin or to resume."""
        if not self._in_order:
            chosen = self.inner.choose_trial_to_run(tune_controller)
            if chosen is None and isinstance(self.inner, WholeBrackets) and self._all_paused():
                self.inner.release(tune_controller)
                chosen = self.inner.choose_trial_to_run(tune_controller)
            if chosen is not None or not self._all_paused():
                return chosen
        for status in ("PENDING", "PAUSED"):
            for trial in self._live:
                if trial.status == status:
                    return trial
        return None

    def _all_paused(self) -> bool:
        """Whether the trials that there are wait for others, and no other comes."""
        return all(trial.status == "PAUSED" for trial in self._live)

    def debug_string(self) -> str:
        """In words."""
        return str(self.inner.debug_string())


def _seen(report: Report) -> dict[str, Any]:
    return seen(score=float(report.score), epochs=report.epochs_done or report.step + 1)
