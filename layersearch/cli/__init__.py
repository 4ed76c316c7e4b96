"""The `layersearch` command: parses, prints and exits; what it does is elsewhere."""

from layersearch.cli.program import main

__all__ = ["main"]
