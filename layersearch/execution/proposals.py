"""What to run next: budgets, the strategy, the sampler, limits, and scores known already."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import optuna
from optuna.distributions import BaseDistribution

from layersearch.errors import SearchError
from layersearch.execution.budgets import Budgets, Spending, used_up
from layersearch.execution.desk import Desk
from layersearch.execution.observer import Observers
from layersearch.space.records import Follower, History, TrialRecord
from layersearch.space.subset import Subset
from layersearch.space.trial import Proposal
from layersearch.strategies.optuna_adapter import StrategySampler, SubsetSampler
from layersearch.strategies.protocol import Done, Progress, Wait
from layersearch.study import attributes as names
from layersearch.study.lease import seconds_driven
from layersearch.study.opening import OpenStudy
from layersearch.study.recording import record_failure, record_infeasible, record_start

MAX_REPEATS = 200  # proposals in a row that need no training, after which a sampler has nothing new
NOT_NEEDED = "not needed: the search went on without it"
MAX_UNCLAIMED = 20  # trials in a row for which a sampler has no subset


@runtime_checkable
class Planner(Protocol):
    """What knows whether there is more to train; both adapters of strategies do."""

    def outlook(self, history: History) -> Wait | Done | None:
        """Whether to wait, or to end, rather than to ask for a trial; None: ask."""
        ...

    def explain(self, history: History) -> Progress:
        """Where the search stands."""
        ...


@runtime_checkable
class Guessing(Protocol):
    """A planner that has trials begun before it is sure that it needs them."""

    def moot(self, history: History) -> Collection[Subset]:
        """The running subsets whose scores cannot matter any more."""
        ...


@runtime_checkable
class Foreseeing(Protocol):
    """A planner whose trials are not all of the recipe's epochs."""

    def next_epochs(self, history: History) -> int | None:
        """Epochs of each training of the next trial; None: the recipe's."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Run this trial."""

    trial: optuna.Trial
    proposal: Proposal


@dataclass(frozen=True, kw_only=True)
class Rest:
    """Nothing to begin before a running trial ends."""

    reason: str
    others: bool  # whether another driver's trials are running


@dataclass(frozen=True, kw_only=True)
class End:
    """Nothing to begin any more."""

    reason: str
    budget: bool


class Proposals:
    """Asks the study's sampler for trials, and settles those that need no training.

    Args: see `run_search`.
    """

    def __init__(
        self,
        opened: OpenStudy,
        desk: Desk,
        audience: Observers,
        *,
        planner: Planner | None,
        claimed: Callable[[optuna.Trial], Subset | None],
        recipe: Callable[[optuna.Trial], Mapping[str, Any]],
        costs: Callable[[Subset], Mapping[str, float]],
        why_not: Callable[[Subset], str | None],
        budgets: Budgets,
        retrain: bool,
        waits: bool = True,
    ) -> None:
        self._opened = opened
        self._desk = desk
        self._audience = audience
        self._planner = planner
        sampler = opened.study.sampler
        # Our adapters write a trial's parameters together with its claim.
        ours = isinstance(sampler, StrategySampler | SubsetSampler)
        distributions = {} if ours else getattr(sampler, "distributions", {})
        self._distributions: Mapping[str, BaseDistribution] = distributions
        self._claimed = claimed
        self._recipe = recipe
        self._costs = costs
        self._why_not = why_not
        self._budgets = budgets
        self._spending = Spending(budgets)
        self._retrain = retrain
        self._waits = waits
        self._repeats = 0
        self._unclaimed = 0
        self._told = float("-inf")
        self._scored = Follower(dict[tuple[Subset, str], int], _add_scored)

    def next(self) -> Ask | Rest | End:
        """The next trial to run; those that need no training are recorded on the way."""
        while True:
            history = self._opened.history()
            self._dismiss(history)
            stop = self._why_no_more(history)
            if isinstance(stop, End) and self._waits and self._others_run(history):
                # What they find belongs to the search, and may leave room in the budget.
                return Rest(reason="trials of other drivers are running", others=True)
            if stop is not None:
                return stop
            trial = self._opened.study.ask(dict(self._distributions))
            try:
                ask = self._settle_or_ask(trial, history)
            except Exception as error:
                record_failure(self._opened.study, trial, f"no proposal: {error}", interrupted=True)
                raise
            if ask is None:
                self._repeats += 1
                continue
            if isinstance(ask, Ask):
                self._repeats = 0
            return ask

    def _dismiss(self, history: History) -> None:
        """Ends trials that were begun on a guess that turned out wrong."""
        planner: object = self._planner
        if isinstance(planner, Guessing) and self._desk.running:
            self._desk.dismiss(planner.moot(history), NOT_NEEDED)

    def _why_no_more(self, history: History) -> Rest | End | None:
        verdict = None if self._planner is None else self._planner.outlook(history)
        if isinstance(verdict, Done):
            return End(reason=verdict.reason, budget=verdict.budget)
        used, epochs = self._spending.of(history), None
        planner: object = self._planner
        if self._budgets.epochs is not None and isinstance(planner, Foreseeing):
            epochs = planner.next_epochs(history)
        reason = used_up(self._budgets, used, seconds=self._seconds(), epochs=epochs)
        if reason:
            return End(reason=reason, budget=True)
        if self._repeats >= MAX_REPEATS:
            if self._desk.running:
                return Rest(reason="every proposal is known or running", others=False)
            return End(reason=f"nothing new in {MAX_REPEATS} proposals", budget=False)
        if isinstance(verdict, Wait):
            return Rest(reason=verdict.reason, others=self._others_run(history))
        return None

    def _seconds(self) -> float:
        if self._budgets.seconds is None:
            return 0.0
        attrs = self._opened.study.user_attrs
        return seconds_driven(attrs, now=time.time(), token=self._opened.lease.token)

    def _others_run(self, history: History) -> bool:
        return any(record.number not in self._desk.running for record in history.active)

    def _settle_or_ask(self, trial: optuna.Trial, history: History) -> Ask | Rest | None:
        subset = self._claimed(trial)
        if subset is None:  # another driver was quicker
            record_failure(self._opened.study, trial, "nothing to claim", interrupted=True)
            self._unclaimed += 1
            if self._unclaimed >= MAX_UNCLAIMED:
                raise SearchError(f"the sampler claimed no subset {MAX_UNCLAIMED} times in a row")
            return Rest(reason="another driver has the last subsets", others=True)
        self._unclaimed = 0
        recipe = dict(self._recipe(trial))
        look = trial.user_attrs.get(names.LOOK)
        if look is not None:
            recipe["epochs"] = look
        proposal = Proposal(number=trial.number, subset=subset, recipe=recipe, look=look)
        record_start(
            trial,
            subset=subset,
            costs=self._costs(subset),
            recipe=proposal.recipe,
            driver=self._opened.lease.token,
        )
        reason = self._why_not(subset)
        if reason:
            record_infeasible(self._opened.study, trial, reason)
            self._audience.pruned(proposal, f"infeasible: {reason}")
            return None
        if look is None and not self._retrain and self._known(trial, proposal, history):
            return None
        return Ask(trial=trial, proposal=self._desk.fit(proposal))

    def _known(self, trial: optuna.Trial, proposal: Proposal, history: History) -> bool:
        """Whether the trial has its score, or will, from another trial of its subset and recipe."""
        recipe = names.canonical(proposal.recipe)
        source = self._scored.of(history).get((proposal.subset, recipe))
        if source is not None:
            self._desk.repeat(trial, proposal, source=source)
            return True
        twin = self._desk.twin(proposal.subset, recipe)
        if twin is not None:
            twin.twins.append((trial, proposal))
            return True
        return False


def _add_scored(numbers: dict[tuple[Subset, str], int], record: TrialRecord) -> None:
    """Subset and recipe -> the number of the trial that has their score."""
    if record.score is not None and record.subset is not None and record.look is None:
        numbers.setdefault((record.subset, names.canonical(record.recipe)), record.number)
