"""Small networks that the tests of backbones share."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Plain(nn.Module):
    """Two convolutions with norms, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2)
        self.bn2 = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        return self.fc(x.mean(dim=(2, 3)))


class Undecided(Plain):
    """Looks at the values of its features: fx cannot trace it."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        if x.sum() < -1e9:
            x = x * 2
        x = self.bn2(self.conv2(x)).relu()
        return self.fc(x.mean(dim=(2, 3)))


@pytest.fixture
def plain() -> nn.Module:
    torch.manual_seed(0)
    return Plain()


@pytest.fixture
def undecided() -> nn.Module:
    torch.manual_seed(0)
    return Undecided()
