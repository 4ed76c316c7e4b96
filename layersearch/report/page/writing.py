"""Writes the page of a study, and its figures as files."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import optuna

from layersearch.errors import LayersearchError
from layersearch.report.page.again import again_section
from layersearch.report.page.answer import answer_section, headline
from layersearch.report.page.baselines import baselines_section
from layersearch.report.page.confidence import confidence_section
from layersearch.report.page.cost import cost_section
from layersearch.report.page.curves import curves_section
from layersearch.report.page.evidence import Evidence, read_evidence
from layersearch.report.page.importance import importance_section
from layersearch.report.page.path import path_sections
from layersearch.report.page.profile import pairs_section, profile_section
from layersearch.report.page.rendering import Drawn, draw, render
from layersearch.report.page.section import Section
from layersearch.report.page.sensitivity import sensitivity_section
from layersearch.report.page.tradeoffs import tradeoff_sections
from layersearch.report.page.trials import trials_section
from layersearch.space.files import write_whole

PAGE = "report.html"
FIGURES = "figures"

_Maker = Callable[[Evidence], Section | Sequence[Section] | None]
_MAKERS: Mapping[str, _Maker] = {  # title if it fails -> section, in the order of the page
    "The answer": answer_section,
    "Against the baselines": baselines_section,
    "How sure it is": confidence_section,
    "What the search cost": cost_section,
    "The finetuning profile": profile_section,
    "Pairs of units": pairs_section,
    "The path of greedy": path_sections,
    "How sensitive the choice is to ε": sensitivity_section,
    "Which units good subsets share": importance_section,
    "Trade-offs": tradeoff_sections,
    "Learning curves": curves_section,
    "The trials": trials_section,
    "To run it again": again_section,
}


def write_page(
    study: optuna.Study, folder: str | Path, *, result: Mapping[str, Any] | None = None
) -> Path:
    """Writes `report.html` and, beside it, its figures as SVG and PNG.

    Args:
        study: is only read.
        folder: of the study.
        result: of the search (see `results`), if it has ended.

    Returns: the path of the page.
    Raises: LayersearchError: if a file cannot be written.
    """
    folder = Path(folder)
    evidence = read_evidence(study, result)
    sections = sections_of(evidence)
    drawn = draw_all(sections)
    html = render(
        title=evidence.study,
        headline=_headline(evidence),
        sections=sections,
        drawn=drawn,
        written=datetime.now(UTC),
        version=_version(),
    )
    try:
        for name, one in drawn.items():
            write_whole(folder / FIGURES / f"{name}.svg", one.wide)
            write_whole(folder / FIGURES / f"{name}.png", one.png)
        return write_whole(folder / PAGE, html.encode())
    except OSError as error:
        where = error.filename or folder / PAGE
        raise LayersearchError(f"{where}: cannot be written ({error.strerror or error})") from error


def headline_of(study: optuna.Study, result: Mapping[str, Any] | None = None) -> str:
    """The answer of a study in one sentence, or what stands in its way."""
    return _headline(read_evidence(study, result))


def sections_of(evidence: Evidence) -> list[Section]:
    """All sections that the study gives something for, in the order of the page."""
    found: list[Section] = []
    for title, make in _MAKERS.items():
        try:
            made = make(evidence)
        except Exception as error:  # noqa: BLE001 - a study of others' making costs one section
            made = _broken(title, error)
        if isinstance(made, Section):
            found.append(made)
        elif made is not None:
            found += made
    return found


def draw_all(sections: Sequence[Section]) -> dict[str, Drawn]:
    """Every picture that can be drawn, by name."""
    drawn = {}
    for section in sections:
        for picture in section.pictures:
            try:
                drawn[picture.name] = draw(picture)
            except Exception:  # noqa: BLE001 - the page says that it is missing
                continue
    return drawn


def _headline(evidence: Evidence) -> str:
    try:
        return headline(evidence)
    except Exception as error:  # noqa: BLE001 - as above
        return f"The answer cannot be read from this study ({type(error).__name__}: {error})."


def _broken(title: str, error: Exception) -> Section:
    key = "".join(c if c.isalnum() and c.isascii() else "-" for c in title.lower())
    why = f"This part cannot be made from what the study holds ({type(error).__name__}: {error})."
    return Section(key=f"broken-{key}", title=title, lead=[why])


def _version() -> str:
    try:
        return installed_version("layersearch")
    except PackageNotFoundError:
        return "from a checkout"
