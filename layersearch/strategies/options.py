"""Making objects of others' classes from options that a user wrote, with errors to match."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from layersearch.errors import ConfigError, Problem
from layersearch.space import did_you_mean


def called(make: Callable[..., Any], options: Mapping[str, Any], *, where: str) -> Any:
    """`make(**options)`.

    Raises:
        ConfigError: an option it does not know (with the nearest), one that is missing, or a value
            it refuses; `where` is the dotted path of the options.
    """
    parameters = inspect.signature(make).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = [name for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD]
    named = getattr(make, "__name__", str(make))
    problems = [
        Problem(
            where=f"{where}.{name}",
            what=f"{name!r} is not an option of {named}",
            remedy=did_you_mean(name, known),
        )
        for name in options
        if name not in known and not open_ended
    ]
    problems += [
        Problem(where=f"{where}.{name}", what=f"{named} needs {name!r}", remedy="give it a value")
        for name, p in parameters.items()
        if p.default is p.empty and p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}
        if name not in options
    ]
    if problems:
        raise ConfigError(problems)
    try:
        return make(**options)
    except (TypeError, ValueError) as error:
        what = f"{named} refuses {dict(options)}: {error}"
        raise ConfigError([Problem(where=where, what=what)]) from error


def imported(path: str, *, where: str) -> Any:
    """The object that 'package.module:object' names.

    Raises:
        ConfigError: there is none.
    """
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        what = f"{path!r} cannot be imported: {error}"
        remedy = "write 'package.module:object'"
        raise ConfigError([Problem(where=where, what=what, remedy=remedy)]) from error
    return found
