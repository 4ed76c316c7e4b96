"""A strategy as an Optuna sampler."""

import threading
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from layersearch.errors import SearchError
from layersearch.space import History, SearchSpace, Subset, derive_seed
from layersearch.space.records import PartOfTrial
from layersearch.strategies.optuna_adapter.claims import (
    PATIENCE,
    Claims,
    claimed,
    enqueued,
    no_orphan,
    whole_study,
)
from layersearch.strategies.optuna_adapter.ranges import distributions
from layersearch.strategies.protocol import (
    Done,
    Eliminates,
    Guesses,
    Look,
    Progress,
    Proposed,
    Strategy,
    Wait,
)

ReadHistory = Callable[[Study], History]


class StrategySampler(BaseSampler):
    """A strategy as an Optuna sampler.

    Args:
        strategy: what proposes.
        space: of the subsets.
        read_history: how a study is read as records.
        patience: seconds to wait for the claims of trials with lower numbers.
    """

    def __init__(
        self,
        strategy: Strategy,
        space: SearchSpace,
        *,
        read_history: ReadHistory,
        patience: float = PATIENCE,
    ) -> None:
        self.strategy = strategy
        self.space = space
        self.distributions = distributions(space, {})  # of the parameters a trial asks for
        self._read_history = read_history
        self._claims = Claims(patience=patience)
        self._lock = threading.Lock()

    def outlook(self, history: History) -> Wait | Done | None:
        """Whether to wait, or to end, rather than to ask for a trial; None: ask."""
        proposal = self._propose(history)
        return proposal if isinstance(proposal, Wait | Done) else None

    def next_epochs(self, history: History) -> int | None:
        """The epochs of what it would ask for now, if that is a look; None: the recipe's."""
        proposal = self._propose(history)
        return proposal.epochs if isinstance(proposal, Look) else None

    def moot(self, history: History) -> frozenset[Subset]:
        """The running subsets whose scores cannot matter any more."""
        strategy: object = self.strategy
        return strategy.moot(history) if isinstance(strategy, Guesses) else frozenset()

    def why_beaten(self, part: PartOfTrial, history: History) -> str:
        """Why a running trial cannot win any more; '' if it may."""
        strategy: object = self.strategy
        return strategy.why_beaten(part, history) if isinstance(strategy, Eliminates) else ""

    def answer(self, history: History) -> Subset | None:
        """The subset that the strategy chooses."""
        return self.strategy.answer(history)

    def explain(self, history: History) -> Progress:
        """Where the strategy stands."""
        return self.strategy.explain(history)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose and claim; Optuna calls it while it creates the trial."""
        with no_orphan(study, trial):
            whole = whole_study(study)
            past = self._claims.at_turn(whole, trial.number, self._read_history)
            fixed = enqueued(trial, self.space)
            choice = self._propose(past) if fixed is None else fixed
            subset = choice.subset if isinstance(choice, Look) else choice
            on = self.space.to_parameters(subset) if isinstance(subset, Subset) else {}
            self._claims.publish(
                whole,
                trial,
                choice,
                parameters=on,
                distributions=self.distributions,
                round_=self._round(choice, past),
            )

    def infer_relative_search_space(
        self,
        study: Study,  # noqa: ARG002 (Optuna's signature)
        trial: FrozenTrial,  # noqa: ARG002 (Optuna's signature)
    ) -> dict[str, BaseDistribution]:
        """The parameters of the whole subset."""
        return dict(self.distributions)

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
        """A parameter that is not ours, at random."""
        seed = derive_seed(trial.number, param_name) % 2**32
        random = optuna.samplers.RandomSampler(seed=seed)
        return random.sample_independent(study, trial, param_name, param_distribution)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _round(self, choice: Proposed, history: History) -> int | None:
        """Of a choice that adds to what the current round builds on, or takes from it."""
        if isinstance(choice, Look):
            choice = choice.subset
        if not isinstance(choice, Subset):
            return None
        progress = self.strategy.explain(history)
        if progress.round is None:
            return None
        if progress.base is None:
            return progress.round
        base, subset = set(progress.base), set(choice)
        # One that differs by two was begun on a guess, for the round after this one.
        steps = len(base ^ subset)
        nested = base <= subset or subset <= base
        return progress.round + steps - 1 if nested and steps in (1, 2) else None

    def _propose(self, history: History) -> Proposed:
        with self._lock:
            proposal = self.strategy.propose(history)
        if isinstance(proposal, Subset):
            return self.space.subset(proposal, where="strategy.propose")
        if isinstance(proposal, Look):
            subset = self.space.subset(proposal.subset, where="strategy.propose")
            return Look(subset, proposal.epochs)
        if not isinstance(proposal, Wait | Done):
            raise SearchError(
                f"strategy: {type(self.strategy).__name__}.propose must give a Subset, Look, "
                f"Wait or Done, got {proposal!r:.80}"
            )
        return proposal
