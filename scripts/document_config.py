#!/usr/bin/env python3
"""Writes docs/configuration.md: every field of a search's YAML, as the schema has it.

    python scripts/document_config.py            # writes it
    python scripts/document_config.py --check    # says whether it is up to date

Names, types and defaults are those of the pydantic models in layersearch/config; a field's meaning
is the comment beside it there, or the lines of comment above it.
"""

import argparse
import ast
import inspect
import io
import sys
import textwrap
import tokenize
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types
from pydantic.fields import FieldInfo

from layersearch.config import SearchConfig, task, values
from layersearch.config import strategy as strategies
from layersearch.config.values import Section

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"

_HEAD = """\
# Every field of a search

This page is made from the schema by `scripts/document_config.py`; do not edit it.

A search is described by one YAML file. `backbone.name` and `data.source` are required, everything
else has a default. Any field can be set on the command line by its dotted path:
`-o recipe.epochs=5 -o data.folds=null`. Unknown keys, wrong types and impossible values are
reported before anything starts, all at once. [The guide](guide.md) says when to use what.

Sizes are written as `512MB`, `4GiB` or a number of bytes; durations as `90s`, `30m`, `1h30m` or a
number of seconds. Relative paths are looked up from the current folder, then from the folder of the
YAML file. Where a list is expected, a single text is taken as a list of one.
"""
_SEARCHED = """\
Numbers marked *or a range* may be searched together with the subset, by Optuna's samplers: write
`{low: 1e-4, high: 1e-2, log: true}` (both ends included; whole numbers also take `step`) or
`{choices: [32, 64, 128]}` in place of the number.
"""
# Types that say more by their purpose than by their parts.
_WORDS: tuple[tuple[Any, str], ...] = (
    (values.Bytes, "size"),
    (values.Seconds, "duration"),
    (values.Triple, "3 numbers"),
    (values.Options, "mapping"),
    (values.SearchableFloat, "number, or a range"),
    (values.SearchableInt, "whole number, or a range"),
    (strategies.Enqueued, "list of subsets"),
)
_PLAIN = {str: "text", int: "whole number", float: "number", bool: "`true` \\| `false`"}
_FIELDS = {  # where the annotation cannot say what the validator takes
    "recipe.channels_last": "`true` \\| `false` \\| `auto`",
    "objective.choose": "`best` \\| `one_stderr` \\| `knee`, or list of units",
    "objective.latency": "mapping",
    "callbacks": "name, `{name, option: value}`, or list of these",
    "data.holdout": "count, share or `given`",
    "execution.device": "text, or list of texts",
    "execution.scheduler": "text, or `{name, option: value}`",
    "execution.budget": "mapping, or text such as `2h 200epochs`",
    "strategy.pruner": "text, or `{name, options}`",
}


def page() -> str:
    """The whole page."""
    parts = [_HEAD, "## The file\n", _table("", SearchConfig, sections=False)]
    for name in SearchConfig.model_fields:
        if name == "strategy":
            parts.append(_strategies())
        elif (section := _section(SearchConfig, name)) is not None:
            parts.append(f"## `{name}`\n")
            parts.append(_doc(section))
            parts += [_SEARCHED] if name == "recipe" else []
            parts.append(_table(name, section))
    return "\n".join(parts)


def _strategies() -> str:
    parts = ["## `strategy`\n", "What proposes subsets. These fields every strategy has:\n"]
    parts.append(_table("strategy", strategies.StrategyConfig))
    kinds: dict[type[Section], list[str]] = {}
    for name, section in strategies.STRATEGIES.items():
        kinds.setdefault(section, []).append(f"`{name}`")
    kinds[strategies.CustomConfig] = ["`package.module:callable`"]
    common = {*strategies.StrategyConfig.model_fields, "name"}
    for kind, names in kinds.items():
        parts.append(f"### {', '.join(names)}\n")
        parts.append(_doc(kind))
        if set(kind.model_fields) - common:
            parts.append(_table("strategy", kind, without=common))
    return "\n".join(parts)


def _doc(section: type[Section]) -> str:
    text = " ".join(inspect.getdoc(section).split())  # type: ignore[union-attr]  # all have one
    return f"{text}\n"


def _table(
    path: str, section: type[Section], *, sections: bool = True, without: set[str] | None = None
) -> str:
    rows = ["| Field | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
    rows += _rows(path, section, sections=sections, without=without or set())
    return "\n".join(rows) + "\n"


def _rows(path: str, section: type[Section], *, sections: bool, without: set[str]) -> Iterator[str]:
    hints = get_type_hints(section, include_extras=True)
    meanings = comments(section)
    for name, field in section.model_fields.items():
        if name in without:
            continue
        inner = _section(section, name)
        where = f"{path}.{name}" if path else name
        if inner is not None or name == "strategy":
            if sections:
                yield from _rows(where, inner or section, sections=True, without=set())
            continue
        if name not in meanings:
            raise SystemExit(f"{section.__name__}.{name}: no comment says what it means")
        kind = _FIELDS.get(where) or _type(hints[name], field)
        shown = where.removeprefix(f"{path.split('.', maxsplit=1)[0]}.")
        yield f"| `{shown}` | {kind} | {_default(field, kind)} | {_meaning(meanings[name])} |"
        if (optional := _optional_section(section, name)) is not None:
            yield from _rows(where, optional, sections=True, without=set())


def _section(owner: type[Section], name: str) -> type[Section] | None:
    """The section that a field holds, if it is one and always there."""
    kind = owner.model_fields[name].annotation
    return kind if inspect.isclass(kind) and issubclass(kind, Section) else None


def _optional_section(owner: type[Section], name: str) -> type[Section] | None:
    """The section that a field may hold, if it may be left out altogether."""
    kinds = get_args(owner.model_fields[name].annotation)
    found = [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, Section)]
    return found[0] if NoneType in kinds and len(found) == 1 else None


def _type(hint: Any, field: FieldInfo | None = None) -> str:
    for known, words in _WORDS:
        if hint == known:
            return words
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _bounded(_type(parts[0], field), parts[1:])
    if origin is Literal:
        return " \\| ".join(f"`{part}`" for part in parts)
    if origin in (Union, UnionType):
        return " \\| ".join(_type(part, field) for part in parts if part is not NoneType)
    if origin is tuple:
        if parts[-1] is Ellipsis:
            return f"list of {_several(_type(parts[0]))}"
        return f"{len(parts)} numbers"
    if origin is dict:
        inner = parts[1]
        if inner == task.Limit:
            return "mapping of name to `{max, min}`"
        return f"mapping of name to {_type(inner)}"
    return _PLAIN[hint]


def _several(words: str) -> str:
    plural = {"text": "texts", "whole number": "whole numbers", "number": "numbers"}
    return plural.get(words, words)


def _bounded(words: str, metadata: tuple[Any, ...]) -> str:
    """The type with its bounds: 'whole number ≥ 1'."""
    if "list" in words or words.rsplit(maxsplit=1)[-1] not in ("number", "texts"):
        return words
    for item in metadata:
        for bound in item.metadata if isinstance(item, FieldInfo) else [item]:
            if isinstance(bound, annotated_types.Ge):
                words += f" ≥ {bound.ge}"
            elif isinstance(bound, annotated_types.Gt):
                words += f" > {bound.gt}"
    return words


def _default(field: FieldInfo, kind: str) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if kind == "size" and value:
        return f"`{value >> 30}GiB`"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        return "{}"
    return "{}" if isinstance(value, Section) else str(value)


def _meaning(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").removesuffix(".")


def comments(section: type[Section]) -> dict[str, str]:
    """Field -> what the comments beside or above it say, of this class and its bases."""
    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if issubclass(base, Section) and base is not Section:
            found.update(_comments(base))
    return found


def _comments(section: type[Section]) -> Iterator[tuple[str, str]]:
    source = textwrap.dedent(inspect.getsource(section))
    lines = source.splitlines()
    said: dict[int, str] = {}  # line, from 1 -> its comment
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith("# noqa"):
            said[token.start[0]] = token.string.lstrip("# ").strip()
    (body,) = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    for node in body.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above = node.lineno - 1
        while above in said and lines[above - 1].lstrip().startswith("#"):
            above -= 1
        whole = [said[n] for n in range(above + 1, (node.end_lineno or 0) + 1) if n in said]
        if whole:
            yield node.target.id, " ".join(whole)


def main() -> int:
    """Writes the page, or checks it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it is stale")
    written = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    made = page()
    if parser.parse_args().check:
        if made != written:
            print(f"{PAGE} is stale; run scripts/document_config.py", file=sys.stderr)
        return int(made != written)
    PAGE.write_text(made, encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
