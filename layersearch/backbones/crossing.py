"""What the values of a traced network are, learnt by running it on 2 and on 3 images at once.

The first two images are the same in both runs. So one sees of every tensor which dimension counts
samples and whether a sample's rows depend on its neighbours, and of every number whether it is a
constant or a multiple of the batch size. Values that cross a cut are stored by sample and come back
in batches of another size: tensors cross with samples first, numbers do not cross, they are written
into the stage that needs them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

_FEW, _MORE = 2, 3  # batch sizes of the two runs


@dataclass(frozen=True)
class Samples:
    """A tensor whose dimension `dim` counts samples, `rows` of it a sample."""

    dim: int
    rows: int
    bytes: int  # a sample
    independent: bool  # the rows of a sample are the same whatever else is in the batch


@dataclass(frozen=True)
class Fixed:
    """A value that is the same for every batch of images of this size."""

    value: Any


@dataclass(frozen=True)
class PerBatch:
    """An integer: so many times the batch size."""

    times: int


@dataclass(frozen=True)
class Group:
    """A tuple, list or size of numbers."""

    kind: type
    items: tuple["Number", ...]


@dataclass(frozen=True)
class Place:
    """A device or a dtype that is the same as that of the images, or as that of the values."""

    attribute: str  # 'device'


@dataclass(frozen=True)
class Other:
    """Anything else: it crosses cuts as it is."""


Number = Fixed | PerBatch | Group | Place | Other
Nature = Samples | Number


def natures(
    network: nn.Module, graph: fx.Graph, images: Tensor, *, compare: Collection[fx.Node]
) -> dict[fx.Node, Nature]:
    """The nature of every node.

    Args:
        network: that the graph was traced from.
        graph: with one placeholder.
        images: at least 3.
        compare: nodes of which it matters whether samples are independent (the others are
            not compared, and taken to be dependent).
    """
    few = fx.Interpreter(network, graph=graph)
    more = fx.Interpreter(network, graph=graph)
    found: dict[fx.Node, Nature] = {}
    with torch.no_grad():
        for node in graph.nodes:
            if node.op == "output":
                break
            if node.op == "placeholder":
                few.env[node] = images[:_FEW].clone()
                more.env[node] = images[:_MORE].clone()
            else:
                few.env[node], more.env[node] = few.run_node(node), more.run_node(node)
            found[node] = _nature(few.env[node], more.env[node], compare=node in compare)
            for done in few.user_to_last_uses.get(node, ()):
                del few.env[done], more.env[done]
    return found


def _nature(few: Any, more: Any, *, compare: bool) -> Nature:
    if not isinstance(few, Tensor):
        return _number(few, more)
    if not isinstance(more, Tensor) or few.dim() != more.dim():
        return Other()
    differing = [dim for dim in range(few.dim()) if few.shape[dim] != more.shape[dim]]
    if len(differing) != 1:
        return Other()
    dim = differing[0]
    rows, rest = divmod(few.shape[dim], _FEW)
    if rest or more.shape[dim] != rows * _MORE:
        return Other()
    same = compare and close(few, more.narrow(dim, 0, _FEW * rows))
    return Samples(dim=dim, rows=rows, bytes=few.nbytes // _FEW, independent=same)


def close(a: Tensor, b: Tensor) -> bool:
    """Equal but for rounding: kernels may sum in another order for another batch size."""
    if not a.is_floating_point():
        return torch.equal(a, b)
    tolerance = 1e-3 if a.dtype in (torch.float32, torch.float64) else 5e-2
    scale = a.abs().nan_to_num(posinf=0.0).max().item() if a.numel() else 0.0
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def _number(few: Any, more: Any) -> Number:
    if isinstance(few, tuple | list) and type(few) is type(more) and len(few) == len(more):
        items = tuple(_number(a, b) for a, b in zip(few, more, strict=True))
        kind = type(few) if type(few) in (tuple, list, torch.Size) else tuple
        return Other() if any(isinstance(item, Other) for item in items) else Group(kind, items)
    if isinstance(few, torch.device):
        return Place("device")
    plain = few is None or isinstance(few, bool | int | float | str | slice | torch.dtype)
    if plain and type(few) is type(more):
        if few == more:
            return Fixed(few)
        if type(few) is int and few % _FEW == 0 and few * _MORE == more * _FEW:
            return PerBatch(few // _FEW)
    return Other()
