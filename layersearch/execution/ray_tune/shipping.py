"""Sends a job factory to the nodes of a cluster so that a node's workers share one copy of it.

Arrays and tensors are pickled out of band (PEP 574) and put into Ray's object store as raw buffers.
A worker's arrays and tensors are views of the store's shared memory: read only, one copy a node.
"""

import io
import pickle
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import cloudpickle
import numpy as np
from numpy.typing import NDArray

Shipment = tuple[bytes, list[NDArray[np.uint8]]]


def pack(value: object) -> Shipment:
    """A value as its pickle and the memory of its arrays and tensors.

    Raises:
        Exception: whatever pickling raises.
    """
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    _Pickler(file, protocol=5, buffer_callback=buffers.append).dump(value)
    # The store aligns arrays, and hands them out without copying.
    return file.getvalue(), [np.frombuffer(buffer.raw(), dtype=np.uint8) for buffer in buffers]


def unpack(shipment: Shipment) -> Any:
    """The value; its arrays and tensors share the memory of the shipment."""
    packed, buffers = shipment
    return pickle.loads(packed, buffers=buffers)  # noqa: S301 - from our own driver


class _Pickler(cloudpickle.Pickler):
    """Sends tensors as the memory that they view."""

    def reducer_override(self, obj: Any) -> Any:
        torch = sys.modules.get("torch")
        if torch is not None and type(obj) in (torch.Tensor, torch.nn.Parameter):
            reduced = _reduce_tensor(obj)
            if reduced is not None:
                return reduced
        return super().reducer_override(obj)


def _reduce_tensor(tensor: Any) -> Any:
    """How to rebuild a plain tensor of the CPU without copying; None: it is no such tensor."""
    torch = sys.modules["torch"]
    plain = tensor.detach()
    is_plain = (
        plain.layout is torch.strided
        and plain.device.type == "cpu"
        and not plain.is_quantized
        and not plain.is_conj()
        and not plain.is_neg()
        and plain.numel() > 0
        and getattr(tensor, "_backward_hooks", None) in (None, {})
        and not vars(tensor)
    )
    if not is_plain:
        return None
    # Dense in any order of its dimensions: its memory in that order is one block.
    order = sorted(range(plain.ndim), key=lambda axis: (-plain.stride(axis), axis))
    block = plain.permute(order)
    if not block.is_contiguous():
        return None
    raw = block.reshape(-1).view(torch.uint8).numpy()
    kind = str(plain.dtype).removeprefix("torch.")
    is_parameter = isinstance(tensor, torch.nn.Parameter)
    arguments = (
        pickle.PickleBuffer(raw),
        kind,
        tuple(plain.shape),
        tuple(plain.stride()),
        is_parameter,
        bool(tensor.requires_grad),
    )
    return _rebuild_tensor, arguments


def _rebuild_tensor(
    buffer: Any,
    kind: str,
    shape: Sequence[int],
    stride: Sequence[int],
    is_parameter: bool,
    requires_grad: bool,
) -> Any:
    import torch

    with warnings.catch_warnings():
        # Its memory is the store's, which nobody may write: frozen weights and data are only read.
        warnings.filterwarnings("ignore", message="The given (buffer|NumPy array) is not writable")
        flat = torch.frombuffer(buffer, dtype=torch.uint8).view(getattr(torch, kind))
    tensor = torch.as_strided(flat, shape, stride)
    if is_parameter:
        return torch.nn.Parameter(tensor, requires_grad=requires_grad)
    return tensor.requires_grad_(requires_grad)
