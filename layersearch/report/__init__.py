"""What a search found, for people and programs: result.json, the summary, figures."""

from layersearch.report.comparison import Comparison, compare, compare_summaries
from layersearch.report.drawing import Scored, save_figure
from layersearch.report.figures import profile_figure
from layersearch.report.results import load_result, write_result
from layersearch.report.summary import advice, plain_summary, summary

__all__ = [
    "Comparison",
    "Scored",
    "advice",
    "compare",
    "compare_summaries",
    "load_result",
    "plain_summary",
    "profile_figure",
    "save_figure",
    "summary",
    "write_result",
]
