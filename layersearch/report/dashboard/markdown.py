"""Text for Markdown that stays text: what a study holds cannot become markup, links or HTML."""

import re
import unicodedata
from collections.abc import Sequence

LONGEST = 400  # characters of a text of others'
_SPECIAL = re.compile(r"([\\`*\[\]<>&|~$!#])|(?<![^\W_])_|_(?![^\W_])")


def escaped(text: object, *, longest: int = LONGEST) -> str:
    r"""One line of Markdown that shows this text as it is.

    >>> print(escaped("<b> of *all*"))
    \<b\> of \*all\*
    """
    return _SPECIAL.sub(lambda found: "\\" + found.group(0), tame(text, longest=longest))


def code(text: object, *, longest: int = LONGEST) -> str:
    """The text as code."""
    plain = tame(text, longest=longest)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    space = " " if plain[:1] == "`" or plain[-1:] == "`" else ""
    return f"{fence}{space}{plain}{space}{fence}" if plain else ""


def cell(text: str) -> str:
    """Markdown within a table, where even code may hold no bare '|'."""
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Facts, one a row; both columns are Markdown."""
    lines = ["|  |  |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {cell(name)} | {cell(fact)} |" for name, fact in rows)])


def link(words: str, address: str) -> str:
    """To a place of ours."""
    return f"[{escaped(words)}]({address})"


def picture(words: str, address: str) -> str:
    """A figure of ours."""
    return f"![{escaped(words)}]({address})"


def tame(text: object, *, longest: int = LONGEST) -> str:
    """The text in one line, without characters that control or deceive."""
    line = " ".join(str(text).split())
    line = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c)[0] == "C" else c for c in line
    )
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
