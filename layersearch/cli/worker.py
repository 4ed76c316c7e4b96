"""`layersearch worker`: helps a search from another process or machine."""

import argparse
import math
from typing import TYPE_CHECKING

from layersearch.cli.progress import add_progress, is_json, make_progress
from layersearch.cli.settings import add_settings
from layersearch.config import load_config
from layersearch.config.values import read_amounts

if TYPE_CHECKING:  # it needs torch, which `--help` can do without
    from layersearch.build import WorkerRun

DONE, INTERRUPTED = 0, 130

_WORKER = """\
Trains for a search that `layersearch search` drives, here or on another machine: give it the same
file and the same settings. It needs nothing but the storage: for several machines set study.storage
to a database that all of them reach; on one machine the default will do.

It may come and go. Started before the search, it waits for it; it ends when nothing is left to
train. The search waits for trials that workers still train, and runs those again whose worker is
gone. Only the search itself retrains the winner and writes the result.
"""
_EXAMPLES = """\
examples:
  layersearch worker my.yaml --workers 4
  layersearch worker my.yaml -o study.storage=postgresql://me@db.local/studies --wait 1h
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds it."""
    parser = commands.add_parser(
        "worker",
        help="train for a search that runs elsewhere",
        description=_WORKER,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", metavar="YAML", help="the file that describes the search")
    add_progress(parser)
    parser.add_argument(
        "--wait",
        metavar="TIME",
        type=_seconds,
        default=600.0,
        help="for the search to begin, if it has not: 90s, 10m (the default), 1h30m, or 0",
    )
    add_settings(parser, without=("--runner", "--address"))
    parser.set_defaults(run=_worker)


def _seconds(text: str) -> float:
    try:
        amounts = {"seconds": float(text)}
    except ValueError:
        amounts = read_amounts(text)
    if set(amounts) != {"seconds"} or not 0 <= amounts["seconds"] < math.inf:
        raise argparse.ArgumentTypeError(f"must be a duration such as 90s or 10m, got {text!r}")
    return amounts["seconds"]


def _worker(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config, arguments.overrides)
    from layersearch.build import run_worker
    from layersearch.execution import Ending

    with make_progress(arguments, config) as progress:
        ended = run_worker(config, wait=arguments.wait, observers=[progress])
    if not is_json(arguments):
        print(_line(ended, why=_why(ended, interrupted=ended.ending is Ending.INTERRUPTED)))
    return INTERRUPTED if ended.ending is Ending.INTERRUPTED else DONE


def _line(ended: "WorkerRun", *, why: str) -> str:
    """One line: what the worker did."""
    failed = f", {ended.failed} failed" if ended.failed else ""
    trials = "trial" if ended.trained == 1 else "trials"
    return (
        f"worker: trained {ended.trained} {trials} of '{ended.study}'{failed} "
        f"in {ended.seconds:.0f} s; {why}"
    )


def _why(ended: "WorkerRun", *, interrupted: bool) -> str:
    if interrupted:
        return "interrupted: all that ended is recorded, and the search goes on without it"
    return f"nothing is left to train: {ended.reason}"
