"""The program: its commands, and how each way of ending becomes an exit code.

0: done. 1: the user can mend it; one message on stderr. 2: the command line itself is wrong.
130: interrupted; the same command goes on.

Heavy libraries are imported by the commands that need them, so that `--help` answers at once.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from layersearch.cli import export, latency, search, studies, units, worker
from layersearch.errors import LayersearchError

DONE, USER_ERROR, INTERRUPTED = 0, 1, 130
_HOW_ON = "; what had ended is recorded: run the same command again to go on"

_EXAMPLES = """\
examples:
  layersearch search search_spaces/digits.yaml
  layersearch search my.yaml --strategy tpe --trials 200 --workers 4
  layersearch search my.yaml -o recipe.epochs=5 -o objective.constraints.task_bytes.max=1e6
  layersearch worker my.yaml
  layersearch profile my.yaml
  layersearch units resnet50
  layersearch latency resnet50 --batch-size 8
  layersearch export digits digits-task.safetensors
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code.

    Args:
        arguments: the words after the program's name; None: those of this process.
    """
    parsed = parser().parse_args(arguments)
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # where users keep the objects that they name; hides no package
    try:
        code: int = parsed.run(parsed)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(f"layersearch: interrupted{_HOW_ON if parsed.resumes else ''}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has closed it ('| head'): nothing more to say, to nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (LayersearchError, OSError) as error:
        if parsed.traceback:
            traceback.print_exc()
        else:
            print(f"layersearch: {error}", file=sys.stderr)
        return USER_ERROR


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    program = argparse.ArgumentParser(
        prog="layersearch",
        description="Finds which layers of a pretrained network to finetune for a new task.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    program.set_defaults(resumes=False)
    program.add_argument("--version", action="version", version=f"layersearch {_version()}")
    commands = program.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (search, worker, units, latency, studies, export):
        module.add_commands(commands)
    for command in commands.choices.values():
        command.add_argument(
            "--traceback", action="store_true", help="show where in the code an error arose"
        )
    return program


def _version() -> str:
    try:
        return version("layersearch")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "(not installed)"
