"""The report page: one self-contained HTML file, made from a study and its result."""

from layersearch.report.page.evidence import Evidence, read_evidence
from layersearch.report.page.writing import FIGURES, PAGE, sections_of, write_page

__all__ = ["FIGURES", "PAGE", "Evidence", "read_evidence", "sections_of", "write_page"]
