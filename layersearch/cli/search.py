"""`layersearch search` and `layersearch profile`."""

import argparse
import sys
from typing import Any

from layersearch.cli.settings import add_settings
from layersearch.config import SearchConfig, load_config

_SEARCH = """\
Searches for the subset of layers whose finetuning gives the best validation score, retrains it on all
training data and compares it on the test split with the linear probe, full finetuning and LP-FT.

The search is remembered in runs/<study>/. The same command goes on where it stopped; when it is done,
it shows the result again.
"""
_SEARCH_EXAMPLES = """\
examples:
  layersearch search search_spaces/digits.yaml
  layersearch search my.yaml --strategy tpe --trials 200 --workers 4
  layersearch search my.yaml -o recipe.epochs=5 -o study.name=short
  layersearch search my.yaml -o 'recipe.lr={low: 1e-4, high: 1e-2, log: true}' --strategy tpe --trials 60
"""
_PROFILE = """\
Trains each unit by itself (and runs of neighbours or pairs, where asked for) and shows the validation
score over depth: the finetuning profile. No test data is used.
"""
_PROFILE_EXAMPLES = """\
examples:
  layersearch profile search_spaces/digits.yaml
  layersearch profile my.yaml -o 'strategy.parts=[singles, runs_of_2, pairs]' --workers 2
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds both."""
    parser = _command(commands, "search", "search for the layers to tune", _SEARCH, _SEARCH_EXAMPLES)
    add_settings(parser)
    parser.set_defaults(run=_search)
    parser = _command(
        commands, "profile", "score every unit by itself", _PROFILE, _PROFILE_EXAMPLES
    )
    add_settings(parser, without=("--strategy",))
    parser.set_defaults(run=_profile)


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
    parser.add_argument("--quiet", action="store_true", help="no progress, only the result")
    return parser


def _search(arguments: argparse.Namespace) -> int:
    config = _load(arguments, arguments.overrides)
    from layersearch import build

    return _show(build.run_search(config, progress=not arguments.quiet))


def _profile(arguments: argparse.Namespace) -> int:
    config = _load(arguments, ['strategy.name="profile"', *arguments.overrides])
    from layersearch import build

    return _show(build.run_profile(config, progress=not arguments.quiet))


def _load(arguments: argparse.Namespace, overrides: list[str]) -> SearchConfig:
    config = load_config(arguments.config, overrides)
    for note in config.notes:
        print(f"layersearch: {note}", file=sys.stderr)
    return config


def _show(result: Any) -> int:
    print(result.summary())
    return 0
