"""Strategies by name, with their options checked."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from layersearch.errors import ConfigError, Problem
from layersearch.space import SearchSpace, Subset, did_you_mean
from layersearch.strategies.exhaustive import every_subset
from layersearch.strategies.greedy import Greedy
from layersearch.strategies.greedy_both import GreedyBothWays
from layersearch.strategies.nested import Nested
from layersearch.strategies.profile import Profile
from layersearch.strategies.protocol import MAX_FAILURES, Queued, Strategy
from layersearch.strategies.race import FINALISTS, Race
from layersearch.strategies.random_search import random_subsets

_Check = Callable[[Any], str | None]  # an option's value -> what is wrong with it


def _one_of(*values: str) -> _Check:
    def check(value: Any) -> str | None:
        return None if value in values else f"must be one of {', '.join(values)}"

    return check


def _number(value: Any) -> str | None:
    ok = isinstance(value, int | float) and not isinstance(value, bool)
    return None if ok and value == value else "must be a number"


def _chance(value: Any) -> str | None:
    ok = _number(value) is None and 0 < value <= 0.5
    return None if ok else "must be a chance above 0, of 0.5 at most"


def _true_or_false(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _at_least(low: int) -> _Check:
    def check(value: Any) -> str | None:
        ok = isinstance(value, int) and not isinstance(value, bool) and value >= low
        return None if ok else f"must be a whole number from {low}"

    return check


def _or_none(check: _Check) -> _Check:
    return lambda value: None if value is None else check(value)


def _names(value: Any) -> str | None:
    ok = isinstance(value, list | tuple) and value and all(isinstance(v, str) for v in value)
    return None if ok else "must be a list of names"


OPTIONS: Mapping[str, Mapping[str, _Check]] = {
    "greedy": {
        "direction": _one_of("forward", "backward", "both"),
        "stop": _one_of("paired", "paper", "official"),
        "min_gain": _or_none(_number),
        "z": _number,
        "max_rounds": _or_none(_at_least(1)),
        "start_score": _or_none(_number),
        "speculate": _at_least(0),
        "lazy": _or_none(_number),
        "leap": _true_or_false,
        "eliminate": _or_none(_chance),
        "look_epochs": _or_none(_at_least(1)),
        "finalists": _or_none(_at_least(1)),
    },
    "nested": {"look_epochs": _or_none(_at_least(1)), "patience": _at_least(0)},
    "profile": {"parts": _names},
    "exhaustive": {},
    "random": {},
}
STRATEGIES = tuple(OPTIONS)


def make_strategy(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    space: SearchSpace,
    seed: int,
    enqueue: Sequence[Subset] = (),
    max_failures: int = MAX_FAILURES,
) -> Strategy:
    """A strategy by its name: 'greedy', 'nested', 'profile', 'exhaustive' or 'random'.

    Args:
        name: of the strategy.
        options: of the strategy, as its class or function names them; greedy's `direction` may
            also be 'both', and with `look_epochs` it races (see `race`) to `finalists`: 3, but 1
            with `leap`.
        space: the subsets that may be tried.
        seed: of its random choices.
        enqueue: subsets to try first, whether or not they are in the space.
        max_failures: how often a subset may fail before it is lost.

    Raises:
        ConfigError: an unknown name or option, or an impossible value; lists all of them.
    """
    given = dict(options or {})
    check_options(name, given)
    strategy = _make(name, given, space, seed, max_failures)
    return Queued(strategy, enqueue, max_failures=max_failures) if enqueue else strategy


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse unknown names, options and values, all in one report.

    Raises:
        ConfigError: with a problem for each.
    """
    if name not in OPTIONS:
        what = f"{name!r} is not a strategy"
        raise ConfigError(
            [Problem(where="strategy.name", what=what, remedy=did_you_mean(name, STRATEGIES))]
        )
    problems = list(_problems(name, options))
    if problems:
        raise ConfigError(problems)


def _problems(name: str, options: Mapping[str, Any]) -> Iterable[Problem]:
    checks = OPTIONS[name]
    for option, value in options.items():
        where = f"strategy.{option}"
        if option not in checks:
            what = f"{option!r} is not an option of {name}"
            yield Problem(where=where, what=what, remedy=did_you_mean(option, checks))
        elif (wrong := checks[option](value)) is not None:
            yield Problem(where=where, what=f"{wrong} ({value!r})")


def _make(
    name: str, options: dict[str, Any], space: SearchSpace, seed: int, max_failures: int
) -> Strategy:
    if name == "nested":
        return Nested(space, **options, max_failures=max_failures)
    if name == "profile":
        return Profile(space, **options, max_failures=max_failures)
    if name == "exhaustive":
        return every_subset(space, max_failures=max_failures)
    if name == "random":
        return random_subsets(space, seed=seed, max_failures=max_failures)
    look_epochs, finalists = options.pop("look_epochs", None), options.pop("finalists", None)
    by_rounds = _greedy({**options, "leap": False}, space, max_failures)
    greedy = _greedy(options, space, max_failures) if options.get("leap") else by_rounds
    if look_epochs is None:
        return greedy
    return Race(
        greedy,
        space,
        epochs=look_epochs,
        finalists=finalists or (1 if options.get("leap") else FINALISTS),
        again=None if greedy is by_rounds else by_rounds,
        max_failures=max_failures,
    )


def _greedy(options: dict[str, Any], space: SearchSpace, max_failures: int) -> Strategy:
    options = dict(options)
    direction = options.pop("direction", "forward")
    if direction != "both":
        return Greedy(space, direction=direction, **options, max_failures=max_failures)
    return GreedyBothWays(
        Greedy(space, direction="forward", **options, max_failures=max_failures),
        Greedy(space, direction="backward", **options, max_failures=max_failures),
    )
