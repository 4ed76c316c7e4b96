"""`layersearch search` and `layersearch profile`."""

import argparse
import sys
from typing import TYPE_CHECKING

from layersearch.cli.plan import show_plan
from layersearch.cli.profile import print_profile
from layersearch.cli.progress import add_progress, is_json, make_progress
from layersearch.cli.settings import add_settings
from layersearch.config import load_config

if TYPE_CHECKING:  # it needs torch, which `--help` can do without
    from layersearch.build import Result

DONE, INTERRUPTED = 0, 130

_SEARCH = """\
Searches for the layers whose finetuning gives the best validation score, retrains that choice on
all training data and compares it on the test split with the linear probe, full finetuning and
LP-FT.

The search is remembered in runs/<study>/. The same command goes on where it stopped; once it has
ended, it shows the result again. Ctrl-C ends it in order, a second one at once.
"""
_SEARCH_EXAMPLES = """\
examples:
  layersearch search search_spaces/digits.yaml
  layersearch search my.yaml --strategy tpe --trials 200 --workers 4
  layersearch search my.yaml --dry-run
  layersearch search my.yaml --budget 30m
  layersearch search my.yaml -o recipe.epochs=5 -o study.name=short
  layersearch search my.yaml --strategy tpe --trials 60 -o 'recipe.lr={low: 1e-4, high: 1e-2}'
"""
_PROFILE = """\
Trains every unit by itself, every run of 2 and of 3 neighbours and every pair, and shows the
validation scores over depth: the finetuning profile. The test split is not touched.
"""
_PROFILE_EXAMPLES = """\
examples:
  layersearch profile search_spaces/digits.yaml
  layersearch profile my.yaml -o 'strategy.parts=[linear_probe, single]' --workers 2
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds both."""
    search = _command(
        commands, "search", "search for the layers to tune", _SEARCH, _SEARCH_EXAMPLES
    )
    add_settings(search)
    search.add_argument(
        "--dry-run",
        action="store_true",
        help="say what the search would cost, from a short measurement, and do not begin it; with "
        "--progress json as a line of JSON",
    )
    search.set_defaults(run=_search, resumes=True)
    profile = _command(
        commands, "profile", "score every unit by itself", _PROFILE, _PROFILE_EXAMPLES
    )
    add_settings(profile, without=("--strategy",))
    profile.set_defaults(run=_profile, resumes=True)


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    description: str,
    examples: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", metavar="YAML", help="the file that describes the search")
    add_progress(parser)
    return parser


def _search(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config, arguments.overrides)
    if arguments.dry_run:
        return show_plan(config, arguments)
    from layersearch.build import run_search

    with make_progress(arguments, config) as progress:
        result = run_search(config, observers=[progress])
    if result.interrupted:
        return _stopped(result)
    return DONE if is_json(arguments) else _show(result)


def _profile(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config, ['strategy.name="profile"', *arguments.overrides])
    from layersearch.build import run_profile

    with make_progress(arguments, config) as progress:
        result = run_profile(config, observers=[progress])
    if result.interrupted:
        return _stopped(result)
    if not is_json(arguments):
        print_profile(result.values, result.folder)
    return DONE


def _stopped(result: "Result") -> int:
    print(f"layersearch: {result.values['ending']}", file=sys.stderr)
    return INTERRUPTED


def _show(result: "Result") -> int:
    from rich.console import Console

    from layersearch.report import summary

    Console(highlight=False).print(summary(result.values))
    print(f"\nIn {result.folder}: result.json, the study and the tuned layers.")
    return DONE
