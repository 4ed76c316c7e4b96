"""Claims: how many workers on one study choose different subsets.

A sampler chooses the whole subset while the trial is created and *claims* it in the study, as the
user attribute `subset`, before any other worker can choose the same. The claim needs no lock: a
trial's number is its ticket. A worker waits until every running trial with a lower number has
claimed (or has said that it claims nothing), then takes the first free candidate; so claims are
made one after the other, in the order of the numbers. A worker that died between the two costs
the others one bounded wait each.

Sampling must not raise, since Optuna would leave the trial running for ever: a sampler that finds
nothing to train claims nothing (`claim`: 'none: …'), and the runner ends such a trial (`claimed`).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from layersearch.space import History, SearchSpace, Subset
from layersearch.strategies.protocol import Look, Proposed
from layersearch.study.attributes import LOOK, ROUND, SUBSET
from layersearch.study.together import check_compatible, write_together

CLAIM = "claim"  # user attribute of a trial that claimed nothing: 'none: why'
PATIENCE = 30.0  # seconds to wait for the claim of a running trial with a lower number


def claimed(trial: Trial | FrozenTrial) -> Subset | None:
    """The subset that a trial has claimed; None: there was nothing to train, end the trial."""
    names = trial.user_attrs.get(SUBSET)
    return None if names is None else Subset(names)


class Claims:
    """Claims of subsets, made in the order of the trials' numbers.

    Args:
        patience: seconds to wait for the claims of trials with lower numbers.
    """

    def __init__(self, *, patience: float = PATIENCE) -> None:
        self.patience = patience
        self._given_up: set[int] = set()  # numbers of trials that never claimed
        self._checked = False  # whether the parameters are what earlier trials had

    def at_turn(self, study: Study, number: int, read: Callable[[Study], History]) -> History:
        """The study once every running trial with a lower number has claimed, or after `patience`.

        Args:
            study: the whole study.
            number: of the trial whose turn it is then.
            read: reads the study.
        """
        end, pause = time.monotonic() + self.patience, 0.005
        while True:
            past = read(study)
            before = self._unclaimed_before(past, number)
            if not before:
                return past
            if time.monotonic() > end:
                self._given_up.update(before)
                return past
            time.sleep(pause)
            pause = min(2 * pause, 0.1)

    def publish(
        self,
        study: Study,
        trial: FrozenTrial,
        choice: Proposed,
        *,
        parameters: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        round_: int | None = None,
    ) -> None:
        """Write a trial's claim with all its parameters, or that it has none, to the study.

        Args:
            study: the whole study.
            trial: the copy that the runner's Trial reads; is kept up to date.
            choice: what it claims.
            parameters: name -> value, of what is claimed.
            distributions: name -> what the value is from.
            round_: of the strategy, if it goes by rounds.
        """
        if isinstance(choice, Subset):
            claim: dict[str, Any] = {SUBSET: list(choice)}
        elif isinstance(choice, Look):
            claim = {SUBSET: list(choice.subset), LOOK: choice.epochs}
        else:
            claim, parameters, round_ = {CLAIM: f"none: {choice.reason}"}, {}, None
        if round_ is not None:
            claim[ROUND] = round_
        if parameters and not self._checked:
            check_compatible(study.get_trials(deepcopy=False), distributions)
            self._checked = True
        write_together(
            study._storage,  # noqa: SLF001 (a sampler has no Trial)
            trial._trial_id,  # noqa: SLF001
            parameters={
                name: (distributions[name].to_internal_repr(value), distributions[name])
                for name, value in parameters.items()
            },
            attributes=claim,
        )
        trial.user_attrs.update(claim)
        trial.params = {**trial.params, **parameters}
        trial.distributions = {
            **trial.distributions,
            **{name: distributions[name] for name in parameters},
        }

    def _unclaimed_before(self, past: History, number: int) -> set[int]:
        return {
            record.number
            for record in past.active
            if record.number < number
            and not {SUBSET, CLAIM} & record.attributes.keys()
            and record.number not in self._given_up
        }


def whole_study(study: Study) -> Study:
    """The study itself, where Optuna's Hyperband shows a sampler one bracket of it only."""
    whole: Study = getattr(study, "_study", study)
    return whole


def enqueued(trial: FrozenTrial, space: SearchSpace) -> Subset | None:
    """The subset of a trial that was enqueued in the study by `study.enqueue_trial`, if it was."""
    fixed = trial.system_attrs.get("fixed_params", {})
    on = {name: bool(fixed[name]) for name in space.free if name in fixed}
    return space.from_parameters(on) if on else None


@contextmanager
def no_orphan(study: Study, trial: FrozenTrial) -> Iterator[None]:
    """An error while a trial is created fails the trial, so that it does not run for ever."""
    try:
        yield
    except BaseException as error:
        storage, trial_id = study._storage, trial._trial_id  # noqa: SLF001 (it has no Trial yet)
        storage.set_trial_user_attr(trial_id, CLAIM, f"none: {type(error).__name__}: {error}")
        storage.set_trial_state_values(trial_id, TrialState.FAIL)
        raise
