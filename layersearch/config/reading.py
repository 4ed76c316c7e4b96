"""Reading YAML: safe, with numbers as people write them, and with every mistake at its line.

PyYAML follows YAML 1.1, where `1e-3` is text, `010` is eight, `1:30` is ninety and a repeated key
silently wins; here numbers are YAML 1.2's, dates stay text and repeated keys are refused.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from layersearch.config.problems import nearest
from layersearch.errors import ConfigError, Problem

_LARGEST = 1_000_000  # bytes of a file
_MOST_VALUES = 100_000  # after aliases are followed: a small file can stand for a huge one


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers of YAML 1.2."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _at(key, "a key must be text")
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                first = seen[key.value].start_mark.line + 1
                raise _at(key, f"the key '{key.value}' is already in line {first}")
            seen[key.value] = key
        return super().construct_mapping(node, deep=deep)


def _at(node: yaml.Node, what: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


_REPLACED = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""[-+]?(
            [0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+     # 1e-3, 1.5E4
            |\.[0-9]+([eE][-+]?[0-9]+)?                 # .5
            |[0-9][0-9_]*\.[0-9_]*                      # 1., 0.25
            |\.(inf|Inf|INF))$|\.(nan|NaN|NAN)$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)


def read_document(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises: ConfigError: if there is no such file, or it is no YAML, or no mapping.
    """
    source = str(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise _refusal(source, "file", f"is larger than {_LARGEST // 1000} kB")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _refusal(source, "file", "does not exist", _similar(path)) from None
    except IsADirectoryError:
        raise _refusal(source, "file", "is a folder", "name a YAML file in it") from None
    except UnicodeDecodeError as error:
        raise _refusal(source, "file", f"is not UTF-8 text ({error.reason})") from None
    except OSError as error:
        raise _refusal(source, "file", f"cannot be read ({error.strerror})") from None
    try:
        document = read_value(text)
    except ValueError as error:
        raise _refusal(source, "file", str(error)) from None
    if document is None:
        raise _refusal(source, "file", "is empty", "a search needs at least backbone and data")
    if not isinstance(document, dict):
        kind = {"list": "a list", "str": "text"}.get(type(document).__name__, "a single value")
        raise _refusal(
            source, "file", f"must be a mapping of sections, got {kind}", "start with 'backbone:'"
        )
    return document


def read_value(text: str) -> Any:
    """The value that a YAML text stands for.

    Raises: ValueError: if it is no YAML, in words with line and column.
    """
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506  # a SafeLoader
    except yaml.constructor.ConstructorError as error:
        raise ValueError(_worded(error)) from None
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"is not YAML: {_worded(error)}") from None
    except yaml.reader.ReaderError as error:
        raise ValueError(f"is not YAML: {error.reason} (position {error.position})") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    _bounded(value)
    return value


def _worded(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    problem = error.problem or "cannot be read"
    if "could not determine a constructor for the tag" in problem:
        tag = problem.split("'")[1]
        problem = f"the tag '{tag}' is refused: a description holds plain values only"
    if "found character '\\t'" in problem:
        problem = "a tab, where YAML wants spaces"
    context = f", {error.context}" if error.context else ""
    return f"{where}{problem}{context}"


def _bounded(value: Any) -> None:
    """Refuses values that aliases blow up, or that contain themselves."""
    waiting, count = [value], 0
    while waiting:
        item = waiting.pop()
        count += 1
        if count > _MOST_VALUES:
            raise ValueError(f"stands for more than {_MOST_VALUES} values; use fewer aliases")
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _similar(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml")]
    except OSError:
        return ""
    close = nearest(path.name, names)
    return f"did you mean '{path.parent / close[0]}'?" if close else ""


def _refusal(source: str, where: str, what: str, remedy: str = "") -> ConfigError:
    return ConfigError([Problem(where=where, what=what, remedy=remedy)], source=source)
