"""The report page: one self-contained HTML file, made from a study and its result."""

from layersearch.report.page.evidence import Evidence, read_evidence
from layersearch.report.page.writing import (
    FIGURES,
    PAGE,
    headline_of,
    sections_of,
    write_page,
)

__all__ = [
    "FIGURES",
    "PAGE",
    "Evidence",
    "headline_of",
    "read_evidence",
    "sections_of",
    "write_page",
]
