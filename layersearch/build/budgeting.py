"""What a budget decides before the first trial: whether it is enough, and the protocol of greedy.

Greedy makes the most of a budget: every candidate by the whole schedule where it allows that, else
a race with looks as long as it allows, on as many of the folds, then so many finalists by the whole
schedule. What was chosen is kept in the study, so that whoever goes on with it does the same.
Settings that say the protocol, or the length of a look, have the last word.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from layersearch.build.budgets import build_budgets
from layersearch.build.given import Given
from layersearch.build.measuring import Rates, measure
from layersearch.build.planning import Case, Estimate
from layersearch.build.playing import race_of
from layersearch.build.precision import settle_precision
from layersearch.build.preparing import Prepared
from layersearch.build.proposing import build_proposing, least_look_of, usual_look
from layersearch.build.running import driver_devices
from layersearch.config import GreedyConfig
from layersearch.errors import ConfigError, Problem
from layersearch.execution.budgets import Budgets, Reserve
from layersearch.report.wording import duration, plural
from layersearch.strategies.optuna_adapter import StrategySampler
from layersearch.study import OpenStudy
from layersearch.study.attributes import PROTOCOL
from layersearch.study.lease import seconds_driven

ROUNDS = 3  # that gain in the search that has to fit; most gain fewer
_FINALISTS = 3
_SAID = ("protocol", "look_epochs", "finalists")  # settings that leave nothing to choose


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A protocol that a budget chose."""

    options: Mapping[str, Any]  # of greedy; empty: as it was described
    folds: int | None = None  # of every trial, the first so many; None: all
    why: str = ""

    def to_attribute(self) -> dict[str, Any]:
        """As a study keeps it."""
        return {"options": dict(self.options), "folds": self.folds, "why": self.why}


def chooses(prepared: Prepared, given: Given) -> bool:
    """Whether there is a protocol to choose for a budget."""
    config = prepared.config
    section, budget = config.strategy, config.execution.budget
    return (
        given.strategy is None
        and isinstance(section, GreedyConfig)
        and not set(_SAID) & section.model_fields_set
        and any(limit is not None for limit in (budget.epochs, budget.trainings, budget.seconds))
        and isinstance(config.recipe.epochs, int)
        and config.recipe.epochs > 1
    )


def measures(prepared: Prepared, given: Given) -> bool:
    """Whether the choice needs to know how fast this machine is."""
    return chooses(prepared, given) and _seconds(prepared) is not None


def choose(prepared: Prepared, given: Given, rates: Rates | None) -> Choice:
    """The protocol by which greedy fits into its budget.

    Args:
        prepared: a search that `chooses`.
        given: objects of the user's.
        rates: of this machine; None where no time is to be kept.
    """
    rates = rates or _TIMELESS
    whole = Choice(options={"protocol": "whole"})
    longest = _case(apply(prepared, whole, given), rates)
    if _fits(prepared, longest):
        why = (
            "the budget takes every candidate of greedy by the whole schedule "
            f"({_amounts(longest)} if {ROUNDS} rounds gain); strategy.protocol has the last word"
        )
        return replace(whole, why=why)
    materials = prepared.parts.materials
    leaps = isinstance(section := prepared.config.strategy, GreedyConfig) and bool(section.leap)
    every = len(materials.data.folds)
    races = list(
        _races(materials.recipe.epochs, leaps=leaps, least=least_look_of(materials), folds=every)
    )
    for place, race in enumerate(races):
        choice = Choice(
            options={
                "protocol": "fast",
                "look_epochs": race.look,
                "finalists": race.finalists,
            },
            folds=race.folds if race.folds < every else None,
        )
        case = _case(apply(prepared, choice, given), rates)
        if _fits(prepared, case) or place == len(races) - 1:
            return replace(choice, why=_why(prepared, longest, case, race))
    raise AssertionError("a recipe of two epochs has a race")


def _why(prepared: Prepared, longest: Case, case: Case, race: "_Race") -> str:
    every = len(prepared.parts.materials.data.folds)
    folds = "" if race.folds == every else f", all on {race.folds} of the {every} folds"
    last = f"{plural(race.finalists, 'finalist')} at most"
    plenty = "" if _fits(prepared, case) else "; the budget will end the looks"
    return (
        "the budget does not take every candidate of greedy by the whole schedule "
        f"({_amounts(longest)} if {ROUNDS} rounds gain), so it races: looks of "
        f"{plural(race.look, 'epoch')}, then {last}{folds} ({_amounts(case)}){plenty}; "
        "strategy.protocol has the last word"
    )


def cut_short(prepared: Prepared, given: Given) -> str:
    """That a budget ends greedy within its first round, as described; '' if it does not.

    A budget of time is not looked at: the plan shows what it takes.

    Args:
        prepared: a search that leaves nothing to choose.
        given: objects of the user's.
    """
    section, sampler = prepared.config.strategy, prepared.proposing.sampler
    if given.strategy is not None or not isinstance(section, GreedyConfig):
        return ""
    said = [f"strategy.{name}" for name in _SAID if name in section.model_fields_set]
    if not said or not isinstance(sampler, StrategySampler):
        return ""
    taken = Estimate(prepared, _TIMELESS).case(0)
    wanted = Estimate(prepared, _TIMELESS, bounded=False).case(0)
    if taken.trials >= wanted.trials:
        return ""
    return (
        f"the budget takes {taken.trials} of the {plural(wanted.trials, 'trial')} of greedy's "
        f"first round ({_amounts(wanted)}); leave out {' and '.join(said)}, and the budget chooses "
        "how to search, or give it more"
    )


def apply(prepared: Prepared, choice: Choice, given: Given) -> Prepared:
    """The search by the protocol that was chosen, on the folds that were."""
    if choice.folds is not None:
        prepared = _on_folds(prepared, choice.folds)
    if not choice.options:
        return prepared
    section = prepared.config.strategy.model_copy(update=dict(choice.options))
    config = prepared.config.model_copy(update={"strategy": section})
    parts, least = prepared.parts, least_look_of(prepared.parts.materials)
    proposing = build_proposing(config, given, parts.space, least_look=least)
    return replace(prepared, proposing=proposing)


def _on_folds(prepared: Prepared, count: int) -> Prepared:
    parts = prepared.parts
    data = parts.materials.data
    materials = replace(parts.materials, data=replace(data, folds=data.folds[:count]))
    return replace(prepared, parts=replace(parts, materials=materials))


def kept_choice(attributes: Mapping[str, Any], prepared: Prepared, given: Given) -> Choice | None:
    """What a study's budget chose, from its attributes; None: nothing.

    Of a search that has nothing to choose now only the folds: its scores are compared with others.
    """
    kept = attributes.get(PROTOCOL)
    if kept is None:
        return None
    choice = Choice(**kept)
    return choice if chooses(prepared, given) else Choice(options={}, folds=choice.folds)


def settle(
    prepared: Prepared,
    opened: OpenStudy,
    given: Given,
    *,
    tell: Callable[[str], None],
    decides: bool = True,
) -> Prepared:
    """The search as its study has it: its precision, and the protocol chosen for it, if any.

    Sets the study's sampler.

    Args:
        prepared: the search.
        opened: its study.
        given: objects of the user's.
        tell: is told what was chosen.
        decides: whether to choose where nothing was; a worker goes by what its driver chose.
    """
    # How fast this machine is follows from the precision.
    prepared = settle_precision(prepared, opened, tell=tell, decides=decides)
    choice = kept_choice(opened.study.user_attrs, prepared, given)
    if choice is None:
        if not decides or opened.history().known:
            choice = Choice(options={})
        elif chooses(prepared, given):
            choice = choose(prepared, given, rates_for(prepared, given, tell=tell))
            opened.study.set_user_attr(PROTOCOL, choice.to_attribute())
        else:
            choice = Choice(options={}, why=cut_short(prepared, given))
    if choice.why:
        tell(choice.why)
    prepared = apply(prepared, choice, given)
    opened.study.sampler = prepared.proposing.sampler
    _reserve(prepared, opened)
    return prepared


def rates_for(
    prepared: Prepared, given: Given, *, tell: Callable[[str], None] = lambda _: None
) -> Rates | None:
    """How fast this machine is, where a budget of time has to be kept."""
    if not measures(prepared, given):
        return None
    tell("measuring how fast this machine trains, for the budget of time")
    rates = measure(prepared.parts, device=driver_devices(prepared.config)[0])
    _check_time(prepared, rates)
    return rates


def check_least(prepared: Prepared, given: Given) -> None:
    """Refuses a budget in which not one trial can be trained.

    Raises:
        ConfigError: with the least that would do.
    """
    if chooses(prepared, given):  # it will take as few folds as it must
        prepared = _on_folds(prepared, 1)
    budgets = build_budgets(prepared.config, prepared.parts)
    folds = budgets.trainings_per_trial
    least = _least_epochs(prepared, budgets)
    problems = [
        Problem(
            where=f"execution.budget.{name}",
            what=f"one trial takes {each} {name} ({plural(folds, 'fold')}{more}), "
            f"and the budget is {limit}",
            remedy=f"give at least {each} {name}",
        )
        for name, limit, each, more in (
            ("trainings", budgets.trainings, folds, ""),
            ("epochs", budgets.epochs, least, f" of {least // folds} epochs"),
        )
        if limit is not None and each > limit
    ]
    if problems:
        raise ConfigError(problems)


def _least_epochs(prepared: Prepared, budgets: Budgets) -> int:
    race = race_of(getattr(prepared.proposing.sampler, "strategy", None))
    return budgets.epochs_per_trial if race is None else budgets.epochs_of(race.epochs)


def _check_time(prepared: Prepared, rates: Rates) -> None:
    prepared = _on_folds(prepared, 1)
    estimate = Estimate(prepared, rates)
    limit = _seconds(prepared)
    first = min((prepared.parts.space.subset(()), *_singles(prepared)), key=len)
    least = rates.worker + estimate.trial_seconds(first, 1)
    if limit is not None and least > limit:
        raise ConfigError(
            [
                Problem(
                    where="execution.budget.seconds",
                    what=f"the shortest trial takes about {duration(least)} on this machine, and "
                    f"the budget is {limit:g} s",
                    remedy=f"give several times {duration(least)}",
                )
            ]
        )


def _singles(prepared: Prepared) -> Iterator[Any]:
    space = prepared.parts.space
    return (space.subset((name,)) for name in space.free[:1])


def _reserve(prepared: Prepared, opened: OpenStudy) -> None:
    """Has a race keep of its budgets what its finalists will take."""
    budgets = build_budgets(prepared.config, prepared.parts)
    sampler = prepared.proposing.sampler
    race = race_of(sampler.strategy) if isinstance(sampler, StrategySampler) else None
    if race is None or not budgets.limited:
        return

    def driven() -> float:
        return seconds_driven(opened.study.user_attrs, now=time.time(), token=opened.lease.token)

    race.why_no_look = Reserve(
        budgets,
        look=race.epochs,
        finalists=race.most_finalists,
        workers=prepared.config.execution.local_workers,
        seconds=driven,
    ).why_no_look


@dataclass(frozen=True, kw_only=True)
class _Race:
    look: int  # epochs
    finalists: int
    folds: int


def _races(epochs: int, *, leaps: bool, least: int, folds: int) -> Iterator[_Race]:
    """The best first, the cheapest last.

    Before a leap longer looks than usual, and more finalists, were no better on tables of trained
    subsets, and fewer validation samples cost less than looks that are too short for any order
    (`docs/benchmarks.md`).

    Args:
        epochs: of the whole schedule.
        leaps: whether one round of looks is followed by the leap.
        least: epochs that a look needs.
        folds: that there are.
    """
    if leaps:
        longest = min(usual_look(epochs, least), epochs - 1)
        shortest = min(least, longest)
        for look in range(longest, shortest - 1, -1):
            yield _Race(look=look, finalists=1, folds=folds)
        for some in range(folds - 1, 0, -1):
            yield _Race(look=shortest, finalists=1, folds=some)
        for look in range(shortest - 1, 0, -1):
            yield _Race(look=look, finalists=1, folds=1)
        return
    for look in range(max(1, epochs // 2), 0, -1):
        yield _Race(look=look, finalists=_FINALISTS, folds=folds)
    for finalists in range(_FINALISTS - 1, 0, -1):
        yield _Race(look=1, finalists=finalists, folds=folds)
    for some in range(folds - 1, 0, -1):
        yield _Race(look=1, finalists=1, folds=some)


def _case(prepared: Prepared, rates: Rates) -> Case:
    estimate = Estimate(prepared, rates, bounded=False)
    return estimate.case(min(ROUNDS, len(prepared.parts.space.free)))


def _fits(prepared: Prepared, case: Case) -> bool:
    budget = prepared.config.execution.budget
    return not (
        (budget.epochs is not None and case.epochs > budget.epochs)
        or (budget.trainings is not None and case.trainings > budget.trainings)
        or (budget.seconds is not None and case.seconds > budget.seconds)
    )


def _amounts(case: Case) -> str:
    time_too = f", {duration(case.seconds)}" if case.seconds else ""
    return f"{plural(case.trainings, 'training')}, {plural(case.epochs, 'epoch')}{time_too}"


def _seconds(prepared: Prepared) -> float | None:
    return prepared.config.execution.budget.seconds


_TIMELESS = Rates(
    training={0: 0.0}, scoring={0: 0.0}, fixed=0.0, head=0.0, features=0.0, worker=0.0, busy=1.0
)
