#!/usr/bin/env python
"""The feature cache at 50,000 images: seconds and memory with it and without, side by side.

    python scripts/benchmark_memory.py --data ../shared/data

ResNet-20 is trained from four cuts (early, middle, late, the head alone) on 50,000 images of
32 x 32 as trials do it: one unit and a new head, precision and layout as a search chooses them.
Each side is a process of its own, so that its memory is its own:

    none      no cache
    host      in main memory, a budget that every cut fits into
    small     in main memory, a budget that only the later cuts fit into
    mapped    in memory-mapped files on a disk
    cold      the same, but before every epoch the operating system has to forget the files

With `--features-only` an epoch asks for the features of all images, batch by batch, and trains
nothing: only what a cache can change is left, so its gains and its costs show undiluted.

The sides train one epoch in turn, so that all meet the same machine. Seconds are of the processor
of a side, which other programs disturb little, and of the clock, which also counts waiting for the
disk. The first epoch with a cache fills it. Images are the JPEG images there are, then the same
mirrored, shifted and with noise, up to the number wanted; what they show changes no cost.

Memory: the most that a side had resident beyond what `none` had, in anonymous and shared memory;
pages of mapped files, which the operating system takes back at will, are shown apart. Prints
a markdown table and exits with 1 where the epochs from a cut, the filling one included, take a
tenth longer than without a cache, or memory exceeds its budget.
"""

import argparse
import ctypes
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from benchmark_features import backbone_of, jpeg_images
from torch import Tensor

from layersearch.backbones import build_chain
from layersearch.data.views import Views
from layersearch.space import Subset
from layersearch.subtuning import first_tuned
from layersearch.subtuning.features import Budget, FeatureStore
from layersearch.subtuning.head import HeadFitter
from layersearch.subtuning.precision import resolve_precision
from layersearch.subtuning.recipe import HeadRecipe, Recipe
from layersearch.subtuning.training import Workplace, shuffled, train

MIB = 1 << 20
TOLERANCE = 1.1  # times the seconds without a cache
SLACK = 96 * MIB  # batches on their way, measurements of loading, what Python frees late
CUTS = {"early": "layer1.1", "middle": "layer2.1", "late": "layer3.1", "head": None}
SIDES = ("none", "host", "small", "mapped", "cold")
MADV_DONTNEED = 4
KINDS = ("RssAnon", "RssShmem", "RssFile")


@dataclass
class Side:
    """What was measured of one side."""

    name: str
    budget: int  # bytes
    epochs: dict[str, list[dict[str, float]]] = field(default_factory=dict)  # cut -> one an epoch
    choices: dict[str, str] = field(default_factory=dict)
    peak: dict[str, int] = field(default_factory=dict)  # bytes resident, by kind
    stored: dict[str, int] = field(default_factory=dict)  # bytes by tier, the most

    def total(self, cut: str, clock: str) -> float:
        """Seconds of all epochs from a cut, the filling one included."""
        return sum(epoch[clock] for epoch in self.epochs[cut])

    @property
    def own(self) -> int:
        """Bytes that nobody else could have."""
        return self.peak["RssAnon"] + self.peak["RssShmem"]


def main() -> int:
    """Measures, prints, and judges."""
    options = parse()
    if options.side:
        serve(options)
        return 0
    sides = measure(options)
    print(heading(options))
    print("\n".join(table(sides)))
    print()
    print("\n".join(memory_table(sides)))
    if options.json:
        options.json.write_text(json.dumps([vars(side) for side in sides], indent=1))
    found = faults(sides)
    print("\n".join(found) or "\nno side slower by a tenth, none over its budget")
    return 1 if found else 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="images, weights")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cuts", default=",".join(CUTS))
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--host", type=int, default=4096, help="MiB of the side `host`")
    parser.add_argument("--small", type=int, default=512, help="MiB of the side `small`")
    parser.add_argument("--disk", type=int, default=8192, help="MiB of the sides with files")
    parser.add_argument("--directory", type=Path, help="of the files; default: a temporary one")
    parser.add_argument("--precision", default="auto", choices=("auto", "bf16", "fp32"))
    parser.add_argument("--features-only", action="store_true", help="train nothing on them")
    parser.add_argument("--json", type=Path, help="where to write what was measured")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--pixels", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


# --- The driver ----------------------------------------------------------------------------------


def measure(options: argparse.Namespace) -> list[Side]:
    """Starts the sides, has each train an epoch in turn, and collects what they say."""
    cuts = options.cuts.split(",")
    budgets = budgets_of(options)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        pixels = Path(folder) / "images.pt"
        torch.save(many_images(options.data, options.images), pixels)
        gc.collect()
        sides = [Side(name, total_of(budgets[name])) for name in options.sides.split(",")]
        servers = {side.name: start(side.name, Path(folder), pixels) for side in sides}
        try:
            for side in sides:  # all are ready before the first is timed
                told(servers[side.name])
            for cut in cuts:
                for epoch in range(options.epochs):
                    for side in sides:
                        answer = asked(servers[side.name], "epoch" if epoch else cut)
                        side.epochs.setdefault(cut, []).append(answer)
                        print(f"{cut} {epoch} {side.name}: {answer}", file=sys.stderr, flush=True)
                for side in sides:
                    answer = asked(servers[side.name], "state")
                    side.choices[cut] = answer["choices"].get(cut, "")
                    side.peak = answer["peak"]
                    side.stored = {
                        tier: max(nbytes, side.stored.get(tier, 0))
                        for tier, nbytes in answer["stored"].items()
                    }
        finally:
            for server in servers.values():
                with server:  # closes its pipes, which ends it, and waits
                    pass
    return sides


def start(side: str, folder: Path, pixels: Path) -> "subprocess.Popen[str]":
    """A side, waiting for orders."""
    own = folder / side
    own.mkdir()
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--pixels", str(pixels)]
    return subprocess.Popen(
        [*command, "--directory", str(own)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def asked(server: "subprocess.Popen[str]", order: str) -> dict[str, Any]:
    """A side's answer to an order."""
    assert server.stdin is not None
    server.stdin.write(f"{order}\n")
    server.stdin.flush()
    return told(server)


def told(server: "subprocess.Popen[str]") -> dict[str, Any]:
    """What a side says next."""
    assert server.stdout is not None
    line = server.stdout.readline()
    if not line:
        raise SystemExit(f"a side ended early, with {server.wait()}")
    answer: dict[str, Any] = json.loads(line)
    return answer


def many_images(data: Path, count: int) -> Tensor:
    """uint8 (N, 3, 32, 32): the images there are, then copies that differ from them."""
    images, _ = jpeg_images(data, min(count, 10_000))
    generator = torch.Generator().manual_seed(0)
    parts = [images]
    while sum(map(len, parts)) < count:
        copies = images.flip(3) if len(parts) % 2 else images
        copies = copies.roll((len(parts) % 5 - 2, len(parts) % 3 - 1), (2, 3)).to(torch.int16)
        noise = torch.randint(-8, 9, copies.shape, generator=generator, dtype=torch.int16)
        parts.append((copies + noise).clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)[:count].contiguous()


def budgets_of(options: argparse.Namespace) -> dict[str, Budget]:
    """What each side may take."""
    nothing = {"device_bytes": 0, "host_bytes": 0}
    return {
        "none": Budget(**nothing),
        "host": Budget(device_bytes=0, host_bytes=options.host * MIB),
        "small": Budget(device_bytes=0, host_bytes=options.small * MIB),
        "mapped": Budget(**nothing, disk_bytes=options.disk * MIB),
        "cold": Budget(**nothing, disk_bytes=options.disk * MIB),
    }


def total_of(budget: Budget) -> int:
    """Bytes of main memory; files on a disk are none."""
    return budget.device_bytes + budget.host_bytes


# --- A side --------------------------------------------------------------------------------------


def serve(options: argparse.Namespace) -> None:
    """Trains an epoch for each order on the standard input, and says what it took."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    place = workplace(options)
    orders = iter(sys.stdin.readline, "")
    watch = Watch()
    watch.start()
    say({"ready": True})
    chosen: dict[str, str] = {}
    for order in orders:
        cut = order.strip()
        if cut == "state":
            say(state(place, watch, chosen))
        else:
            if options.features_only:
                ask_for(cut, place, options, orders)
            else:
                train_from(cut, place, options, orders)
            chosen[cut] = choice_of(place, cut)
    place.features.close(remove=True)


def ask_for(cut: str, place: Workplace, options: argparse.Namespace, orders: Iterable[str]) -> None:
    """The features of all images at a cut, in a new order each epoch, as trainings ask."""
    samples, number = torch.arange(len(place.labels)), cut_number(place, cut)
    for epoch in range(options.epochs):
        if epoch:
            ordered(orders, options)
        started = clocks()
        for batch in shuffled(samples, options.batch_size, seed=epoch):
            place.features.values(number, batch, epoch)
        say(since(started))


def train_from(
    cut: str, place: Workplace, options: argparse.Namespace, orders: Iterable[str]
) -> None:
    """The epochs from one cut, each when it is ordered."""
    seconds = clocks()

    def after(epoch: int, *_: object) -> None:
        nonlocal seconds
        say(since(seconds))
        if epoch + 1 < options.epochs:
            ordered(orders, options)
            seconds = clocks()

    unit = CUTS[cut]
    recipe = Recipe(
        epochs=options.epochs,
        batch_size=options.batch_size,
        norms="eval",
        head=HeadRecipe(start="random"),
    )
    subset = Subset([] if unit is None else [unit])
    samples = torch.arange(len(place.labels))
    train(place, subset, samples, recipe, seed=0, after_epoch=after)


def ordered(orders: Iterable[str], options: argparse.Namespace) -> None:
    """Waits for the order to begin the next epoch."""
    order = next(iter(orders)).strip()
    assert order == "epoch", order
    forget(options)


def workplace(options: argparse.Namespace) -> Workplace:
    """Backbone, features and labels, as a worker of a search has them."""
    device = torch.device("cpu")
    backbone, _ = backbone_of(options.data)
    network = backbone.network.to(memory_format=torch.channels_last)
    network.requires_grad_(False)
    network.eval()
    chain = build_chain(backbone)
    precision = resolve_precision(options.precision, device)
    images = torch.load(options.pixels, mmap=False)
    look = backbone.preprocessing
    budget = budgets_of(options)[options.side]
    views = Views(
        seed=0, mean=look.mean, std=look.std, input_size=look.input_size, channels_last=True
    )
    features = FeatureStore(
        chain,
        images,
        views,
        device=device,
        precision=precision,
        channels_last=True,
        budget=budget,
        directory=options.directory if budget.disk_bytes else None,
        key="benchmark",
        policy="never" if options.side == "none" else "measured",
    )
    return Workplace(
        chain=chain,
        features=features,
        labels=torch.arange(len(images)) % 10,
        classes=10,
        device=device,
        precision=precision,
        heads=HeadFitter(chain, device=device),
    )


def choice_of(place: Workplace, cut: str) -> str:
    """What the store does at a cut, and why not otherwise."""
    decision = place.features.statistics()["decisions"].get(cut_number(place, cut))
    if decision is None:
        return "compute"
    return " ".join([decision["choice"], *(decision["tiers"] or [decision["refused"]])])


def cut_number(place: Workplace, cut: str) -> int:
    """Where the tuned unit, or the head, begins."""
    unit = CUTS[cut]
    return first_tuned(place.chain, Subset([] if unit is None else [unit]))


def state(place: Workplace, watch: "Watch", chosen: Mapping[str, str]) -> dict[str, Any]:
    """What a side has taken so far."""
    return {
        "peak": dict(watch.peak),
        "stored": place.features.statistics()["bytes"],
        "choices": dict(chosen),
    }


def forget(options: argparse.Namespace) -> None:
    """Has the operating system forget the files of the side `cold`: the next reads are the disk's.

    Pages that a process has mapped stay whatever is advised, so they are unmapped first.
    """
    if options.side != "cold":
        return
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(".block"):
            first, last = (int(part, 16) for part in line.split()[0].split("-"))
            madvise(first, last - first, MADV_DONTNEED)
    for path in options.directory.glob("*/*.block"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)  # what is not on the disk yet cannot be forgotten
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


class Watch(threading.Thread):
    """The most of each kind of memory that this process has resident, looked at all the time."""

    def __init__(self, every_s: float = 0.05) -> None:
        super().__init__(daemon=True)
        self.peak = dict.fromkeys(KINDS, 0)
        self._every_s = every_s

    def run(self) -> None:
        """Looks until the process ends."""
        while True:
            for kind, nbytes in resident().items():
                self.peak[kind] = max(self.peak[kind], nbytes)
            time.sleep(self._every_s)


def resident() -> dict[str, int]:
    """Bytes that this process has in memory, by kind."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0][:-1]: int(words[1]) * 1024 for words in lines if words[0][:-1] in KINDS}


def clocks() -> dict[str, float]:
    """Seconds: of this process's processors, and on the wall."""
    return {"cpu": time.process_time(), "wall": time.perf_counter()}


def since(started: Mapping[str, float]) -> dict[str, float]:
    """Seconds since then, by clock."""
    now = clocks()
    return {name: now[name] - started[name] for name in now}


def say(answer: Mapping[str, Any]) -> None:
    """Answers the driver."""
    print(json.dumps(answer), flush=True)


# --- The tables ----------------------------------------------------------------------------------


def heading(options: argparse.Namespace) -> str:
    """What was measured, with what."""
    precision = resolve_precision(options.precision, torch.device("cpu"))
    return (
        f"\nResNet-20, {options.images:,} images of 32 x 32, {options.epochs} epochs from each cut"
        f"{' (features only)' if options.features_only else ''}, "
        f"batches of {options.batch_size}, {precision}, {options.threads} threads, "
        f"torch {torch.__version__}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n"
    )


def table(sides: list[Side]) -> list[str]:
    """Seconds an epoch by cut and side."""
    names = "cut, cache, first epoch (s), later epochs (s), all / without, wall (s), "
    names += "wall / without, choice"
    lines = [f"| {names.replace(', ', ' | ')} |", f"|{' --- |' * 8}"]
    without = next((side for side in sides if side.name == "none"), None)
    for cut in sides[0].epochs:
        for side in sides:
            first, *later = (epoch["cpu"] for epoch in side.epochs[cut])
            row = [cut, side.name, f"{first:.1f}"]
            row.append(f"{sum(later) / len(later):.1f}" if later else "")
            row.append(ratio(side, without, cut, "cpu"))
            row += [f"{side.total(cut, 'wall'):.1f}", ratio(side, without, cut, "wall")]
            row.append(side.choices.get(cut, ""))
            lines.append(f"| {' | '.join(row)} |")
    return lines


def ratio(side: Side, without: Side | None, cut: str, clock: str) -> str:
    """All epochs of a side over those without a cache."""
    if without is None or side is without:
        return "1"
    return f"{side.total(cut, clock) / without.total(cut, clock):.2f}"


def memory_table(sides: list[Side]) -> list[str]:
    """What each side took at most."""
    names = "MiB, budget, stored, on disk, resident, beyond none, mapped pages"
    lines = [f"| {names.replace(', ', ' | ')} |", f"|{' --- |' * 7}"]
    least = next((side.own for side in sides if side.name == "none"), 0)
    for side in sides:
        disk = side.stored.get("disk", 0)
        memory = sum(side.stored.values()) - disk
        numbers = (side.budget, memory, disk, side.own, side.own - least, side.peak["RssFile"])
        lines.append(
            f"| {side.name} | {' | '.join(f'{number / MIB:,.0f}' for number in numbers)} |"
        )
    return lines


def faults(sides: list[Side]) -> list[str]:
    """What is slower than without a cache by more than a tenth, or larger than its budget."""
    without = next((side for side in sides if side.name == "none"), None)
    if without is None:
        return []
    found = []
    for side in sides:
        for cut in side.epochs:
            slower = side.total(cut, "cpu") / without.total(cut, "cpu")
            if slower > TOLERANCE:
                found.append(f"slower: {side.name} from {cut}, {slower:.2f} times")
        beyond = side.own - without.own
        if beyond > side.budget + SLACK:
            found.append(f"over its budget: {side.name}, {beyond / MIB:,.0f} MiB")
    return found


if __name__ == "__main__":
    sys.exit(main())
