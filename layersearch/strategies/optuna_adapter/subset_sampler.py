"""Any Optuna sampler, kept inside the search space and away from subsets that are known."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from layersearch.space import History, SearchSpace, Subset, derive_seed
from layersearch.strategies.fresh import Fresh
from layersearch.strategies.optuna_adapter.claims import (
    PATIENCE,
    Claims,
    claimed,
    enqueued,
    no_orphan,
    whole_study,
)
from layersearch.strategies.optuna_adapter.ranges import RECIPE, distributions
from layersearch.strategies.optuna_adapter.strategy_sampler import ReadHistory
from layersearch.strategies.protocol import (
    MAX_FAILURES,
    Done,
    Ledger,
    Progress,
    Wait,
    best_in_space,
    shown_score,
)

MakeSampler = Callable[[int], BaseSampler]  # seed -> sampler


class SubsetSampler(BaseSampler):
    """Any Optuna sampler, kept inside the space and away from subsets that are known.

    What the sampler wishes for is repaired to the nearest subset of the space; if that has a
    score or is running, a neighbour without is taken. Where recipe numbers are searched too, a
    subset may come again with other numbers.

    Args:
        space: the subsets that may be tried.
        base: the sampler, or what makes it from a seed. It is made when this process first asks,
            with a seed of the trial's number, so that neither two workers nor a resumed search
            repeat each other's random numbers.
        read_history: how a study is read as records.
        recipe: name of a recipe number ('lr') -> its range (`distribution`), sampled jointly with
            the units as the parameter 'recipe.lr'.
        queue: subsets to try first.
        seed: of the whole search.
        max_failures: how often a subset may fail before it is lost.
        patience: seconds to wait for the claims of trials with lower numbers.
    """

    def __init__(
        self,
        space: SearchSpace,
        base: BaseSampler | MakeSampler,
        *,
        read_history: ReadHistory,
        recipe: Mapping[str, Mapping[str, Any] | BaseDistribution] | None = None,
        queue: Sequence[Subset] = (),
        seed: int = 0,
        max_failures: int = MAX_FAILURES,
        patience: float = PATIENCE,
    ) -> None:
        self.space = space
        self.recipe = dict(recipe or {})
        self.distributions = distributions(space, self.recipe)
        self._base = base if isinstance(base, BaseSampler) else None
        self._make_base = None if isinstance(base, BaseSampler) else base
        self._read_history = read_history
        self._queue = tuple(dict.fromkeys(queue))
        self._fresh = Fresh(space)
        self._seed = seed
        self._max_failures = max_failures
        self._claims = Claims(patience=patience)
        self._lock = threading.Lock()

    def outlook(self, history: History) -> Wait | Done | None:
        """Whether to wait, or to end, rather than to ask for a trial; None: ask."""
        ledger = Ledger(history, max_failures=self._max_failures)
        if self.recipe or ledger.first_open(self._queue) is not None:
            return None
        return self._fresh.exhausted(ledger)

    def answer(self, history: History) -> Subset | None:
        """The best subset of the space."""
        return best_in_space(history, self.space)

    def explain(self, history: History) -> Progress:
        """How many subsets are done."""
        ledger = Ledger(history, max_failures=self._max_failures)
        best = self.answer(history)
        return Progress(
            phase=str(self._base or "sampling"),
            candidates_done=len(ledger.scores),
            best=best,
            best_score=shown_score(best, ledger),
        )

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Sample, repair and claim; Optuna calls it while it creates the trial."""
        with no_orphan(study, trial):
            whole = whole_study(study)
            with self._lock:
                wish = self._sampled(study, trial)
            history = self._claims.at_turn(whole, trial.number, self._read_history)
            fixed = enqueued(trial, self.space)
            choice = self._choose(history, wish, trial) if fixed is None else fixed
            on = self.space.to_parameters(choice) if isinstance(choice, Subset) else {}
            self._claims.publish(
                whole,
                trial,
                choice,
                parameters={**on, **self._numbers(trial, wish)},
                distributions=self.distributions,
            )

    def infer_relative_search_space(
        self,
        study: Study,  # noqa: ARG002 (Optuna's signature)
        trial: FrozenTrial,  # noqa: ARG002 (Optuna's signature)
    ) -> dict[str, BaseDistribution]:
        """The units: a trial that has claimed a subset has all its parameters already."""
        return {name: self.distributions[name] for name in self.space.free}

    def sample_relative(
        self,
        study: Study,  # noqa: ARG002 (Optuna's signature)
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],  # noqa: ARG002 (Optuna's signature)
    ) -> dict[str, Any]:
        """The claimed subset as parameters."""
        return dict(self.space.to_parameters(claimed(trial) or Subset()))

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A parameter that is not ours, as the sampler itself does it."""
        base = self._made(trial)
        return base.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Let the sampler do its bookkeeping."""
        self._made(trial).after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Reseed a sampler that was given; one that is made has a seed of its own anyway."""
        if self._base is not None:
            self._base.reseed_rng()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _made(self, trial: FrozenTrial) -> BaseSampler:
        if self._base is None:
            assert self._make_base is not None
            self._base = self._make_base(derive_seed(self._seed, "sampler", trial.number))
        return self._base

    def _sampled(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """What the sampler wishes for, all parameters."""
        base = self._made(trial)
        base.before_trial(study, trial)
        if isinstance(base, optuna.samplers.QMCSampler):
            # It would take its space from the first trial, and sample that one at random.
            space = dict(self.distributions)
        else:
            space = base.infer_relative_search_space(study, trial)
            space = {name: space[name] for name in space if name in self.distributions}
        wish = base.sample_relative(study, trial, space)
        return {
            name: wish[name]
            if name in wish
            else base.sample_independent(study, trial, name, distribution)
            for name, distribution in self.distributions.items()
        }

    def _numbers(self, trial: FrozenTrial, wish: Mapping[str, Any]) -> dict[str, Any]:
        """The recipe numbers of a trial: those that it was enqueued with, else as wished for."""
        fixed = trial.system_attrs.get("fixed_params", {})
        return {k: fixed.get(k, v) for k, v in wish.items() if k.startswith(RECIPE)}

    def _choose(
        self, history: History, wish: Mapping[str, Any], trial: FrozenTrial
    ) -> Subset | Wait | Done:
        ledger = Ledger(history, max_failures=self._max_failures)
        queued = ledger.first_open(self._queue)
        if queued is not None:
            return queued
        rng = np.random.default_rng(derive_seed(self._seed, "repair", trial.number))
        wished = self.space.from_parameters({name: wish[name] for name in self.space.free})
        if self.recipe:
            return self.space.repair(wished, rng)
        fresh = self._fresh.near(wished, ledger, rng)
        if fresh is not None:
            return fresh
        return self._fresh.exhausted(ledger) or Wait("another worker took the last subset")
