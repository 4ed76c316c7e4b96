#!/usr/bin/env python
"""A training step in bfloat16 against one in float32, and which of them `precision: auto` takes.

    python scripts/benchmark_precision.py
    python scripts/benchmark_precision.py --networks resnet50 vit_b_16 --device cuda --batch 64

A step is a forward and a backward pass through the whole network, all weights tuned, of random
images (224 x 224; 32 x 32 for a network of the CIFAR kind); weights are random. Steps in the two
precisions take turns, and the smallest of each counts. On a CPU, seconds are those of this
process's processors; on a GPU they are of the clock.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layersearch.backbones import load_backbone
from layersearch.subtuning import resolve_precision
from layersearch.subtuning.optimisation import autocast
from layersearch.subtuning.recipe import Precision

NETWORKS = [
    "cifar_resnet20",
    "resnet18",
    "resnet50",
    "vgg11",
    "densenet121",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
    "regnet_y_400mf",
    "shufflenet_v2_x1_0",
    "mnasnet1_0",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


def main() -> None:
    """Measures network by network, and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--device", default="cpu", type=torch.device)
    parser.add_argument("--batch", type=int, default=16, help="images of a step")
    parser.add_argument("--size", type=int, help="pixels a side; by default as above")
    parser.add_argument("--steps", type=int, default=5, help="in each precision")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {options.device}, batches of {options.batch}")
    print("\n| network | fp32, s | bf16, s | fp32 / bf16 | auto |")
    print("| --- | ---: | ---: | ---: | --- |")
    for name in options.networks:
        network = load_backbone(name, weights=None).network
        network = network.to(options.device, memory_format=torch.channels_last)
        network.train().requires_grad_(True)
        size = options.size or (32 if name.startswith("cifar") else 224)
        plain, half = measure(
            network, batch=options.batch, size=size, device=options.device, steps=options.steps
        )
        chosen = resolve_precision("auto", options.device, network)
        print(f"| {name} | {plain:.3f} | {half:.3f} | {plain / half:.2f} | {chosen} |", flush=True)


def measure(
    network: nn.Module, *, batch: int, size: int, device: torch.device, steps: int
) -> tuple[float, float]:
    """Seconds of a step in float32, and of one in bfloat16."""
    images = torch.randn(batch, 3, size, size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    seconds: dict[Precision, list[float]] = {precision: [] for precision in PRECISIONS}
    for _ in range(1 + steps):  # the first warms up
        for precision in PRECISIONS:
            begin = now(device)
            step(network, images, labels, precision)
            seconds[precision].append(now(device) - begin)
    plain, half = (min(seconds[precision][1:]) for precision in PRECISIONS)
    return plain, half


def step(network: nn.Module, images: Tensor, labels: Tensor, precision: Precision) -> None:
    """Computes the gradients of all weights."""
    network.zero_grad(set_to_none=True)
    with autocast(images.device, precision):
        scores = network(images)
    F.cross_entropy(scores.float(), labels).backward()  # type: ignore[no-untyped-call]  # torch's


def now(device: torch.device) -> float:
    """Seconds of the processor, or, when a GPU has done what it was given, of the clock."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
