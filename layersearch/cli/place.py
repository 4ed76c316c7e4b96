"""Where a study is, and the commands that take one: what `STUDY` means on the command line."""

import argparse
from pathlib import Path
from typing import NamedTuple

from layersearch.config import load_config

STUDY = "its name, its folder, or the YAML of its search"


class Place(NamedTuple):
    """Where a study is."""

    name: str
    directory: Path
    storage: str | None

    @property
    def folder(self) -> Path:
        """Where its result and its saved task lie."""
        return self.directory / self.name


def study_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    *,
    description: str = "",
    epilog: str = "",
    study: str = STUDY,
) -> argparse.ArgumentParser:
    """Adds a command that takes a study, with the options that say where studies lie."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=description or f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("study", metavar="STUDY", help=study)
    parser.add_argument(
        "--directory", metavar="DIR", default="runs", help="where studies lie; default: runs"
    )
    parser.add_argument("--storage", metavar="URL", help="of the study, if it is not in its folder")
    return parser


def find_study(study: str, *, directory: str = "runs", storage: str | None = None) -> Place:
    """The study that a word on the command line means: a YAML file, a folder or a name."""
    if study.endswith((".yaml", ".yml")):
        config = load_config(study, check_paths=False)
        return Place(
            config.study_name, Path(config.study.directory), storage or config.study.storage
        )
    if "/" in study:
        folder = Path(study)
        return Place(folder.name, folder.parent, storage)
    return Place(study, Path(directory), storage)


def place_of(arguments: argparse.Namespace) -> Place:
    """The study that the words of a command made by `study_command` mean."""
    return find_study(arguments.study, directory=arguments.directory, storage=arguments.storage)
