#!/usr/bin/env python
"""Greedy SubTuning the plain way against layersearch, in one run on one machine.

    python scripts/benchmark_search.py --images cifar10_jpeg.tar.gz --weights resnet20-12fca82f.th

Setting: ResNet-20 pretrained on CIFAR-10, the same classes saved as JPEG (a small distribution
shift), 1,000 images to train on, 1,000 others to validate, 5 epochs, AdamW 1e-3 with a cosine,
greedy by the paper's rule (algorithm 1, epsilon 0) over 10 units.

The plain way is what one writes from the paper: a DataLoader over image files, the whole network in
every step, a fresh copy of the network for every candidate, one trial after another, a random head,
all cores for one training. `paper` is layersearch made to do the same trainings: random head, the
paper's protocol, validation after the last epoch only. `greedy` and `nested` are what a search file
gets that says nothing but the strategy's name. A side whose name ends in `-bf16` trains in
bfloat16. Each side runs in its own process, so that peak memory is its own. Seconds are those of
the search alone; the winner's retraining is not timed. Test accuracy is the mean of three
retrainings of the chosen subset: of layersearch by its own recipe, of the plain way on the images
that the search trained on. Differences from the plain way are paired by seed.
"""

import argparse
import copy
import json
import random
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Normalize, ToTensor

from layersearch.backbones.cifar_resnet import cifar_resnet20

UNITS = ["stem", *(f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2))]
EPOCHS, BATCH, LR, COUNT = 5, 50, 1e-3, 1000


def main() -> None:
    """Runs the sides in turn, `--seeds` times, and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="archive or folder")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sides", default="plain,paper,greedy,nested,greedy-bf16,nested-bf16")
    parser.add_argument("--workers", type=int, default=1, help="worker processes of layersearch")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(run_side(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        images = unpack(arguments.images, Path(folder))
        rows = {side: [] for side in arguments.sides.split(",")}
        for seed in range(arguments.seeds):
            for side, results in rows.items():
                results.append(start(side, seed, images, arguments))
                print(f"seed {seed} {side}: {results[-1]}", flush=True)
    print_table(rows)


def unpack(path: Path, folder: Path) -> Path:
    """The image folder itself; an archive is unpacked first, outside all timings."""
    if path.is_dir():
        return path
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    return folder


def start(side: str, seed: int, images: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--seed", str(seed)]
    command += ["--images", str(images), "--weights", str(arguments.weights)]
    command += ["--workers", str(arguments.workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side}:\n{done.stdout}\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run_side(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds, trainings, epochs, chosen subset, test accuracy and peak memory of one side."""
    if arguments.side == "plain":
        result = plain_side(arguments.images, arguments.weights, seed=arguments.seed)
    else:
        result = layersearch_side(
            arguments.images,
            arguments.weights,
            seed=arguments.seed,
            strategy=arguments.side.removesuffix("-bf16"),
            precision="bf16" if arguments.side.endswith("-bf16") else "auto",
            workers=arguments.workers,
        )
    usage = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {**result, "peak_mb": round(usage / 1024)}


# --- the plain way -------------------------------------------------------------------------------


def plain_side(images: Path, weights: Path, *, seed: int) -> dict[str, Any]:
    """Greedy SubTuning as one writes it from the paper."""
    transform = Compose([ToTensor(), Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    pool = ImageFolder(str(images / "train"), transform=transform)
    picked = stratified(pool.targets, 2 * COUNT, seed=seed)
    train_set, validation_set = Subset(pool, picked[:COUNT]), Subset(pool, picked[COUNT:])
    test_set = ImageFolder(str(images / "test"), transform=transform)
    pretrained = plain_backbone(weights)

    started = time.perf_counter()
    chosen: list[str] = []
    best, trainings = 0.0, 0
    while len(chosen) < len(UNITS):
        scores = {}
        for unit in UNITS:
            if unit not in chosen:
                network = plain_train(pretrained, [*chosen, unit], train_set, seed=seed)
                scores[unit] = plain_accuracy(network, validation_set)
                trainings += 1
        winner = max(scores, key=lambda unit: scores[unit])
        if scores[winner] <= best:
            break
        best = scores[winner]
        chosen.append(winner)
    seconds = time.perf_counter() - started
    tests = [
        plain_accuracy(plain_train(pretrained, chosen, train_set, seed=100 + run), test_set)
        for run in range(3)
    ]
    return {
        "seconds": seconds,
        "trainings": trainings,
        "epochs": trainings * EPOCHS,
        "subset": chosen,
        "validation": best,
        "test": statistics.fmean(tests),
    }


def stratified(labels: list[int], count: int, *, seed: int) -> list[int]:
    """`count` indices, the classes in equal parts, in random order within each half."""
    shuffler = random.Random(seed)
    by_class: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        by_class.setdefault(label, []).append(index)
    share = count // len(by_class)
    picked = [shuffler.sample(members, share) for members in by_class.values()]
    return [index for part in (0, 1) for members in picked for index in members[part::2]]


def plain_backbone(weights: Path) -> nn.Module:
    """The pretrained network."""
    state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    network = cifar_resnet20()
    network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    return network


def plain_train(
    pretrained: nn.Module, units: list[str], dataset: Subset[Any], *, seed: int
) -> nn.Module:
    """Finetunes the units and a new head on a fresh copy of the network."""
    torch.manual_seed(seed)
    network = copy.deepcopy(pretrained)
    network.requires_grad_(False)
    network.linear = nn.Linear(64, 10)
    modules = [network.linear]
    for unit in units:
        modules += [network.conv1, network.bn1] if unit == "stem" else [network.get_submodule(unit)]
    parameters = [p for module in modules for p in module.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=LR, weight_decay=0.01)
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(loader))
    network.eval()  # frozen BatchNorm keeps the pretrained statistics
    for _ in range(EPOCHS):
        for module in modules:
            module.train()
        for batch, labels in loader:
            loss = F.cross_entropy(network(batch), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def plain_accuracy(network: nn.Module, dataset: Any) -> float:
    """Accuracy of the network on a data set."""
    hits = 0
    for batch, labels in plain_batches(dataset):
        hits += int((network(batch).argmax(1) == labels).sum())
    return hits / len(dataset)


def plain_batches(dataset: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a data set in its own order."""
    yield from DataLoader(dataset, batch_size=500)


# --- layersearch ---------------------------------------------------------------------------------


def layersearch_side(
    images: Path, weights: Path, *, seed: int, strategy: str, precision: str, workers: int
) -> dict[str, Any]:
    """The search by layersearch; 'paper': the plain way's trainings, head and stop rule."""
    import layersearch

    recipe: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "lr": LR}
    recipe["precision"] = precision
    described: dict[str, Any] = {"name": strategy}
    if strategy == "paper":
        recipe |= {"head": {"start": "random"}, "validate_every": EPOCHS}
        described = {"name": "greedy", "protocol": "paper"}
    with tempfile.TemporaryDirectory() as folder:
        result = layersearch.search(
            backbone={"name": "cifar_resnet20", "weights": str(weights)},
            data={
                "source": "folder",
                "path": str(images),
                "train_samples": COUNT,
                "holdout": COUNT,
            },
            recipe=recipe,
            strategy=described,
            execution={"workers": workers},
            study={"name": f"benchmark-{seed}", "directory": folder},
            final={"seeds": 3, "baselines": []},
            seed=seed,
            observers=[],
        )
    return {
        "seconds": result.cost["seconds"],
        "trainings": result.cost["trainings"],
        "epochs": result.cost["epochs"],
        "subset": list(result.subset),
        "validation": result.score["mean"],
        "test": result.test["chosen"]["mean"],
    }


# --- the table -----------------------------------------------------------------------------------


def print_table(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Means over the seeds with their standard errors; differences are paired by seed."""
    print(
        "\n| side | seconds | plain / side | trainings | epochs | peak MB | test accuracy "
        "| above plain, points |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    for side, results in rows.items():
        ratio = above = ""
        if side != "plain" and "plain" in rows:
            pairs = list(zip(rows["plain"], results, strict=True))
            ratio = f"{statistics.median(p['seconds'] / r['seconds'] for p, r in pairs):.1f}"
            above = shown([100 * (r["test"] - p["test"]) for p, r in pairs])
        print(
            f"| {side} | {shown([r['seconds'] for r in results])} | {ratio} "
            f"| {statistics.fmean(r['trainings'] for r in results):.1f} "
            f"| {statistics.fmean(r['epochs'] for r in results):.0f} "
            f"| {max(r['peak_mb'] for r in results)} "
            f"| {shown([100 * r['test'] for r in results])} | {above} |"
        )


def shown(values: list[float]) -> str:
    """The mean, and its standard error where there are several."""
    mean = f"{statistics.fmean(values):.1f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.1f}"


if __name__ == "__main__":
    main()
