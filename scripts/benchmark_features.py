"""What stored features save: training what follows each cut of ResNet-20, with them and without.

    python scripts/benchmark_features.py --data ../shared/data

Each cut is measured with two stores, one that keeps features and one that never does, epoch by
epoch in turn, so that both meet the same machine. An epoch trains the stage after the cut and the
head (AdamW, batches of 50). The smallest of the repeated epochs counts; the epoch that fills the
store is shown apart. On a CPU, seconds are those of this process's processors, so that other
processes disturb little; on a GPU they are of the clock. Prints a table; exits with 1 where the
store makes an epoch slower by more than a tenth.
"""

import argparse
import copy
import io
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from layersearch.backbones import Backbone, Chain, build_chain, load_backbone
from layersearch.data.augmentation import Augmentation
from layersearch.data.views import Views
from layersearch.subtuning.features import Budget, FeatureStore

SIZE = (32, 32)
MIB = 1 << 20
TOLERANCE = 1.1  # times the seconds without the store


@dataclass(frozen=True, kw_only=True)
class Row:
    """The seconds of epochs from one cut."""

    cut: int
    without: tuple[float, ...]
    with_store: tuple[float, ...]
    first: float  # the epoch that fills the store
    mib: float
    choice: str

    @property
    def ratio(self) -> float:
        """How many times faster an epoch is with the store."""
        return min(self.without) / min(self.with_store)


def main() -> int:
    """Measures, prints, and judges."""
    options = _options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    backbone, _ = backbone_of(options.data)
    backbone.network.eval()
    chain = build_chain(backbone)
    images, source = jpeg_images(options.data, options.samples)
    print(
        f"ResNet-20, {len(images)} {source} images, {options.tier} tier, batches of "
        f"{options.batch_size}, {options.threads} threads, torch {torch.__version__}, "
        f"{options.device}, {options.epochs} epochs each"
    )
    print("cut  without s    with s   ratio  first s     MiB  choice")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(len(chain.stages)):
            rows.append(_measure(chain, images, number, options, Path(folder) / str(number)))
            _print(rows[-1])
    mean = statistics.geometric_mean(row.ratio for row in rows)
    total = sum(min(row.without) for row in rows) / sum(min(row.with_store) for row in rows)
    print(f"geometric mean of the ratios {mean:.2f}; all cuts once {total:.2f}")
    slow = [row.cut for row in rows if row.ratio * TOLERANCE < 1]
    if slow:
        print(f"slower by more than a tenth from cuts {slow}")
    return 1 if slow else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="images, weights")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=5, help="timed epochs of each kind")
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tier", choices=("device", "host", "shared", "disk"), default="device")
    parser.add_argument("--flip", action="store_true", help="augmented, the same view each epoch")
    return parser.parse_args()


def _measure(
    chain: Chain, images: Tensor, number: int, options: argparse.Namespace, folder: Path
) -> Row:
    chain.to(options.device)
    with (
        _store(chain, images, options, folder, keep=True) as kept,
        _store(chain, images, options, folder, keep=False) as never,
    ):
        started = _seconds(options)
        _epoch(chain, kept, number, options)
        first = _seconds(options) - started
        _epoch(chain, never, number, options)
        with_store, without = [], []
        for _ in range(options.epochs):
            without.append(_epoch(chain, never, number, options))
            with_store.append(_epoch(chain, kept, number, options))
        found = kept.statistics()
        decision = found["decisions"][number]
        kept.close(remove=True)
    return Row(
        cut=number,
        without=tuple(without),
        with_store=tuple(with_store),
        first=first,
        mib=sum(found["bytes"].values()) / MIB,
        choice=" ".join((decision["choice"], *decision["tiers"])),
    )


def _store(
    chain: Chain, images: Tensor, options: argparse.Namespace, folder: Path, *, keep: bool
) -> FeatureStore:
    budget = {
        "device": Budget(device_bytes=2048 * MIB, host_bytes=0),
        "host": Budget(device_bytes=0, host_bytes=2048 * MIB),
        "shared": Budget(device_bytes=0, host_bytes=2048 * MIB),
        "disk": Budget(device_bytes=0, host_bytes=0, disk_bytes=2048 * MIB),
    }[options.tier]
    files = keep and options.tier in ("shared", "disk")
    views = Views(
        seed=0,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        input_size=SIZE,
        augmentation=Augmentation(flip=True) if options.flip else None,
    )
    return FeatureStore(
        chain,
        images,
        views,
        device=options.device,
        budget=budget if keep else Budget(device_bytes=0, host_bytes=0),
        directory=folder if files else None,
        key="benchmark",
        policy="measured" if keep else "never",
    )


def _epoch(chain: Chain, store: FeatureStore, number: int, options: argparse.Namespace) -> float:
    """Seconds to train the stage after the cut and the head for one epoch."""
    suffix = nn.ModuleList(copy.deepcopy(stage) for stage in chain.stages[number:])
    for parameter in [*suffix[0].parameters(), *suffix[-1].parameters()]:
        parameter.requires_grad_(True)
    trained = [parameter for parameter in suffix.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=True)
    count = options.samples
    labels = torch.arange(count, device=options.device) % 10
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    started = _seconds(options)
    for batch in torch.split(order, options.batch_size):
        values = store.values(number, batch, 0)
        for stage in suffix:
            values = stage(*values)
        loss = F.cross_entropy(values[0], labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loss.item()  # waits for the device
    return _seconds(options) - started


def _seconds(options: argparse.Namespace) -> float:
    return time.process_time() if options.device == "cpu" else time.perf_counter()


def backbone_of(data: Path) -> tuple[Backbone, str]:
    """ResNet-20, and whether its weights are published ones or random."""
    weights = data / "weights" / "resnet20-12fca82f.th"
    found = weights if weights.is_file() else None
    return load_backbone("cifar_resnet20", weights=found), "published" if found else "random"


def jpeg_images(data: Path, count: int) -> tuple[Tensor, str]:
    """uint8 (N, 3, 32, 32), and what they are: JPEG images from the archive, or random ones."""
    archive = data / "cifar10_jpeg.tar.gz"
    if archive.is_file():
        with tarfile.open(archive, "r|gz") as members:
            pixels = [image for image, _ in zip(_decoded(members), range(count), strict=False)]
        return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(), "JPEG"
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, *SIZE), dtype=torch.uint8, generator=generator)
    return images, "random"


def _decoded(members: tarfile.TarFile) -> Iterator[np.ndarray]:
    for member in members:
        file = members.extractfile(member) if member.name.endswith(".jpg") else None
        if file is not None:
            yield np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"))


def _print(row: Row) -> None:
    print(
        f"{row.cut:3d}  {min(row.without):9.3f} {min(row.with_store):9.3f} {row.ratio:7.2f} "
        f"{row.first:8.3f} {row.mib:7.1f}  {row.choice}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
