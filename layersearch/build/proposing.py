"""What proposes the subsets of a search: a strategy or a sampler, with its options and pruner."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.pruners import BasePruner, NopPruner

from layersearch.build.given import Given
from layersearch.config import (
    CustomConfig,
    GreedyConfig,
    NestedConfig,
    SamplerConfig,
    SearchConfig,
)
from layersearch.errors import ConfigError, Problem
from layersearch.space import History, SearchSpace, Subset
from layersearch.strategies import Greedy, Ledger, Queued, Race, Strategy, paired_gain
from layersearch.strategies.options import imported
from layersearch.strategies.optuna_adapter import (
    StrategySampler,
    SubsetSampler,
    make_pruner,
    make_search_sampler,
)
from layersearch.study import history
from layersearch.subtuning import Materials

_COMMON = {"name", "trials", "enqueue", "pruner", "options"}
LOOK_SHARE = 5  # recipes' epochs for one of a look
# What a look has at least: steps of the optimizer, and samples that they see. Looks of 20 steps and
# 1,000 samples ranked units as whole schedules do, and so did 28 steps and 640 samples; with 14
# steps and 320 samples nearly all units looked worse than the head alone (docs/benchmarks.md).
LOOK_STEPS, LOOK_SAMPLES = 20, 600
RACING = ("look_epochs", "finalists", "lazy", "leap")


@dataclass(frozen=True, kw_only=True, eq=False)
class Proposing:
    """The study's sampler and pruner."""

    name: str  # the strategy's, or the class of the user's object
    sampler: StrategySampler | SubsetSampler
    pruner: BasePruner

    def answer(self, trials: History) -> Subset | None:
        """The subset that the search chooses, of what has been tried."""
        return self.sampler.answer(trials)

    def rounds(self, trials: History, *, sign: float = 1.0) -> list[dict[str, Any]]:
        """The path of a greedy search, round by round, as plain values; empty for the others.

        Args:
            trials: the study's.
            sign: -1 where the study minimises: scores are given in its own direction.
        """
        greedy, race = _greedy(self.sampler)
        if greedy is None:
            return []
        seen = trials if race is None else race.looks(trials)
        ledger = Ledger(seen, max_failures=greedy.max_failures)
        found = []
        for played in greedy.survey(ledger):
            if not played.complete or played.winner is None:
                break
            record = ledger.scores[played.winner]
            base = None if played.base is None else ledger.scores.get(played.base)
            gain = None if base is None else paired_gain(record, base)
            found.append(
                {
                    "base": None if played.base is None else list(played.base),
                    "subset": list(played.winner),
                    "score": sign * ledger.score(played.winner),
                    "stderr": record.stderr,
                    "gain": None if gain is None else gain.mean,
                    "gain_stderr": None if gain is None else gain.stderr,
                    "accepted": played.chosen == played.winner or played.leap is not None,
                    "leap": None if played.leap is None else list(played.leap),
                    "candidates": len(played.candidates),
                    "skipped": [list(subset) for subset in played.skipped],
                    "look_epochs": None if race is None else race.epochs,
                    "stop": played.stop,
                }
            )
        return found


def build_proposing(
    config: SearchConfig, given: Given, space: SearchSpace, *, least_look: int = 1
) -> Proposing:
    """The sampler and the pruner that the description, or the user's objects, stand for.

    Args:
        config: the description.
        given: objects of the user's.
        space: of the subsets.
        least_look: epochs of a look, at least; see `least_look_of`.

    Raises:
        ConfigError: an unknown name, option or subset to try first.
        SpaceError: the strategy has nothing to try.
    """
    section = config.strategy
    enqueue = [
        space.subset(names, where=f"strategy.enqueue[{index}]")
        for index, names in enumerate(section.enqueue)
    ]
    name: Any = given.strategy if given.strategy is not None else section.name
    options: Mapping[str, Any]
    if isinstance(section, SamplerConfig | CustomConfig):
        options = section.options
    else:
        options = section.model_dump(exclude=_COMMON, exclude_none=True)
        if isinstance(section, GreedyConfig):
            options = _protocol(section, options, epochs=config.recipe.epochs, least=least_look)
        elif isinstance(section, NestedConfig):
            options = _ranked_by(section, options, epochs=config.recipe.epochs, least=least_look)
    if given.strategy is None and isinstance(section, CustomConfig):
        name, options = _own(section, space)
    sampler = make_search_sampler(
        name,
        options,
        space=space,
        seed=config.seed,
        read_history=history,
        recipe={n: _range(value) for n, value in config.recipe.searched.items()},
        enqueue=enqueue,
        max_failures=config.execution.max_failures,
    )
    _check_end(config, sampler)
    _check_several(config, given, sampler)
    if not isinstance(config.objective.choose, str):
        space.subset(config.objective.choose, where="objective.choose")
    pruner = section.pruner
    return Proposing(
        name=section.name if given.strategy is None else type(given.strategy).__name__,
        sampler=sampler,
        pruner=make_pruner(given.pruner)
        if given.pruner is not None
        else make_pruner(None if pruner is None else pruner.name, pruner.options if pruner else {}),
    )


def _protocol(
    section: GreedyConfig, options: Mapping[str, Any], *, epochs: object, least: int
) -> dict[str, Any]:
    """Greedy's options as its protocol has them: 'fast' looks and skips, 'whole' stops the beaten.

    Recipes of one epoch, or of few steps, or whose epochs are searched, have no shorter look.
    """
    found = {name: value for name, value in options.items() if name != "protocol"}
    if section.protocol == "fast" and isinstance(epochs, int) and epochs > 1:
        look = _look(section.look_epochs, epochs, least)
        if look < epochs:
            found.pop("eliminate", None)  # a look that is cut short tells lazy rounds nothing
            return {"z": 0.0, **found, "look_epochs": look}
        if section.look_epochs is not None:
            raise ConfigError(
                [
                    Problem(
                        where="strategy.look_epochs",
                        what=f"a look of {look} epochs is no shorter than the recipe's {epochs}",
                        remedy="lower it, or write strategy.protocol=whole",
                    )
                ]
            )
    apart = (*RACING, "eliminate") if section.protocol == "paper" else RACING
    return {name: value for name, value in found.items() if name not in apart}


def _ranked_by(
    section: NestedConfig, options: Mapping[str, Any], *, epochs: object, least: int
) -> dict[str, Any]:
    """The options of 'nested', which ranks by looks where the recipe is longer than one."""
    found = {name: value for name, value in options.items() if name != "look_epochs"}
    if isinstance(epochs, int) and (look := _look(section.look_epochs, epochs, least)) < epochs:
        return {**found, "look_epochs": look}
    return found


def _look(given: int | None, epochs: int, least: int) -> int:
    return usual_look(epochs, least) if given is None else given


def usual_look(epochs: int, least: int) -> int:
    """Epochs of a look: a share of the recipe's, but at least so many."""
    return max(round(epochs / LOOK_SHARE), least)


def least_look_of(materials: Materials) -> int:
    """Epochs of a look, at least: shorter ones have not settled."""
    samples = min(len(fold.train) for fold in materials.data.folds)
    steps = math.ceil(samples / materials.recipe.batch_size)
    return max(math.ceil(LOOK_STEPS / steps), math.ceil(LOOK_SAMPLES / samples))


def _check_end(config: SearchConfig, sampler: StrategySampler | SubsetSampler) -> None:
    """A sampler goes on for ever; those with a name were checked with the description."""
    bounded = config.strategy.trials is not None or config.execution.budget
    if isinstance(sampler, SubsetSampler) and not bounded:
        raise ConfigError(
            [
                Problem(
                    where="strategy.trials",
                    what="a sampler has no end of its own",
                    remedy="say how many: trials=100, or set execution.budget",
                )
            ]
        )


def _check_several(
    config: SearchConfig, given: Given, sampler: StrategySampler | SubsetSampler
) -> None:
    """What needs one order of subsets; those with a name were checked with the description."""
    values = config.objective.values
    if values == 1:
        return
    problems = []
    if _greedy(sampler)[0] is not None:
        problems.append(
            Problem(
                where="strategy",
                what=f"greedy needs one order of subsets, got {values} values",
                remedy="give one metric, or strategy='nsga2'",
            )
        )
    if given.pruner is not None and not isinstance(given.pruner, NopPruner):
        problems.append(
            Problem(
                where="pruner",
                what=f"trials with several values cannot be pruned, and there are {values}",
                remedy="leave it out",
            )
        )
    if problems:
        raise ConfigError(problems)


def _own(section: CustomConfig, space: SearchSpace) -> tuple[Any, Mapping[str, Any]]:
    """'package.module:callable': a strategy made from the space, or a sampler made from options."""
    make = imported(section.name, where="strategy.name")
    if isinstance(make, type) and hasattr(make, "propose"):
        return make(space, **section.options), {}
    return section.name, section.options


def _range(value: Any) -> dict[str, Any]:
    """A searched recipe number as {low, high, log} or {choices}."""
    plain: dict[str, Any] = value.model_dump()
    if "choices" in plain:
        plain["choices"] = list(plain["choices"])
    return plain


def _greedy(
    sampler: StrategySampler | SubsetSampler,
) -> tuple[Greedy | None, Race | None]:
    """The greedy search, and the race that it is a part of."""
    strategy: Strategy | None = getattr(sampler, "strategy", None)
    if isinstance(strategy, Queued):
        strategy = strategy.strategy
    race = strategy if isinstance(strategy, Race) else None
    inner = strategy if race is None else race.strategy
    return (inner if isinstance(inner, Greedy) else None), race
