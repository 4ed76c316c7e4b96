"""`layersearch export`: what a search found, as one file to use elsewhere."""

import argparse
from pathlib import Path

from layersearch.cli.place import place_of, study_command


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    export = study_command(
        commands,
        "export",
        "save the tuned layers and the head as one file",
        description="Writes the tuned units and the head of a finished search as one safetensors\n"
        "file with its description.",
        epilog="example:\n  layersearch export digits digits-task.safetensors",
    )
    export.add_argument("output", metavar="FILE", type=Path, help="the file to write")
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    from layersearch.build import export

    print(export(place_of(arguments).folder, arguments.output))
    return 0
