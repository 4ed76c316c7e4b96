#!/usr/bin/env python
"""Pretrains the small backbone that ships with layersearch, on an image folder.

    python scripts/pretrain_backbone.py path/to/cifar10   # train/<class>/*, test/<class>/*

Writes layersearch/backbones/pretrained/<name>.safetensors and prints the figures of its model card.
The recipe is a plain one (SGD with Nesterov momentum, one cycle, padded crops and flips, bf16
autocast); 24 epochs of ResNet-14 take about half an hour on one CPU core with AMX.
"""

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import pil_to_tensor

from layersearch.backbones.cifar_resnet import CIFAR_RESNETS, CifarResNet

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PRETRAINED = Path(__file__).parents[1] / "layersearch" / "backbones" / "pretrained"


def main() -> None:
    """Parses the command line, trains, evaluates on the test folder and saves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", choices=sorted(CIFAR_RESNETS), default="cifar_resnet14")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)

    images, labels, classes = load(arguments.folder / "train")
    test_images, test_labels, _ = load(arguments.folder / "test")
    network = CIFAR_RESNETS[arguments.name](classes=len(classes))
    network = network.to(memory_format=torch.channels_last)
    started = time.perf_counter()
    train(
        network, images, labels,
        epochs=arguments.epochs, batch_size=arguments.batch_size, lr=arguments.lr,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    accuracy = evaluate(network, test_images, test_labels)
    print(f"test accuracy {accuracy:.4f} on {len(test_labels)} images, {seconds:.0f} s of training")

    output = arguments.output or PRETRAINED / f"{arguments.name}.safetensors"
    output.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(state, output, metadata={"classes": ",".join(classes)})
    print(f"wrote {output} ({output.stat().st_size / 1e3:.0f} kB)")


def load(folder: Path) -> tuple[Tensor, Tensor, list[str]]:
    """Decodes an image folder whole: uint8 images (N, 3, H, W), labels (N,), class names."""
    dataset = ImageFolder(str(folder))
    images = torch.stack([pil_to_tensor(image) for image, _ in dataset])
    return images, torch.tensor(dataset.targets), dataset.classes


def train(
    network: CifarResNet, images: Tensor, labels: Tensor, *, epochs: int, batch_size: int, lr: float
) -> None:
    """Trains the whole network in place."""
    steps = len(images) // batch_size
    optimizer = torch.optim.SGD(
        network.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=lr, total_steps=epochs * steps, pct_start=0.2
    )
    for epoch in range(epochs):
        network.train()
        order = torch.randperm(len(images))
        total = 0.0
        for step in range(steps):
            index = order[step * batch_size : (step + 1) * batch_size]
            batch = augment(normalise(images[index]))
            with torch.autocast("cpu", torch.bfloat16):
                scores = network(batch.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(scores.float(), labels[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {total / steps:.4f}", flush=True)


def normalise(images: Tensor) -> Tensor:
    """Float images of mean 0 and deviation 1 from uint8 images, both (N, 3, H, W)."""
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    return (images.float() / 255 - mean) / std


def augment(batch: Tensor, *, padding: int = 4) -> Tensor:
    """Pads with zeros, crops each image at its own place and flips half of them; (N, 3, H, W)."""
    count, _, height, width = batch.shape
    padded = F.pad(batch, (padding,) * 4)
    top = torch.randint(0, 2 * padding + 1, (count, 1))
    left = torch.randint(0, 2 * padding + 1, (count, 1))
    rows = top + torch.arange(height)  # (N, H)
    columns = left + torch.arange(width)  # (N, W)
    columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
    samples = torch.arange(count).view(-1, 1, 1)
    return padded.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )


@torch.inference_mode()
def evaluate(network: CifarResNet, images: Tensor, labels: Tensor) -> float:
    """The share of images (N, 3, H, W) whose highest score is their label's, in float32."""
    network.eval()
    hits = 0
    for start in range(0, len(images), 500):
        scores = network(normalise(images[start : start + 500]))
        hits += int((scores.argmax(1) == labels[start : start + 500]).sum())
    return hits / len(images)


if __name__ == "__main__":
    main()
