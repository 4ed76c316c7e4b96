"""Settings from the command line: `recipe.epochs=5` over what the file says."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from layersearch.config.reading import read_value
from layersearch.config.strategy import StrategyConfig, strategy_class
from layersearch.errors import Problem


def apply_overrides(
    document: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], list[Problem], list[str]]:
    """The document with `PATH=VALUE` settings in it; later ones win.

    Choosing another strategy sets aside what the document says for the old one only.

    Returns: a new document; problems with the overrides themselves (whether their paths and values
        make sense is found when the document is validated); notes on what was set aside.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(document))
    problems: list[Problem] = []
    settings: list[tuple[list[str], Any]] = []
    for override in overrides:
        try:
            settings.append(_parsed(override))
        except ValueError as error:
            remedy = "write for example -o recipe.epochs=5"
            problems.append(Problem(where=f"-o {override}", what=str(error), remedy=remedy))
    names = [value for path, value in settings if path == ["strategy", "name"]]
    notes = forget_other_strategy(changed, names[-1]) if names else []
    for path, value in settings:
        problem = _put(changed, path, value)
        if problem is not None:
            problems.append(problem)
    return changed, problems, notes


def _parsed(override: str) -> tuple[list[str], Any]:
    path, equals, text = override.partition("=")
    parts = path.strip().split(".")
    if not equals:
        raise ValueError("must be PATH=VALUE")
    if not all(parts):
        raise ValueError("must begin with a dotted path")
    return parts, read_value(text)


def _put(document: dict[str, Any], path: Sequence[str], value: Any) -> Problem | None:
    place = document
    for depth, part in enumerate(path[:-1], start=1):
        inner = place.get(part)
        if isinstance(inner, list):
            name = ".".join(path[:depth])
            return Problem(
                where=".".join(path), what=f"'{name}' is a list", remedy=f"set it whole: {name}=[…]"
            )
        # A number becomes a mapping: `recipe.lr.low=1e-4` makes a range of it.
        inner = inner if isinstance(inner, dict) else {}
        place[part] = inner
        place = inner
    place[path[-1]] = value
    return None


def forget_other_strategy(document: dict[str, Any], name: object) -> list[str]:
    """Takes out of the document what it says for another strategy than `name` only.

    Returns: notes on what was set aside.
    """
    section = document.get("strategy")
    if not isinstance(section, dict) or section.get("name", "greedy") == name:
        return []
    new = strategy_class(name)
    if new is None:  # reported when the document is validated
        return []
    foreign = [
        option
        for option in section
        if option not in StrategyConfig.model_fields and option != "name"
    ]
    old = section.get("name", "greedy")
    for option in foreign:
        del section[option]
    if not foreign:
        return []
    return [f"strategy: {', '.join(foreign)} set aside: of '{old}', not of '{name}'"]
