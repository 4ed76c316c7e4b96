"""From pydantic's errors to problems that say where, what and the remedy, in the words of YAML."""

import types
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from layersearch.config.execution import mask_password
from layersearch.config.recipe import SEARCHABLE
from layersearch.config.search import SearchConfig
from layersearch.config.strategy import STRATEGIES, STRATEGY_TAGS, StrategyConfig, strategy_class
from layersearch.config.values import FORMS, shown
from layersearch.errors import Problem

Path = tuple[str | int, ...]

_RULES = {  # of pydantic's error types; {…} are from the error's context
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "finite_number": "must be a finite number",
    "too_short": "must have at least {min_length}",
    "string_too_short": "must not be empty",
}


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The names most like `name`, the likest first."""
    lowered = {word.lower(): word for word in known}
    return [lowered[word] for word in get_close_matches(name.lower(), lowered, n=2, cutoff=0.55)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names the nearest, or the whole list if it is short, or nothing."""
    names = list(known)
    close = nearest(name, names)
    if close:
        quoted = " or ".join(f"'{word}'" for word in close)
        return f"did you mean {quoted}?"
    return f"known: {', '.join(names)}" if 0 < len(names) <= 24 else ""


def dotted(path: Path) -> str:
    """`('space', 'always', 3)` as 'space.always[3]'."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "search"


def problems_of(error: ValidationError, document: Mapping[str, Any]) -> list[tuple[Path, Problem]]:
    """One problem for each of pydantic's errors, with the path of the value to blame."""
    found: dict[Path, Problem] = {}
    for details in error.errors(include_url=False):
        path = _without_tags(details["loc"])
        found.setdefault(path, _problem(path, details, document))
    return list(found.items())


def _without_tags(place: Sequence[str | int]) -> Path:
    """The path as a user writes it: pydantic adds which form of a union it tried."""
    parts = list(place)
    if len(parts) > 1 and parts[0] == "strategy" and parts[1] in STRATEGY_TAGS:
        del parts[1]
    if len(parts) > 2 and parts[0] == "recipe" and parts[1] in SEARCHABLE and parts[2] in FORMS:
        del parts[2]
    if parts and parts[-1] == "[key]":
        parts = parts[:-2]
    return tuple(parts)


def _problem(path: Path, details: ErrorDetails, document: Mapping[str, Any]) -> Problem:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    where = dotted(path)
    got = shown(mask_password(value) if isinstance(value, str) else value)
    if kind == "rule":
        return Problem(where=where, what=context["what"], remedy=context["remedy"])
    if kind == "extra_forbidden":
        return _unknown(path, document)
    if kind == "missing":
        return Problem(where=where, what="is required", remedy=_EXAMPLES.get(where, ""))
    if kind == "literal_error":
        options = literal_options(details)
        rule = f"must be {options[0]}" if len(options) == 1 else f"must be one of {_join(options)}"
        close = nearest(str(value), options) if isinstance(value, str) else []
        remedy = f"did you mean '{close[0]}'?" if close else ""
        return Problem(where=where, what=f"{rule}, got {got}", remedy=remedy)
    if kind.startswith("union_tag"):
        return _unknown_strategy(value)
    rule = _RULES[kind].format(**context) if kind in _RULES else details["msg"].lower()
    return Problem(where=where, what=f"{rule}, got {got}", remedy=_remedy(kind, value))


_EXAMPLES = {
    "backbone": "write backbone: {name: resnet50}",
    "backbone.name": "write for example name: resnet50",
    "data": "write data: {source: folder, path: …}",
    "data.source": "write for example source: folder",
}


def _remedy(kind: str, value: object) -> str:
    if kind == "string_type" and isinstance(value, (int, float)):
        return "put it in quotes"
    if kind in ("int_type", "float_type", "bool_type") and isinstance(value, str):
        unquoted = value.strip().lower()
        numeric = unquoted.replace(".", "", 1).replace("-", "").replace("e", "").isdigit()
        if numeric or unquoted in ("true", "false"):
            return "leave out the quotes"
    return ""


def literal_options(details: ErrorDetails) -> list[str]:
    """The values that a literal field takes, in YAML's words."""
    text = str(details.get("ctx", {}).get("expected", ""))
    options = [part.strip().strip("'") for part in text.replace(" or ", ", ").split(",")]
    return [{"True": "true", "False": "false"}.get(option, option) for option in options]


def _join(options: Sequence[str]) -> str:
    return ", ".join(options[:-1]) + " or " + options[-1]


def _unknown(path: Path, document: Mapping[str, Any]) -> Problem:
    name, where = str(path[-1]), dotted(path)
    known = known_names(path[:-1], document)
    if path[0] == "strategy" and len(path) == 2:
        owners = [owner for owner, section in STRATEGIES.items() if name in section.model_fields]
        chosen = _strategy_name(document)
        if owners and chosen not in owners:
            return Problem(
                where=where,
                what=f"is a setting of '{owners[0]}', not of '{chosen}'",
                remedy=f"'{chosen}' has {', '.join(known)}",
            )
    elsewhere = [place for place in setting_paths() if place.rsplit(".", 1)[-1] == name]
    close = nearest(name, known)
    if not close and elsewhere:
        remedy = f"did you mean '{elsewhere[0]}'?"
    else:
        remedy = did_you_mean(name, known)
    return Problem(where=where, what="is not a setting", remedy=remedy)


def _strategy_name(document: Mapping[str, Any]) -> str:
    section = document.get("strategy")
    return str(section.get("name", "greedy")) if isinstance(section, Mapping) else "greedy"


def _unknown_strategy(section: object) -> Problem:
    if not isinstance(section, Mapping):
        return Problem(
            where="strategy",
            what=f"must be a mapping, got {shown(section)}",
            remedy="write strategy: {name: greedy}",
        )
    name = section.get("name")
    remedy = did_you_mean(str(name), STRATEGIES)
    own = "a strategy of your own is named 'package.module:callable'"
    return Problem(
        where="strategy.name",
        what=f"must be the name of a strategy, got {shown(name)}",
        remedy=f"{remedy} ({own})" if remedy else own,
    )


def known_names(path: Path, document: Mapping[str, Any]) -> list[str]:
    """The names that the section at `path` of the document has."""
    if path[:1] == ("recipe",) and len(path) == 2 and path[1] in SEARCHABLE:
        return ["low", "high", "log", "choices"]
    section: type[BaseModel] | None = SearchConfig
    for part in path:
        if section is SearchConfig and part == "strategy":
            section = strategy_class(_strategy_name(document)) or StrategyConfig
        elif section is not None and part in section.model_fields:
            section = _section_in(section.model_fields[str(part)].annotation)
    return list(section.model_fields) if section is not None else []


def setting_paths() -> list[str]:
    """Every setting's dotted path."""
    paths = []
    for top, field in SearchConfig.model_fields.items():
        section = StrategyConfig if top == "strategy" else _section_in(field.annotation)
        paths.append(top)
        for name, inner in (section.model_fields if section is not None else {}).items():
            paths.append(f"{top}.{name}")
            nested = _section_in(inner.annotation) if name not in SEARCHABLE else None
            paths += [f"{top}.{name}.{leaf}" for leaf in (nested.model_fields if nested else ())]
    return paths


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, dict):
        for part in get_args(annotation):
            if (section := _section_in(part)) is not None:
                return section
    return None
