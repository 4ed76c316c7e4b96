"""What Optuna Dashboard is given of a search: notes in words, figures and the report page."""

from layersearch.report.dashboard.publishing import publish
from layersearch.report.dashboard.serving import Server, dashboard_server

__all__ = ["Server", "dashboard_server", "publish"]
