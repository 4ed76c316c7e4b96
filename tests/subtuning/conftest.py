"""A small network and task that trials can be run on in a fraction of a second."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from layersearch.backbones import Backbone, backbone_from_module
from layersearch.backbones.cifar_resnet import CifarResNet
from layersearch.data import Augmentation, DataSplits, splits_from_tensors
from layersearch.objectives import make_objective
from layersearch.space.trial import WorkerPlace
from layersearch.subtuning import Materials, Recipe, Workplace, open_workplace

CLASSES = 3


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    """Five units (stem, four blocks), 16 x 16 images; random weights with used BatchNorms."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CifarResNet((2, 2), classes=5, width=8).train()
        with torch.no_grad():
            for _ in range(5):
                network(torch.randn(32, 3, 16, 16))
    return backbone_from_module(
        network.eval(), input_size=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )


@pytest.fixture(scope="session")
def data() -> DataSplits:
    """Images whose class shows in the colour of a stripe; 60 to train on, 30 to test."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(90) % CLASSES
    images = torch.randint(0, 160, (90, 3, 16, 16), generator=generator)
    for index, label in enumerate(labels.tolist()):
        images[index, label, 4:9] += 60
    images = images.to(torch.uint8)
    return splits_from_tensors(images[:60], labels[:60], images[60:], labels[60:], folds=3, seed=0)


Make = Callable[..., Materials]


@pytest.fixture
def materials(backbone: Backbone, data: DataSplits) -> Make:
    """Makes the materials of a search; keywords replace fields of Materials or of its recipe."""

    def make(*, recipe: dict[str, Any] | None = None, **changes: Any) -> Materials:
        plain = Materials(
            backbone=backbone,
            units={"granularity": "block"},
            data=data,
            augmentation=Augmentation(),
            views=1,
            recipe=Recipe(**{"epochs": 2, "batch_size": 10, "precision": "fp32", **(recipe or {})}),
            objective=make_objective("accuracy"),
            seed=7,
        )
        return replace(plain, **changes)

    return make


@pytest.fixture
def workplace(materials: Make) -> Workplace:
    """A workplace on the CPU."""
    return open_workplace(materials(), WorkerPlace(number=0, threads=1))
