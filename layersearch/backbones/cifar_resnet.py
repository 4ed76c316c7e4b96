"""CIFAR ResNets: 6n + 2 layers in three stages (He et al. 2016, arXiv 1512.03385, section 4.2).

Shortcuts are of option A: where a stage halves the resolution and doubles the channels, a shortcut
subsamples with stride 2 and pads the new channels with zeros, so it has no parameters. Module names
(`conv1`, `bn1`, `layer1.0.conv1`, ..., `linear`) are those of the widely used public checkpoints.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


class CifarResNet(nn.Module):
    """A residual network for small images.

    Args:
        blocks: residual blocks in each of the stages, of 16, 32, 64 ... channels.
        classes: outputs of the classifier `linear`.
        width: channels of the first stage; each later stage doubles it.
    """

    def __init__(self, blocks: tuple[int, ...], *, classes: int = 10, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        in_channels = width
        for stage, count in enumerate(blocks):
            out_channels = width * 2**stage
            stage_blocks = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                stage_blocks.append(BasicBlock(in_channels, out_channels, stride=stride))
                in_channels = out_channels
            self.add_module(f"layer{stage + 1}", nn.Sequential(*stage_blocks))
        self.stages = len(blocks)
        self.linear = nn.Linear(in_channels, classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (N, classes) of images (N, 3, H, W)."""
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in range(self.stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        x = x.mean(dim=(2, 3))  # (N, C)
        scores: Tensor = self.linear(x)
        return scores


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and an option-A shortcut."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride = stride
        self.new_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, C_out, H / stride, W / stride) of features (N, C_in, H, W)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride != 1 or self.new_channels:
            before = self.new_channels // 2
            padding = (0, 0, 0, 0, before, self.new_channels - before)
            x = F.pad(x[:, :, :: self.stride, :: self.stride], padding)
        return F.relu(out + x)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)


def _variant(depth: int) -> Callable[..., CifarResNet]:
    def build(*, classes: int = 10) -> CifarResNet:
        count = (depth - 2) // 6
        return CifarResNet((count, count, count), classes=classes)

    build.__name__ = build.__qualname__ = f"cifar_resnet{depth}"
    build.__doc__ = f"He et al.'s {depth}-layer CIFAR ResNet, without pretrained weights."
    return build


cifar_resnet14 = _variant(14)
cifar_resnet20 = _variant(20)
cifar_resnet32 = _variant(32)
cifar_resnet44 = _variant(44)
cifar_resnet56 = _variant(56)
cifar_resnet110 = _variant(110)

CIFAR_RESNETS = {f"cifar_resnet{depth}": _variant(depth) for depth in (14, 20, 32, 44, 56, 110)}
