"""From sections to one HTML file that needs nothing else: no script, no network, figures inside.

Whatever a study holds is text to the template, which escapes all of it; a Content-Security-Policy
forbids scripts and requests besides, so that even a mistake here could run nothing.
"""

import base64
import hashlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any

import matplotlib as mpl
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from layersearch.report.drawing import SETTINGS, figure_bytes
from layersearch.report.page.section import NARROW, WIDE, Picture, Section

_PNG_SCALE = "png"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A picture as the page and the folder of figures hold it."""

    picture: Picture
    wide: bytes  # SVG
    narrow: bytes  # SVG, for phones
    png: bytes


def draw(picture: Picture) -> Drawn:
    """Draws a picture at both widths."""
    with mpl.rc_context(SETTINGS):
        figure = picture.draw(WIDE)
        wide = figure_bytes(figure, "svg")
        figure.set_layout_engine("none")  # it is laid out already
        png = figure_bytes(figure, _PNG_SCALE)
        narrow = figure_bytes(picture.draw(NARROW), "svg")
    return Drawn(picture=picture, wide=wide, narrow=narrow, png=png)


def render(
    *,
    title: str,
    headline: str,
    sections: Sequence[Section],
    drawn: Mapping[str, Drawn],
    written: datetime,
    version: str,
) -> str:
    """The page.

    Args:
        title: the study's name.
        headline: the answer in a sentence.
        sections: in order.
        drawn: name of a picture -> the picture; one that is missing could not be drawn.
        written: when, for the foot of the page.
        version: of layersearch.
    """
    style = _resource("style.css")
    page = _environment().from_string(_resource("page.html.j2"))
    return page.render(
        title=title,
        headline=headline,
        sections=sections,
        drawn=drawn,
        uri=_uri,
        size=_size,
        # Our own file, not anybody's text.
        style=Markup(style),
        policy=_policy(style),
        written=written.strftime("%Y-%m-%d %H:%M UTC"),
        version=version,
    )


def clean(value: Any) -> Any:
    """Text without characters that change the direction or the look of what stands beside them."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    if value.isprintable():
        return value
    return "".join(_tame(value))


def _tame(text: str) -> Iterator[str]:
    for character in text:
        control = unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"}
        yield "\N{REPLACEMENT CHARACTER}" if control and character not in "\n\t" else character


def _environment() -> Environment:
    return Environment(
        autoescape=True,
        finalize=clean,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def _resource(name: str) -> str:
    return (files("layersearch.report.page") / name).read_text(encoding="utf-8")


def _policy(style: str) -> str:
    """Nothing may be loaded or run but the figures inside the page and this very style."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )


def _uri(content: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(content).decode()


def _size(content: bytes) -> tuple[str, str]:
    """Width and height that an SVG of matplotlib's says, in CSS pixels."""
    opening = content[: content.index(b"viewBox")].decode()
    points = [float(opening.split(f'{name}="')[-1].split("pt")[0]) for name in ("width", "height")]
    return f"{points[0] * 4 / 3:.0f}", f"{points[1] * 4 / 3:.0f}"
