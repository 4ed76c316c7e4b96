"""`layersearch export`: what a search found, as one file to use elsewhere."""

import argparse
import sys
from pathlib import Path

from layersearch.cli.place import STUDY, place_of, study_command
from layersearch.config import load_config

_DESCRIPTION = """\
Writes what a finished search found, or a saved task, as one file:

  FILE.safetensors            the task: tuned units and head, to attach to the backbone
  FILE.safetensors --merged   a whole model: backbone, tuned units and head
  FILE.pt2                    the whole model as a graph of torch.export
  FILE.onnx                   the whole model as a graph of ONNX (pip install 'layersearch[onnx]')

Graphs take batches of any size of images in [0, 1], and are run on photographs and compared with
PyTorch before they are written.
"""
_EXAMPLES = """\
examples:
  layersearch export digits digits-task.safetensors
  layersearch export digits digits.onnx
  layersearch export digits-task.safetensors digits.pt2 --weights resnet20.th
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    export = study_command(
        commands,
        "export",
        "save what was found as one file: a task, a whole model, or a graph",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        study=f"{STUDY}; or a file that was exported before, *.safetensors",
    )
    export.add_argument("output", metavar="FILE", type=Path, help="the file to write")
    form = export.add_mutually_exclusive_group()
    form.add_argument(
        "--format",
        choices=("task", "merged", "torch-export", "onnx"),
        help="what to write; default: by the suffix of FILE",
    )
    form.add_argument(
        "--merged", action="store_const", const="merged", dest="format", help="a whole model"
    )
    export.add_argument(
        "--backbone", metavar="NAME", help="of the task's backbone, if it has another name now"
    )
    export.add_argument(
        "--weights", metavar="WEIGHTS", help="of the backbone: a file or a name; default: the same"
    )
    export.add_argument(
        "--normalised",
        action="store_true",
        help="a graph takes images that are normalised already",
    )
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    from layersearch.build import export

    written = export(
        _source(arguments),
        arguments.output,
        form=arguments.format,
        backbone=arguments.backbone,
        weights=arguments.weights or _weights(arguments.study),
        normalise=False if arguments.normalised else None,
        tell=lambda line: print(f"{arguments.output}: {line}", file=sys.stderr),
    )
    print(written)
    return 0


def _source(arguments: argparse.Namespace) -> Path:
    if arguments.study.endswith(".safetensors"):
        return Path(arguments.study)
    return place_of(arguments).folder


def _weights(study: str) -> str | None:
    """The backbone's weights file, which a YAML may name from its own folder."""
    if not study.endswith((".yaml", ".yml")):
        return None
    config = load_config(study, check_paths=False)
    weights = config.backbone.weights
    found = None if weights is None else config.find(weights)
    return str(found) if found is not None and found.is_file() else None
