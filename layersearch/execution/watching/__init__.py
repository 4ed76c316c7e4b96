"""Shows a running search: a block of lines on a terminal, plain lines elsewhere, or JSON lines."""

from layersearch.execution.watching.json_lines import SCHEMA, JsonLines
from layersearch.execution.watching.picture import Picture
from layersearch.execution.watching.plain_lines import PlainLines
from layersearch.execution.watching.terminal import Terminal

__all__ = ["SCHEMA", "JsonLines", "Picture", "PlainLines", "Terminal"]
