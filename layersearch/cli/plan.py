"""`layersearch search --dry-run`: what the search would cost."""

import argparse
import sys

from layersearch.cli.progress import is_json
from layersearch.config import SearchConfig

DONE = 0


def show_plan(config: SearchConfig, arguments: argparse.Namespace) -> int:
    """Prints the plan of a search that is not begun."""
    from layersearch.build import run_plan

    said = [*config.notes]
    for note in said:
        print(f"layersearch: {note}", file=sys.stderr)
    found = run_plan(config)
    print(found.to_json() if is_json(arguments) else found)
    return DONE
