"""Samplers and pruners by name, with their options checked."""

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from layersearch.errors import ConfigError, Problem
from layersearch.space import SearchSpace, Subset, did_you_mean
from layersearch.strategies.make import STRATEGIES, make_strategy
from layersearch.strategies.options import called, imported
from layersearch.strategies.optuna_adapter.claims import PATIENCE
from layersearch.strategies.optuna_adapter.strategy_sampler import ReadHistory, StrategySampler
from layersearch.strategies.optuna_adapter.subset_sampler import SubsetSampler
from layersearch.strategies.protocol import MAX_FAILURES, Queued, Strategy

SAMPLERS: Mapping[str, str] = {
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "nsga2": "NSGAIISampler",
    "nsga3": "NSGAIIISampler",
    "qmc": "QMCSampler",
    "random_sampler": "RandomSampler",
}
PRUNERS: Mapping[str, str] = {
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "hyperband": "HyperbandPruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "threshold": "ThresholdPruner",
    "wilcoxon": "WilcoxonPruner",
    "patient": "PatientPruner",
    "none": "NopPruner",
}


def make_search_sampler(
    name: str | Strategy | BaseSampler,
    options: Mapping[str, Any] | None = None,
    *,
    space: SearchSpace,
    seed: int,
    read_history: ReadHistory,
    recipe: Mapping[str, Mapping[str, Any] | BaseDistribution] | None = None,
    enqueue: Sequence[Subset] = (),
    max_failures: int = MAX_FAILURES,
    patience: float = PATIENCE,
) -> StrategySampler | SubsetSampler:
    """The sampler of a search: one of our strategies or of Optuna's samplers, by name or object.

    Raises:
        ConfigError: an unknown name or option, or recipe numbers for a strategy that only
            chooses subsets.
    """
    pure = name if isinstance(name, Strategy) and not isinstance(name, BaseSampler) else None
    if pure is None and name not in STRATEGIES:
        assert not isinstance(name, Strategy)
        make_sampler(name, options, seed=seed)  # refuse now what would fail in a worker
        return SubsetSampler(
            space,
            name
            if isinstance(name, BaseSampler)
            else partial(_seeded, name, dict(options or {}), seed),
            read_history=read_history,
            recipe=recipe,
            queue=enqueue,
            seed=seed,
            max_failures=max_failures,
            patience=patience,
        )
    if recipe:
        what = f"{name} chooses subsets, it does not search numbers"
        remedy = "give one value, or choose a sampler such as tpe"
        raise ConfigError([Problem(where=f"recipe.{n}", what=what, remedy=remedy) for n in recipe])
    if pure is None:
        strategy = make_strategy(
            str(name), options, space=space, seed=seed, enqueue=enqueue, max_failures=max_failures
        )
    else:
        strategy = Queued(pure, enqueue, max_failures=max_failures) if enqueue else pure
    return StrategySampler(strategy, space, read_history=read_history, patience=patience)


def make_sampler(
    name: str | BaseSampler, options: Mapping[str, Any] | None = None, *, seed: int
) -> BaseSampler:
    """One of Optuna's samplers by name, or a user's own by 'package.module:callable'.

    Args:
        name: 'tpe', 'gp', 'nsga2', 'nsga3', 'qmc', 'random_sampler'; an object is returned as is.
        options: arguments of its class; a seed is passed if it takes one and none is given.
        seed: of its random numbers.

    Raises:
        ConfigError: an unknown name or option (with the nearest), or what is made is no sampler.
    """
    if isinstance(name, BaseSampler):
        return _usable(name)
    if name in SAMPLERS:
        make = getattr(optuna.samplers, SAMPLERS[name])
    elif ":" in name:
        make = imported(name, where="strategy.name")
    else:
        what = f"{name!r} is neither a strategy nor a sampler"
        remedy = did_you_mean(name, (*STRATEGIES, *SAMPLERS))
        raise ConfigError([Problem(where="strategy.name", what=what, remedy=remedy)])
    if isinstance(make, BaseSampler):
        return _usable(make)
    defaults = {"seed": seed % 2**32} if "seed" in inspect.signature(make).parameters else {}
    if name == "qmc":
        defaults["scramble"] = True  # or the first point is the corner where no unit is on
    with _without_experimental_warnings():
        made = called(make, {**defaults, **(options or {})}, where="strategy")
    if not isinstance(made, BaseSampler):
        what = f"{name!r} gives a {type(made).__name__}, not an optuna.samplers.BaseSampler"
        raise ConfigError([Problem(where="strategy.name", what=what)])
    return _usable(made)


def _usable(sampler: BaseSampler) -> BaseSampler:
    """Refuses samplers that go through a grid of their own: subsets are moved into the space."""
    if isinstance(sampler, optuna.samplers.GridSampler | optuna.samplers.BruteForceSampler):
        what = f"{type(sampler).__name__} lists the points of a grid, not the subsets of a space"
        raise ConfigError(
            [Problem(where="strategy.name", what=what, remedy="use the strategy exhaustive")]
        )
    return sampler


def make_pruner(
    name: str | BasePruner | None, options: Mapping[str, Any] | None = None
) -> BasePruner:
    """One of Optuna's pruners by name; None or 'none': nothing is pruned.

    Args:
        name: 'median', 'percentile', 'hyperband', 'successive_halving', 'threshold', 'wilcoxon',
            'patient' (whose option `wrapped_pruner` is a pruner's name or {name: …, options}), or
            'package.module:callable'; an object is returned as is.
        options: arguments of its class.

    Raises:
        ConfigError: an unknown name or option, with the nearest.
    """
    if isinstance(name, BasePruner):
        return name
    given = dict(options or {})
    if name is None or name in PRUNERS:
        make = getattr(optuna.pruners, PRUNERS[name or "none"])
    elif ":" in name:
        make = imported(name, where="strategy.pruner")
    else:
        what = f"{name!r} is not a pruner"
        remedy = did_you_mean(name, PRUNERS)
        raise ConfigError([Problem(where="strategy.pruner", what=what, remedy=remedy)])
    inner = given.get("wrapped_pruner")
    if isinstance(inner, str):
        given["wrapped_pruner"] = make_pruner(inner)
    elif isinstance(inner, Mapping):
        rest = {key: value for key, value in inner.items() if key != "name"}
        given["wrapped_pruner"] = make_pruner(inner.get("name"), rest)
    with _without_experimental_warnings():
        made = called(make, given, where="strategy.pruner")
    if not isinstance(made, BasePruner):
        what = f"{name!r} gives a {type(made).__name__}, not an optuna.pruners.BasePruner"
        raise ConfigError([Problem(where="strategy.pruner", what=what)])
    return made


def _seeded(name: str, options: Mapping[str, Any], shared: int, seed: int) -> BaseSampler:
    # The points of a QMC sequence are dealt out to all workers, so they must share its seed.
    return make_sampler(name, options, seed=shared if name == "qmc" else seed)


@contextmanager
def _without_experimental_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
