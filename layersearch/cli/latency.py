"""`layersearch latency`: what serving a task beside its backbone adds, by where it is tuned."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from layersearch.cli.units import add_space_options, described

if TYPE_CHECKING:  # it needs torch, which `--help` can do without
    from layersearch.build import LatencyListing
    from layersearch.objectives.latency import LatencyTable, Timing

_EXAMPLES = """\
examples:
  layersearch latency resnet50
  layersearch latency vit_b_16 --device cuda --batch-size 32 --precision fp16
  layersearch latency resnet50 --plot latency.svg
  layersearch latency my.yaml --output table.json      # then objective.latency.table: table.json
"""
_DESCRIPTION = """\
Measures how much longer a batch takes when a new task is served beside the backbone, for every unit
that the task may begin to tune at, and how far such predictions are off. Weights do not matter, so
none are downloaded.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "latency",
        help="measure what serving a task adds, along the depth of a backbone",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_space_options(parser)
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:0 or mps")
    parser.add_argument("--batch-size", metavar="IMAGES", help="served at once (1)")
    parser.add_argument("--precision", metavar="NAME", help="fp32 (as it is), bf16 or fp16")
    parser.add_argument("--threads", metavar="COUNT", help="of the CPU")
    parser.add_argument("--repeats", metavar="COUNT", help="timed runs (50)")
    parser.add_argument("--seconds", metavar="TIME", help="the most that it may take (2m)")
    parser.add_argument(
        "--classes", metavar="COUNT", type=int, default=10, help="of the new task (10)"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw it: .png, .svg or .pdf")
    parser.add_argument("--output", metavar="FILE", help="write the table, for searches to use")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    overrides = ["backbone.weights=null"]
    for name in ("device", "batch_size", "precision", "threads", "repeats", "seconds"):
        value = getattr(arguments, name)
        if value is not None:
            overrides.append(f"objective.latency.{name}={value}")
    config = described(arguments, overrides)
    from layersearch.build import list_latency
    from layersearch.report.drawing import check_kind

    if arguments.plot:
        check_kind(arguments.plot)  # before minutes of measuring
    listing = list_latency(config, classes=max(1, arguments.classes), tell=_say)
    if arguments.output:
        _say(f"wrote {listing.write(arguments.output)}")
    if arguments.plot:
        _say(f"drew {listing.draw(arguments.plot)}")
    if arguments.json:
        added = {unit: listing.added(unit) for unit in listing.units}
        print(json.dumps({**listing.table.to_json(), "added": added}, indent=2))
    else:
        _print(listing)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _print(listing: "LatencyListing") -> None:
    from rich.console import Console
    from rich.table import Table

    table = listing.table
    columns = Table(box=None, header_style="bold", pad_edge=False)
    columns.add_column("first tuned", overflow="fold")
    for heading in ("adds ms", "its stage: alone", "frozen", "tuned", "batch of both"):
        columns.add_column(heading, justify="right", no_wrap=True)
    for unit in listing.units:
        stage = table.stages[table.units[unit][0]]
        columns.add_row(
            unit,
            _number(listing.added(unit)),
            *map(_timing, (stage.alone, stage.frozen, stage.tuned, stage.joined)),
        )
    head = table.stages[-1]
    columns.add_row(
        "(the head alone)",
        _number(table.predict([])),
        *map(_timing, (head.alone, head.frozen, head.tuned, head.joined)),
    )
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # whoever reads the lines of a pipe wants them whole
    console.print(
        f"{table.backbone} on {table.device}, {table.batch_size} at a time, {table.precision}, "
        f"{table.threads} threads, torch {table.torch}: {_timing(table.original)} ms alone"
    )
    if not table.traced:
        console.print(
            "It cannot be cut: whatever a task tunes, it is served by a second whole network."
        )
    console.print(columns)
    console.print(_how_wrong(table))


def _how_wrong(table: "LatencyTable") -> str:
    error = table.error
    if error is None:
        return "No subset was timed whole: how far predictions are off is not known."
    return (
        f"Of {error.subsets} subsets that were timed whole, predictions were {error.mean:.2g} ms "
        f"off on average, {error.largest:.2g} ms at most; forking itself takes "
        f"{table.overhead:.2g} ms. ± is half the distance of the quartiles."
    )


def _timing(timing: "Timing | None") -> str:
    return "" if timing is None else f"{_number(timing.median)} ± {timing.spread:.1g}"


def _number(milliseconds: float) -> str:
    return f"{milliseconds:.3g}"
