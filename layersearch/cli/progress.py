"""How a command shows what it does: `--progress` and `--quiet`."""

import argparse
import sys
from typing import TYPE_CHECKING

from layersearch.config import SearchConfig

if TYPE_CHECKING:  # it needs rich and the study, which `--help` can do without
    from layersearch.execution import SearchProgress

MODES = ("auto", "plain", "json", "quiet")


def add_progress(parser: argparse.ArgumentParser) -> None:
    """Adds both options."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--progress",
        choices=MODES,
        default="auto",
        help="auto: a live view on a terminal, else a line a trial; plain: lines; json: an event a "
        "line on standard output, and nothing else there; quiet: messages only",
    )
    group.add_argument(
        "--quiet",
        action="store_const",
        const="quiet",
        dest="progress",
        help="the same as --progress quiet",
    )


def make_progress(arguments: argparse.Namespace, config: SearchConfig) -> "SearchProgress":
    """The display that was asked for, which first says what there is to say of the description."""
    from layersearch.execution import SearchProgress

    progress = SearchProgress(mode=arguments.progress)
    for note in config.notes:
        if arguments.progress == "json":
            progress.message(note)
        else:
            print(f"layersearch: {note}", file=sys.stderr)
    return progress


def is_json(arguments: argparse.Namespace) -> bool:
    """Whether standard output is for JSON lines alone."""
    return bool(arguments.progress == "json")
