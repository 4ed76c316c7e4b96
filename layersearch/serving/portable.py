"""A task's network as a graph that runs without layersearch: torch.export, and what ONNX starts at.

The graph takes a batch of any size: images (N, C, H, W) of the backbone's input size, RGB, in
[0, 1], which it normalises itself, and gives class scores (N, classes). What came before (bringing
a photograph to that size) and what follows (the names of the classes) is in the description.
"""

import copy
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn

from layersearch.errors import TaskError
from layersearch.serving.task import TaskNetwork

INPUT, OUTPUT = "images", "scores"
DESCRIPTION = "layersearch.json"  # of an exported program: the name of the file in it
_EXAMPLES = 2  # images to trace with: a batch of one would be taken for a constant


class Portable(nn.Module):
    """Class scores (N, classes) of images (N, C, H, W), float32.

    Args:
        network: is copied, to the CPU and to the usual memory format.
        normalise: whether images are given in [0, 1]; otherwise normalised already. None: as the
            task was trained: images yes, other features no.
    """

    def __init__(self, network: TaskNetwork, *, normalise: bool | None = None) -> None:
        super().__init__()
        self.task = network.description
        self.normalise = self.task.canvas is not None if normalise is None else normalise
        preprocessing = self.task.preprocessing
        self.network = copy.deepcopy(network.network).cpu()
        self.network.to(memory_format=torch.contiguous_format)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, -1, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (N, classes)."""
        if self.normalise:
            images = (images - self.mean) / self.std
        scores: Tensor = self.network(images)
        return scores

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image: channels, height, width."""
        preprocessing = self.task.preprocessing
        return (len(preprocessing.mean), *preprocessing.input_size)

    def describe(self) -> dict[str, Any]:
        """What a program needs that runs the graph, as JSON."""
        preprocessing, canvas = self.task.preprocessing, self.task.canvas
        return {
            "classes": list(self.task.classes),
            "input": {
                "name": INPUT,
                "shape": ["batch", *self.shape],
                "type": "float32",
                "values": "[0, 1]" if self.normalise else "as the backbone takes them",
            },
            "output": {"name": OUTPUT, "shape": ["batch", len(self.task.classes)]},
            "preprocessing": {
                "canvas": None if canvas is None else list(canvas),
                "resize": preprocessing.resize,
                "input_size": list(preprocessing.input_size),
                "normalised_inside": self.normalise,
                "mean": list(preprocessing.mean),
                "std": list(preprocessing.std),
            },
            "task": self.task.to_json(),
        }


def examples(portable: Portable) -> Tensor:
    """Images (2, C, H, W) to trace with."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(_EXAMPLES, *portable.shape, generator=generator)


def trace(portable: Portable) -> torch.export.ExportedProgram:
    """The graph, for batches of any size.

    Raises: TaskError: torch.export cannot trace the network.
    """
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    try:
        with quietly(), torch.no_grad():
            return torch.export.export(
                portable, (examples(portable),), dynamic_shapes={INPUT: {0: batch}}, strict=False
            )
    except Exception as error:  # every layer of it raises its own
        raise TaskError(
            f"{portable.task.backbone}: torch.export cannot trace this network for batches of any "
            f"size ({first_line(error)}); save a merged model instead (--merged)"
        ) from error


def to_torch_export(portable: Portable) -> bytes:
    """A .pt2 file: `torch.export.load(path).module()(images)` runs it.

    Raises: TaskError: torch.export cannot trace the network.
    """
    program, file = trace(portable), BytesIO()
    with quietly():
        torch.export.save(program, file, extra_files={DESCRIPTION: json.dumps(portable.describe())})
    return file.getvalue()


def from_torch_export(content: bytes) -> nn.Module:
    """The network in a .pt2 file."""
    with quietly():
        module: nn.Module = torch.export.load(BytesIO(content)).module()
    return module


@contextmanager
def quietly() -> Iterator[None]:
    """Without what exporters warn of, and with attention in operations that any file knows.

    PyTorch computes the attention of encoders in eval mode by one fused operation of its own.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def first_line(error: Exception) -> str:
    """What an error of a library says first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {(lines or [''])[0]:.160}"
