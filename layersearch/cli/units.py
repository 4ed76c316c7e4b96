"""`layersearch units`: what can be switched on and off in a backbone."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from layersearch.config import SearchConfig, config_from, load_config

if TYPE_CHECKING:  # it needs torch, which `--help` can do without
    from layersearch.build import UnitListing

_EXAMPLES = """\
examples:
  layersearch units resnet50
  layersearch units vit_b_16 --granularity layer
  layersearch units resnet50 --kinds norm,bias      # norms and biases of each block by themselves
  layersearch units mypackage.models:make_network --input-size 64
  layersearch units search_spaces/digits.yaml       # as that search sees them
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
    add_space_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=_run)


def add_space_options(parser: argparse.ArgumentParser) -> None:
    """The backbone, and how it is divided into units."""
    parser.add_argument(
        "backbone", metavar="BACKBONE", help="its name, package.module:factory, or a search's YAML"
    )
    parser.add_argument("--granularity", metavar="NAME", help="stage, block or layer")
    parser.add_argument("--kinds", metavar="KIND[,KIND]", help="norm, bias, weight: finer units")
    parser.add_argument("--input-size", metavar="PIXELS", help="side of the square input")


def _run(arguments: argparse.Namespace) -> int:
    config = described(arguments)
    from layersearch.build import describe_units

    listing = describe_units(config)
    if arguments.json:
        print(json.dumps(asdict(listing), indent=2))
    else:
        _print(listing)
    return 0


def described(arguments: argparse.Namespace, settings: Sequence[str] = ()) -> SearchConfig:
    """The description that `add_space_options`, and settings such as 'seed=1', stand for."""
    overrides = [*settings]
    if arguments.granularity:
        overrides.append(f"space.granularity={json.dumps(arguments.granularity)}")
    if arguments.kinds:
        overrides.append(f"space.kinds={json.dumps(arguments.kinds.split(','))}")
    if arguments.input_size:
        overrides.append(f"backbone.input_size={arguments.input_size}")
    if arguments.backbone.endswith((".yaml", ".yml")):
        return load_config(arguments.backbone, overrides, check_paths=False)
    # Sizes do not depend on weights, so none are downloaded.
    backbone = {"name": arguments.backbone, "weights": None}
    return config_from({"backbone": backbone}, overrides, given=("data",))


def _print(listing: "UnitListing") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, show_footer=True)
    tuned = sum(unit.numel for unit in listing.units)
    steps = sum(unit.multiply_adds for unit in listing.units)
    count = f"{len(listing.units)} units"
    # Where the terminal is narrow a long name is folded, never a number cut off.
    table.add_column("unit", footer=count, overflow="fold")
    for heading, footer in (
        ("parameters", f"{tuned:,}"),
        ("share", _share(tuned, listing.parameters)),
        ("multiply-adds", amount(steps)),
        ("output", ""),
    ):
        table.add_column(heading, footer=footer, justify="right", no_wrap=True)
    for unit in listing.units:
        table.add_row(
            unit.name,
            f"{unit.numel:,}",
            _share(unit.numel, listing.parameters),
            amount(unit.multiply_adds),
            "x".join(map(str, unit.output_shape)),
        )
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # whoever reads the lines of a pipe wants them whole
    height, width = listing.input_size
    console.print(
        f"{listing.backbone}: {listing.parameters:,} parameters, of which the head "
        f"({listing.head}) is replaced; input {height}x{width}"
    )
    console.print(table)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def amount(number: float) -> str:
    """12,300,000 as '12.3 M'."""
    for unit in ("", " k", " M", " G", " T"):
        if abs(number) < 1000:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} P"
