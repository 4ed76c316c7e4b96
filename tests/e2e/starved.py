"""A real training in a process that may take only so much memory."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from layersearch.backbones import backbone_from_module
from layersearch.data import Augmentation, splits_from_tensors
from layersearch.objectives import make_objective
from layersearch.space.trial import Proposal, Reporter, TrialResult, WorkerPlace
from layersearch.subtuning import Budget, HeadRecipe, JobFactory, Materials, Recipe

Run = Callable[[Proposal, Reporter], TrialResult]


class Wide(nn.Module):
    """Few weights, large values: half a MB a sample and layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.one = nn.Sequential(
            *(layer for _ in range(8) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.Tanh()))
        )
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (N, 5)."""
        return self.fc(self.one(self.stem(x)).mean((2, 3)))


def materials() -> Materials:
    """64 large images in batches of 32, nothing kept; the unit 'a' is the wide part."""
    torch.manual_seed(0)
    labels = torch.arange(70) % 2
    images = torch.randint(0, 100, (70, 3, 128, 128), dtype=torch.uint8)
    images[labels == 1, 0] += 100
    return Materials(
        backbone=backbone_from_module(
            Wide().eval(), input_size=(128, 128), mean=(0.5,) * 3, std=(0.25,) * 3
        ),
        units={"patterns": {"a": ["one.*"]}},
        data=splits_from_tensors(
            images[:64], labels[:64], images[64:], labels[64:], folds=2, seed=0
        ),
        augmentation=Augmentation(),
        views=1,
        recipe=Recipe(
            epochs=2,
            batch_size=32,
            precision="fp32",
            norms="eval",
            lr=3e-3,
            head=HeadRecipe(start="random"),
        ),
        objective=make_objective("log_loss"),
        seed=0,
        cache=Budget(device_bytes=0, host_bytes=0, disk_bytes=0),
    )


class Starved:
    """A job factory whose trials may take `more` bytes of address space; None: any number.

    Counted from the most that it took to make the job, which fills the features. A trial's
    attributes hold the most that it took beyond that, and its process. Each process in which a job
    is made adds its id to the file `log`.
    """

    def __init__(self, more: int | None = None, *, log: Path | None = None) -> None:
        self.more = more
        self.log = log

    def __call__(self, place: WorkerPlace) -> Run:
        """Makes the job, then lowers the limit of this process for good."""
        job = JobFactory(materials())(place)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{os.getpid()}\n")
        before = _status("VmPeak")
        if self.more is not None:
            limit = before + self.more
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        def run(proposal: Proposal, report: Reporter) -> TrialResult:
            result = job(proposal, report)
            result.attributes.update(  # type: ignore[attr-defined]  # a dict that is ours
                {"taken": _status("VmPeak") - before, "pid": os.getpid()}
            )
            return result

        return run


def _status(name: str) -> int:
    """Bytes, as the kernel counts them for this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024
