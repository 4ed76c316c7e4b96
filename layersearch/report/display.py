"""What a search found in a notebook: figures by name, and a summary as HTML."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

from layersearch.errors import LayersearchError
from layersearch.report.confidence import confidence_sentences
from layersearch.report.drawing import SETTINGS, figure_bytes
from layersearch.report.figures import profile_figure
from layersearch.report.page.answer import answer_section, headline
from layersearch.report.page.baselines import baselines_section
from layersearch.report.page.confidence import confidence_section
from layersearch.report.page.evidence import Evidence
from layersearch.report.page.rendering import clean
from layersearch.report.page.section import WIDE, Picture, Section, Table
from layersearch.report.page.writing import sections_of
from layersearch.space.names import did_you_mean

_FIRST = ("path_forward", "path_backward", "objectives", "profile", "curves")
_CELL = 'style="text-align: left; padding: 0.1em 1em 0.1em 0"'


def pictures_of(evidence: Evidence) -> dict[str, Picture]:
    """The figures that the study gives something for, by name, in the order of the page."""
    return {p.name: p for section in sections_of(evidence) for p in section.pictures}


def plot(
    evidence: Evidence,
    name: str | None = None,
    *,
    first: Sequence[str] = _FIRST,
    width: float = WIDE,
) -> Figure:
    """One of the figures.

    Args:
        evidence: of the study.
        name: of the figure; None: the first of `first` that there is, or else any.
        first: what says most.
        width: in inches.

    Raises: LayersearchError: there is no such figure, or none at all.
    """
    pictures = pictures_of(evidence)
    if not pictures:
        raise LayersearchError(f"plot: nothing to draw: {headline(evidence)}")
    if name is None:
        name = next((known for known in first if known in pictures), next(iter(pictures)))
    if name not in pictures:
        raise LayersearchError(
            f"plot: {name!r} is no figure of this study; {did_you_mean(name, pictures)}"
        )
    with mpl.rc_context(SETTINGS):
        return pictures[name].draw(width)


def plot_profile(evidence: Evidence, *, width: float | None = None) -> Figure:
    """The finetuning profile, with the heat map of pairs where there are any.

    Raises: LayersearchError: no single unit, run or pair has a score.
    """
    return profile_figure(
        evidence.unit_names,
        evidence.scores,
        title=evidence.study,
        metric=evidence.metric,
        higher_is_better=evidence.sign > 0,
        width=width,
    )


def html(evidence: Evidence, figure: Figure | None, *, what: str) -> str:
    """A summary for notebooks: the answer, how sure it is, the baselines, and a figure.

    Args:
        evidence: of the study.
        figure: None: there is none.
        what: it is, for its heading.
    """
    sections: list[Section | None] = [
        answer_section(evidence),
        baselines_section(evidence),
        confidence_section(evidence),
    ]
    parts = [
        f"<p><strong>{_text(f'{what} {evidence.study}')}</strong></p>",
        f"<p>{_text(headline(evidence))}</p>",
    ]
    if sure := confidence_sentences(evidence.result or {}):
        parts.append(f"<p>{_text(' '.join(sure))}</p>")
    parts += [_table(t) for section in sections if section is not None for t in section.tables]
    if figure is not None:
        content = base64.b64encode(figure_bytes(figure, "svg")).decode()
        parts.append(
            f'<img src="data:image/svg+xml;base64,{content}" style="max-width: 100%" '
            f'alt="{_text(what)}">'
        )
    return f'<div class="layersearch">{"".join(parts)}</div>'


def _table(table: Table) -> str:
    rows: list[tuple[str, ...]] = [tuple(row) for row in table.rows]
    if any(table.head):
        rows.insert(0, table.head)
    lines = [
        "<tr>" + "".join(f"<td {_CELL}>{_text(value)}</td>" for value in row) + "</tr>"
        for row in rows
    ]
    return f"<table>{''.join(lines)}</table>"


def _text(value: object) -> str:
    return escape(str(clean(str(value))))


def known_figures(evidence: Evidence) -> Mapping[str, str]:
    """Name of each figure -> what it shows."""
    return {name: picture.caption for name, picture in pictures_of(evidence).items()}
