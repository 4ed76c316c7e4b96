#!/usr/bin/env python3
"""What the state of a running trial costs: milliseconds and bytes of one checkpoint.

    python scripts/benchmark_snapshots.py            # about a minute on one core

Three trainings on the CPU: one block and all units of a ResNet-20 on 32 x 32 images, all units of a
ResNet-50 on 64 x 64 images (the size of images does not change its state). AdamW keeps two moments
of every tuned parameter, so the state is about twelve bytes a parameter. Times are the median of
several, each with a fresh write and fsync to the folder given.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path

import torch

from layersearch.backbones import Backbone, backbone_from_module, load_backbone
from layersearch.backbones.cifar_resnet import CifarResNet
from layersearch.data import Augmentation, splits_from_tensors
from layersearch.errors import TrialStopped
from layersearch.execution.checkpoints import Checkpoints
from layersearch.objectives import make_objective
from layersearch.space import Subset
from layersearch.space.trial import Proposal, Report, WorkerPlace
from layersearch.subtuning import Materials, Recipe, SubtuningJob


def resnet20() -> Backbone:
    """Random weights: a state costs the same whatever it holds."""
    network = CifarResNet((3, 3, 3), classes=10, width=16).eval()
    return backbone_from_module(
        network, input_size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )


def resnet50() -> Backbone:
    """torchvision's, with random weights."""
    return load_backbone("resnet50", weights=None, input_size=64)


def job_of(backbone: Backbone, side: int) -> SubtuningJob:
    """Trains two epochs of one step on sixteen images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, side, side), generator=generator, dtype=torch.uint8)
    labels = torch.arange(40) % 10
    data = splits_from_tensors(images[:20], labels[:20], images[20:], labels[20:], folds=2, seed=0)
    materials = Materials(
        backbone=backbone,
        units={"granularity": "block"},
        data=data,
        augmentation=Augmentation(),
        views=1,
        recipe=Recipe(epochs=2, batch_size=16, precision="fp32"),
        objective=make_objective("accuracy"),
        seed=0,
    )
    return SubtuningJob(materials, WorkerPlace(number=0, threads=1))


def measure(name: str, job: SubtuningJob, subset: Subset, *, folder: Path, repeats: int) -> None:
    """Prints what a checkpoint after the first epoch takes, and what reading it takes."""
    checkpoints = Checkpoints(folder)
    proposal = Proposal(number=0, subset=subset)
    packing: list[float] = []
    writing: list[float] = []
    size = 0

    def report(said: Report) -> None:
        nonlocal size
        assert said.snapshot is not None
        for _ in range(repeats):
            began = time.perf_counter()
            state = said.snapshot()
            packed = time.perf_counter()
            checkpoints.write(proposal, state)
            packing.append(packed - began)
            writing.append(time.perf_counter() - packed)
            size = len(state)
        raise TrialStopped("measured")

    with contextlib.suppress(TrialStopped):
        job(proposal, report)
    began = time.perf_counter()
    state, _ = checkpoints.read(proposal)
    reading = time.perf_counter() - began
    assert state is not None
    checkpoints.clear()
    pack, write = statistics.median(packing) * 1e3, statistics.median(writing) * 1e3
    print(
        f"{name:28} {size / 1e6:8.2f} MB   pack {pack:7.1f} ms   write {write:7.1f} ms   "
        f"read {reading * 1e3:6.1f} ms   1% of {(pack + write) / 10:6.1f} s"
    )


def main() -> None:
    """Measures all three."""
    parser = argparse.ArgumentParser(description="What the state of a running trial costs.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="a folder on the disk to measure")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        options = {"folder": Path(folder) / "checkpoints", "repeats": arguments.repeats}
        small = job_of(resnet20(), 32)
        units = [unit.name for unit in small.workplace.chain.units]
        measure("ResNet-20, the last block", small, Subset(units[-1:]), **options)
        measure("ResNet-20, everything", small, Subset(units), **options)
        large = job_of(resnet50(), 64)
        units = [unit.name for unit in large.workplace.chain.units]
        measure("ResNet-50, everything", large, Subset(units), **options)


if __name__ == "__main__":
    main()
