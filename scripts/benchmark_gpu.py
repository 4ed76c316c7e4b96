#!/usr/bin/env python
"""A whole greedy search on a GPU against the least time that its arithmetic takes there.

    python scripts/benchmark_gpu.py                     # ResNet-50, 1,000 images at 224 pixels
    python scripts/benchmark_gpu.py --network vit_b_16
    python scripts/benchmark_gpu.py --device cpu --quick    # the same code on a toy, anywhere

1,000 images, 5 folds, 10 epochs, greedy by each protocol, three rounds whatever the scores: images
and weights are random, which costs what real ones cost, and says nothing about accuracy. The floor
is what the search had to compute over the rate at which this very card multiplies large matrices in
the precision of the trainings (see `measured_search.py`); the ratio says how many times longer the
search took. The goal is 4 or less.

Prints one markdown table, and all of it as JSON where `--json` says. **Unmeasured so far: there was
no GPU where this was written;** only the toy has run, on a CPU.
"""

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from measured_search import PROTOCOLS, Measured, Setting, matrix_rate, random_images, search

from layersearch.backbones import load_backbone
from layersearch.subtuning import resolve_precision

GOAL = 4.0  # times the floor
CLASSES = 10
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def main(arguments: list[str] | None = None) -> int:
    """Measures each protocol with each number of workers, and prints the table."""
    options = parse(arguments)
    device = torch.device(options.device)
    if device.type == "cpu" and not options.quick:
        print("unmeasured: there is no GPU here (--device cpu --quick runs a toy on the CPU)")
        return 1
    precision = resolve_precision(options.precision, device)
    rate = matrix_rate(device, DTYPES[precision], size=options.matrix)
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "network": options.network,
        "images": options.images,
        "size": options.size,
        "folds": options.folds,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "rounds": options.rounds,
        "device": name_of(device),
        "precision": precision,
        "matrix_rate": rate,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "load": os.getloadavg()[0],
    }
    print(heading(about), flush=True)
    print("\n".join(table_head()), flush=True)
    runs = []
    for workers in options.workers:
        for protocol in options.protocols:
            measured = search(setting(options, workers), protocol)
            runs.append({"workers": workers, **asdict(measured)})
            print(table_row(measured, workers, rate), flush=True)
    if options.json:
        options.json.write_text(json.dumps({**about, "runs": runs}, indent=1))
    if options.quick:
        print("\nA toy: nothing here says anything about a GPU.")
    return 0


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; `--quick` is a toy of everything that was not said."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="a toy that runs on a CPU")
    parser.add_argument("--network", help="a name of `layersearch units`; default: resnet50")
    parser.add_argument("--images", type=int)
    parser.add_argument("--size", type=int, help="pixels of a side")
    parser.add_argument("--folds", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--rounds", type=int, help="0: until greedy stops")
    parser.add_argument("--granularity", choices=("stage", "block", "layer"))
    parser.add_argument("--precision", default="auto", choices=("auto", *DTYPES))
    parser.add_argument("--protocols", type=listed(str), default=tuple(PROTOCOLS))
    parser.add_argument("--workers", type=listed(int), help="on the GPU, such as 1,2,4")
    parser.add_argument("--threads", type=int, help="of a worker's processor")
    parser.add_argument("--cache-device", help="of the GPU's memory for features, such as 40GiB")
    parser.add_argument("--cache-host", default="16GiB")
    parser.add_argument("--matrix", type=int, help="side of the matrices that are multiplied")
    parser.add_argument("--json", type=Path, help="where to write what was measured")
    options = parser.parse_args(arguments)
    for name, (whole, toy) in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, toy if options.quick else whole)
    unknown = set(options.protocols) - set(PROTOCOLS)
    if unknown:
        parser.error(f"--protocols: {', '.join(sorted(unknown))}; there are {', '.join(PROTOCOLS)}")
    return options


def listed(kind: Any) -> Any:
    """Reads '1,2' as a tuple."""
    return lambda text: tuple(kind(part) for part in text.split(","))


DEFAULTS: dict[str, tuple[Any, Any]] = {  # in full, and as a toy
    "network": ("resnet50", "cifar_resnet20"),
    "images": (1000, 40),
    "size": (224, 32),
    "folds": (5, 2),
    "epochs": (10, 2),
    "batch_size": (64, 20),
    "rounds": (3, 2),
    "granularity": ("block", "stage"),
    "workers": ((1, 2), (1,)),
    "threads": (None, 1),
    "cache_device": (None, "64MiB"),
    "matrix": (8192, 256),
}


def setting(options: argparse.Namespace, workers: int) -> Setting:
    """The search that is measured."""
    images = random_images(options.images, options.size, classes=CLASSES, seed=0)
    tests = random_images(CLASSES, options.size, classes=CLASSES, seed=1)
    return Setting(
        backbone=load_backbone(options.network, weights=None, input_size=options.size),
        data=(*images, *tests),
        data_options={"folds": options.folds},
        images=options.images,
        scored=options.images,
        trained=options.images * (options.folds - 1),
        recipe={
            "epochs": options.epochs,
            "batch_size": options.batch_size,
            "precision": options.precision,
        },
        rounds=options.rounds or None,
        workers=workers,
        threads=options.threads,
        device=options.device,
        granularity=options.granularity,
        cache={
            "device": options.cache_device or half_of_the_card(options.device),
            "host": options.cache_host,
        },
    )


def half_of_the_card(device: str) -> int:
    """Bytes: the rest is for the trainings."""
    return torch.cuda.get_device_properties(torch.device(device)).total_memory // 2


def name_of(device: torch.device) -> str:
    """The card, or that there is none."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads, {platform.machine()}"


def heading(about: dict[str, Any]) -> str:
    """What was measured, with what, in a paragraph."""
    rounds = f"{about['rounds']} rounds" if about["rounds"] else "to its stop"
    cuda = f", CUDA {about['cuda']}" if about["cuda"] else ""
    return (
        f"{about['date']}: greedy over {about['network']} with random weights, {about['images']:,} "
        f"random images of {about['size']} pixels, {about['folds']} folds, {about['epochs']} "
        f"epochs, batches of {about['batch_size']}, {rounds}. {about['device']}, "
        f"{about['precision']}, {about['matrix_rate'] / 1e12:.2f} TFLOP/s in matrix products; "
        f"Python {about['python']}, torch {about['torch']}{cuda}; load {about['load']:.1f}.\n"
    )


def table_head() -> list[str]:
    """The first lines of the table."""
    names = "protocol, workers, units, rounds, trials, epochs, seconds, seconds within trials, "
    names += "TFLOP done, TFLOP needed, floor in seconds, seconds / floor"
    return [f"| {names.replace(', ', ' | ')} |", f"|{' --- |' * 12}"]


def table_row(measured: Measured, workers: int, rate: float) -> str:
    """A line of the table."""
    floor = measured.floor_flops / rate
    ratio = measured.seconds / floor
    cells = (
        measured.protocol,
        str(workers),
        str(measured.units),
        str(measured.rounds),
        str(measured.trials),
        f"{measured.epochs:,}",
        f"{measured.seconds:.1f}",
        f"{measured.trial_seconds:.1f}",
        f"{measured.flops / 1e12:,.3f}",
        f"{measured.floor_flops / 1e12:,.3f}",
        f"{floor:.2f}",
        f"{ratio:.1f}{'' if ratio > GOAL else ' (goal met)'}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
