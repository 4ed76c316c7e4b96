"""A metric of the user's own: any callable of one argument, the outcome.

It returns a number; or several, in a sequence; or a mapping:

    {"values": 0.91, "constraints": {"unfair": -0.02}}

whose values are again one number, several, or a mapping of their names, and whose constraints are
met where they are 0 or less. The rule is the same for a Python callable and for
`package.module:callable`. It is called with the `Outcome` of one fold at the end of each epoch (its
first value is a point of the learning curve), and with the `Outcome` of the whole trial, all folds
pooled, at the end. What it raises passes unchanged.
"""

import importlib
import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from layersearch.errors import ObjectiveError
from layersearch.space.names import did_you_mean


def load_callable(reference: str) -> Callable[..., Any]:
    """The object that 'package.module:object' or 'package.module:Class.method' names.

    Raises: ObjectiveError: if there is no such module or object, or it cannot be called; what the
        module itself raises when it is imported passes unchanged.
    """
    module_name, _, path = reference.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise  # the module is there; something that it imports is not
        raise ObjectiveError(
            f"objective.metric: there is no module {error.name!r} (from {reference!r}); install "
            "it, or put its folder on PYTHONPATH"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            public = [name for name in dir(found) if not name.startswith("_")]
            raise ObjectiveError(
                f"objective.metric: {module_name!r} has no {path!r} (from {reference!r}); "
                f"{did_you_mean(part, public)}"
            )
        found = getattr(found, part)
    if not callable(found):
        raise ObjectiveError(
            f"objective.metric: {reference!r} cannot be called (it is a {type(found).__name__})"
        )
    return found  # type: ignore[no-any-return]  # callable(): mypy keeps Any


def check_signature(name: str, function: Callable[..., Any]) -> None:
    """Raises: ObjectiveError: if the callable cannot be called with the outcome alone."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # written in C: its first call will tell
    try:
        signature.bind(object())
    except TypeError as error:
        raise ObjectiveError(
            f"objective.metric: a metric of your own takes one argument, the outcome ({name!r} "
            f"takes {signature}); wrap it: lambda outcome: metric(outcome.targets, "
            "outcome.predictions)"
        ) from error


def callable_name(function: Callable[..., Any]) -> str:
    """'package.module:object', as far as the callable knows it: the same in every process."""
    qualified = getattr(function, "__qualname__", None) or type(function).__qualname__
    module = getattr(function, "__module__", None) or type(function).__module__
    return f"{module}:{qualified}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a metric of the user's own said of an outcome."""

    values: tuple[float, ...]
    constraints: Mapping[str, float] = field(default_factory=dict)  # met where <= 0


def read_answer(name: str, answer: object, *, values: Sequence[str]) -> Answer:
    """What a metric of the user's own returned, checked.

    Args:
        name: of the metric.
        answer: what it returned.
        values: names of the values that it is to return.

    Raises: ObjectiveError: if these are not as many finite numbers, or the constraints are none.
    """
    if not isinstance(answer, Mapping):
        return Answer(values=_values(name, answer, values))
    if "values" not in answer or not set(answer) <= {"values", "constraints"}:
        raise ObjectiveError(
            f"objective.metric: {name!r} must return a number, several, or a mapping with 'values' "
            f"and perhaps 'constraints' (got a mapping of {', '.join(map(repr, answer))})"
        )
    constraints = answer.get("constraints", {})
    if not isinstance(constraints, Mapping):
        raise ObjectiveError(
            f"objective.metric: {name!r} must return its constraints as a mapping of names to "
            f"numbers, met where they are 0 or less (got {constraints!r:.80})"
        )
    return Answer(
        values=_values(name, answer["values"], values),
        constraints={
            str(key): finite_number(f"{name}: constraint {key}", value)
            for key, value in constraints.items()
        },
    )


def _values(name: str, given: object, wanted: Sequence[str]) -> tuple[float, ...]:
    if isinstance(given, Mapping):
        if set(given) != set(wanted):
            raise ObjectiveError(
                f"objective.metric: {name!r} must return values named {', '.join(wanted)} (got "
                f"{', '.join(map(str, given))}); name them by objective.names"
            )
        given = [given[value] for value in wanted]
        if len(wanted) == 1:
            given = given[0]
    if len(wanted) == 1:
        return (finite_number(name, given),)
    one = isinstance(given, (str, bytes)) or not isinstance(given, (Iterable, Tensor, np.ndarray))
    found = [given] if one or getattr(given, "ndim", 1) == 0 else list(given)  # type: ignore[call-overload]  # iterable
    if len(found) != len(wanted):
        raise ObjectiveError(
            f"objective.metric: {name!r} must return {len(wanted)} values, as many as "
            f"objective.direction has (got {len(found)}: {given!r:.80})"
        )
    return tuple(finite_number(name, value) for value in found)


def finite_number(name: str, value: object) -> float:
    """The value as a float.

    Raises: ObjectiveError: if it is several values, no number, not a number, or infinite.
    """
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, (Iterable, Tensor, np.ndarray)) and not isinstance(value, (str, bytes)):
        raise ObjectiveError(
            f"objective.metric: {name!r} must return one number (got several: {value!r:.80}); for "
            "several values give a direction for each: objective.direction: [maximize, minimize]"
        )
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise ObjectiveError(
            f"objective.metric: {name!r} must return a number (got {value!r:.80}, "
            f"{type(value).__name__})"
        )
    number = float(value)
    if not math.isfinite(number):
        raise ObjectiveError(f"objective.metric: {name!r} must be finite (got {number})")
    return number
