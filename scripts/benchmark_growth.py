#!/usr/bin/env python
"""What greedy costs as networks grow: epochs and seconds against the number of units.

    python scripts/benchmark_growth.py --data ../shared/data --figure docs/images/growth.svg

ResNet-20, ResNet-32 and ResNet-56 in CIFAR's form (10, 16 and 28 units) on JPEG images, real
trainings in a small setting; with a GPU also ResNet-50 and ViT-B/16 on random images of 224 pixels.
Each is searched by the protocols `paper`, `whole`, `looks` (rounds of looks) and `leap` (one round
of looks, then all units at once that are worth it: the default). The others play the same number of
rounds, whatever the scores (`--rounds 0`: until greedy stops): how many rounds gain depends on the
task and on luck, what a round costs on the network.

Weights that are not at hand are random, which costs the same. Seconds are of the processor on a CPU
(other programs disturb these little), of the clock on a GPU; the winner's retraining is left out.
Prints a markdown table (`each`: seconds a trial), and how epochs and seconds grow: the exponent of
a power law through the networks of one device. What there is no GPU for is said to be unmeasured.
"""

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measured_search import PROTOCOLS, Measured, Setting, random_images, search

from layersearch.backbones import Backbone, load_backbone

SMALL = {  # network -> file of weights
    "cifar_resnet20": "resnet20-12fca82f.th",
    "cifar_resnet32": None,
    "cifar_resnet56": "resnet56-4bfd9763.th",
}
LARGE = ("resnet50", "vit_b_16")
PIXELS = 224
COLOURS = {"paper": "#d55e00", "whole": "#0072b2", "looks": "#009e73", "leap": "#cc79a7"}
MARKERS = {"cpu": "o", "cuda": "s"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One search of one network."""

    network: str
    weights: str
    device: str
    measured: Measured

    @property
    def seconds(self) -> float:
        """Of the processor on a CPU, of the clock elsewhere."""
        cpu = self.device == "cpu"
        return self.measured.processor_seconds if cpu else self.measured.seconds


def main(arguments: list[str] | None = None) -> int:
    """Runs the searches, prints the table, draws the figure."""
    options = parse(arguments)
    rows: list[Row] = []
    print(f"{heading(options)}\n\n{chr(10).join(TABLE)}", flush=True)
    for network in options.networks:
        for row in searches(network, options):
            rows.append(row)
            print(table_row(row), flush=True)
    unmeasured = [] if torch.cuda.is_available() else list(LARGE)
    for network in unmeasured:
        print(f"| {network} | unmeasured: no GPU |{' |' * 8}")
    print()
    print("\n".join(growth_in_words(rows)))
    if options.json:
        values = [{**asdict(row), "seconds": row.seconds} for row in rows]
        options.json.write_text(json.dumps({"heading": heading(options), "rows": values}, indent=1))
    if options.figure and rows:
        draw(rows, unmeasured, options).savefig(options.figure, bbox_inches="tight")
    return 0


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="images, weights")
    parser.add_argument("--networks", type=lambda text: text.split(","), default=everything())
    parser.add_argument("--protocols", type=lambda text: text.split(","), default=tuple(PROTOCOLS))
    parser.add_argument("--images", type=int, default=100, help="to train on, as many to validate")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2, help="0: until greedy stops")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--figure", type=Path, help="where to draw it, .svg")
    parser.add_argument("--json", type=Path, help="where to write what was measured")
    return parser.parse_args(arguments)


def everything() -> list[str]:
    """The networks that can be searched here."""
    return [*SMALL, *(LARGE if torch.cuda.is_available() else ())]


# --- Searches ------------------------------------------------------------------------------------


def searches(network: str, options: argparse.Namespace) -> list[Row]:
    """A network searched by each protocol."""
    found = []
    for protocol in options.protocols:
        setting, device = setting_of(network, options)  # anew: a search keeps its backbone's device
        found.append(
            Row(
                network=network,
                weights="random" if random_weights(network, options.data) else "published",
                device=device,
                measured=search(setting, protocol),
            )
        )
    return found


def setting_of(network: str, options: argparse.Namespace) -> tuple[Setting, str]:
    """What is searched for a network, and on which kind of device."""
    common = Setting(
        backbone=backbone_of(network, options.data),
        data=None,
        data_options={},
        images=options.images,
        trained=options.images,
        scored=options.images,
        recipe={"epochs": options.epochs, "batch_size": 50, "norms": "eval"},
        rounds=options.rounds or None,
        threads=options.threads,
    )
    archive = options.data / "cifar10_jpeg.tar.gz"
    if network in SMALL and archive.is_file():
        data = {"source": "folder", "path": str(archive), "test_samples": 50}
        data |= {"train_samples": options.images, "holdout": options.images}
        return replace(common, data=data), "cpu"
    size = 32 if network in SMALL else PIXELS
    device = "cpu" if network in SMALL else "cuda"
    images, labels = random_images(2 * options.images, size, classes=10, seed=0)
    tests = random_images(10, size, classes=10, seed=1)
    return replace(
        common,
        data=(images, labels, *tests),
        data_options={"holdout": options.images},
        device=device,
    ), device


def backbone_of(network: str, data: Path) -> Backbone:
    """With published weights where they are at hand, else random ones."""
    if random_weights(network, data):
        return load_backbone(network, weights=None, input_size=None if network in SMALL else PIXELS)
    return load_backbone(network, weights=data / "weights" / str(SMALL[network]))


def random_weights(network: str, data: Path) -> bool:
    """Whether there are no others."""
    name = SMALL.get(network)
    return name is None or not (data / "weights" / name).is_file()


# --- What is printed and drawn -------------------------------------------------------------------

TABLE = (
    "| network | protocol | units | rounds | trials | looks | folds | epochs | seconds | each |",
    f"|{' --- |' * 10}",
)


def heading(options: argparse.Namespace) -> str:
    """What was measured, with what."""
    rounds = f"{options.rounds} rounds" if options.rounds else "to greedy's stop"
    return (
        f"{time.strftime('%Y-%m-%d')}: {options.images} images to train on, as many to validate, "
        f"{options.epochs} epochs, {rounds}, {options.threads} threads; "
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


def table_row(row: Row) -> str:
    """A line of the table."""
    found = row.measured
    name = f"{row.network} ({row.weights} weights, {row.device})"
    counts = (found.units, found.rounds, found.trials, found.looks, found.trainings, found.epochs)
    numbers = " | ".join(f"{count:,}" for count in counts)
    seconds = f"{row.seconds:.1f} | {row.seconds / found.trials:.2f}"
    return f"| {name} | {found.protocol} | {numbers} | {seconds} |"


def growth_in_words(rows: Sequence[Row]) -> list[str]:
    """Exponents of power laws, by device and protocol."""
    lines = []
    for device, protocol, members in groups(rows):
        if len({row.measured.units for row in members}) < 2:
            continue
        units = [row.measured.units for row in members]
        epochs = exponent(units, [row.measured.epochs for row in members])
        seconds = exponent(units, [row.seconds for row in members])
        lines.append(
            f"{protocol} on {device}: epochs grow as units^{epochs:.2f}, "
            f"seconds as units^{seconds:.2f}"
        )
    return lines


def groups(rows: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """The rows of each device and protocol, the fewest units first."""
    keys = dict.fromkeys((row.device, row.measured.protocol) for row in rows)
    return [
        (
            device,
            protocol,
            sorted(
                (r for r in rows if (r.device, r.measured.protocol) == (device, protocol)),
                key=lambda row: row.measured.units,
            ),
        )
        for device, protocol in keys
    ]


def exponent(units: Sequence[float], values: Sequence[float]) -> float:
    """The slope of the line through the logarithms, by least squares."""
    xs, ys = [math.log(unit) for unit in units], [math.log(value) for value in values]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((a - x) ** 2 for a in xs)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / spread


def draw(rows: Sequence[Row], unmeasured: Sequence[str], options: argparse.Namespace) -> Figure:
    """Epochs and seconds against units, with a linear guide in each."""
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    panel(left, rows, "epochs", lambda row: row.measured.epochs)
    clock = "processor seconds" if all(row.device == "cpu" for row in rows) else "seconds"
    panel(right, rows, clock, lambda row: row.seconds)
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    note = f"{options.images} images, {options.epochs} epochs, "
    note += f"{options.rounds} rounds" if options.rounds else "to greedy's stop"
    if unmeasured:
        note += f"; unmeasured without a GPU: {', '.join(unmeasured)}"
    figure.suptitle(f"Greedy by the number of units ({note})", fontsize=9)
    return figure


def panel(axes: Axes, rows: Sequence[Row], name: str, value: Callable[[Row], float]) -> None:
    """One quantity against units, both on a logarithmic scale."""
    for device, protocol, members in groups(rows):
        units = [row.measured.units for row in members]
        values = [value(row) for row in members]
        grows = f": units^{exponent(units, values):.1f}" if len(set(units)) > 1 else ""
        axes.plot(
            units, values, MARKERS[device] + "-", color=COLOURS[protocol], label=protocol + grows
        )
    for row in rows:
        if row.measured.protocol == rows[0].measured.protocol:
            axes.annotate(
                row.network.removeprefix("cifar_"),
                (row.measured.units, value(row)),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
    ends = sorted(row.measured.units for row in rows)[:: max(1, len(rows) - 1)]
    least = min(value(row) for row in rows) * 0.8
    guide = [least * units / ends[0] for units in ends]
    axes.plot(ends, guide, ":", color="grey", label="linear")
    axes.set(xscale="log", yscale="log", xlabel="units", ylabel=name)
    ticks = sorted({row.measured.units for row in rows})
    axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    sys.exit(main())
