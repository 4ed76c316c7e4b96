"""What a section of the page is made of: sentences, figures and tables, as plain values.

Sections know nothing of HTML: whatever they hold is text, and the template escapes all of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

WIDE, NARROW = 8.8, 4.1  # inches: on a desktop or in print, and on a phone


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure, drawn when the page is written."""

    name: str  # of its files
    caption: str
    alt: str  # what it shows, for those who do not see it; the numbers are in a table beside
    draw: Callable[[float], Figure]  # width in inches -> figure


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text; the first column names the row."""

    caption: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    text: frozenset[int] = frozenset({0})  # columns that are words; the others are numbers
    marked: frozenset[int] = frozenset()  # rows that stand out
    folded: bool = False  # whether it is shown only when asked for


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Preformatted text, shown when asked for."""

    caption: str
    text: str
    folded: bool = True


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page under a heading."""

    key: str  # its anchor
    title: str
    lead: Sequence[str] = ()  # paragraphs before the figures
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    listings: Sequence[Listing] = ()
    notes: Sequence[str] = ()  # small print: how it was found, what it does not say
