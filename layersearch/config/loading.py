"""From a file or a mapping to a SearchConfig, or to one report of everything that is wrong."""

import copy
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from layersearch.config.checks import check
from layersearch.config.overrides import apply_overrides
from layersearch.config.problems import Path as Place
from layersearch.config.problems import dotted, problems_of
from layersearch.config.reading import read_document
from layersearch.config.search import SearchConfig
from layersearch.config.values import GIVEN
from layersearch.errors import ConfigError, Problem

_OBJECTS = {"backbone": "name", "data": "source", "strategy": "name", "objective": "metric"}
_NEEDED = ("backbone", "data")  # no search without them


def load_config(
    path: str | Path, overrides: Sequence[str] = (), *, check_paths: bool = True
) -> SearchConfig:
    """The search that a YAML file describes.

    Args:
        path: the file.
        overrides: settings over those of the file, such as 'recipe.epochs=5'; later ones win.
        check_paths: whether data and weights that it names must exist.

    Raises: ConfigError: with every problem of the file and the overrides.
    """
    path = Path(path)
    return config_from(read_document(path), overrides, source=path, check_paths=check_paths)


def config_from(
    document: Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    source: Path | None = None,
    given: Collection[str] = (),
    check_paths: bool = True,
) -> SearchConfig:
    """The search that a mapping describes, as it would stand in a YAML file.

    Args:
        document: sections and their settings.
        overrides: settings over those of the document, such as 'recipe.epochs=5'.
        source: the file that it came from: names the study, and relative paths are looked up from
            its folder too.
        given: which of 'backbone', 'data', 'strategy' and 'objective' the caller has as Python
            objects; their sections need not name one.
        check_paths: whether data and weights that it names must exist.

    Raises: ConfigError: with every problem of the document and the overrides.
    """
    changed, problems, notes = apply_overrides(document, overrides)
    changed = {name: value for name, value in changed.items() if value is not None}
    problems += _reserved(changed)
    for section in given:
        changed[section] = {_OBJECTS[section]: GIVEN} | dict(changed.get(section, {}))
    config, blamed = _validated(changed)
    problems += [problem for _, problem in blamed]
    if config is not None:
        config.locate(source, notes=tuple(notes))
        places = {dotted(place) for place, _ in blamed}
        problems += [
            found for found in check(config, paths=check_paths) if found.where not in places
        ]
    if problems or config is None:
        raise ConfigError(problems, source=str(source or ""))
    return config


def _reserved(document: Mapping[str, Any]) -> list[Problem]:
    """A description cannot say that it is given objects: only a Python call can give them."""
    return [
        Problem(where=f"{section}.{field}", what=f"'{GIVEN}' is reserved for Python calls")
        for section, field in _OBJECTS.items()
        if isinstance(document.get(section), Mapping) and document[section].get(field) == GIVEN
    ]


def _validated(
    document: dict[str, Any],
) -> tuple[SearchConfig | None, list[tuple[Place, Problem]]]:
    """The config, and what is wrong by field.

    Where fields are wrong, the config is made without them, so that the rules between the others
    can be checked all the same; it is None where that is not possible.
    """
    try:
        return SearchConfig.model_validate(document), []
    except ValidationError as error:
        blamed = problems_of(error, document)
    rest = copy.deepcopy(document)
    for place, _ in blamed:
        _remove(rest, place)
    try:
        return SearchConfig.model_validate(rest), blamed
    except ValidationError:
        return None, blamed


def _remove(document: dict[str, Any], place: Place) -> None:
    """Takes a setting out of the document.

    Of a list, and of a section that lacks something required, it takes out the whole.
    """
    if len(place) == 1:
        document.pop(str(place[0]), None)
        return
    first, rest = str(place[0]), place[1:]
    inner = document.get(first)
    if isinstance(inner, dict) and (rest[0] in inner or first in _NEEDED):
        _remove(inner, rest)
    else:
        document.pop(first, None)
