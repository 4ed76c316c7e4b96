"""`layersearch units`: what can be switched on and off in a backbone."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from layersearch.config import load_config
from layersearch.space import Unit

_EXAMPLES = """\
examples:
  layersearch units resnet50
  layersearch units vit_b_16 --granularity layer
  layersearch units resnet50 --kinds norm,bias          # norms and biases of each block by themselves
  layersearch units mypackage.models:make_network --input-size 64
  layersearch units search_spaces/digits.yaml           # as that search sees them
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "units",
        help="list the units of a backbone",
        description="Lists a backbone's units by depth, with what tuning and running each costs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "backbone", metavar="BACKBONE", help="its name, package.module:factory, or a search's YAML"
    )
    parser.add_argument("--granularity", choices=("stage", "block", "layer"))
    parser.add_argument("--kinds", metavar="KIND[,KIND]", help="norm, bias, weight: finer units")
    parser.add_argument("--input-size", metavar="PIXELS", type=int)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from layersearch import build

    kinds = tuple(arguments.kinds.split(",")) if arguments.kinds else ()
    if arguments.backbone.endswith((".yaml", ".yml")):
        config = load_config(arguments.backbone, _overrides(arguments), check_paths=False)
        listing = build.describe_units(config)
    else:
        document = {
            "backbone": {
                "name": arguments.backbone,
                "weights": None,  # sizes do not depend on them, and nothing is downloaded
                "input_size": arguments.input_size,
            },
            "space": {"granularity": arguments.granularity or "block", "kinds": list(kinds)},
        }
        listing = build.describe_units(config_from(document, given=("data",)))
    if arguments.json:
        print(json.dumps([asdict(unit) for unit in listing.units], indent=2))
    else:
        print_units(listing.units, parameters=listing.parameters)
    return 0
