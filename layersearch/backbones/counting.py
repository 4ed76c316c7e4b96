"""Multiply-adds of a forward pass."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def multiply_adds(run: Callable[[], Any]) -> tuple[Any, int]:
    """What `run` returns, and the multiply-adds of its matrix products and convolutions.

    PyTorch counts two operations a multiply-add; elementwise work is not counted.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_FUSED)
    with counter:
        result = run()
    return result, int(counter.get_total_flops()) // 2


def _attention(query: Sequence[int], *_: Any, **__: Any) -> int:
    """Operations of the fused multi-head self-attention, which PyTorch's counter does not know."""
    batch, length, width = query
    projections = 2 * batch * length * width * 4 * width
    return projections + 2 * 2 * batch * length * length * width


def _encoder_layer(source: Sequence[int], *rest: Any, **__: Any) -> int:
    """Operations of the fused transformer encoder layer: attention and two linear layers."""
    batch, length, width = source
    hidden = int(rest[_FIRST_LINEAR][0])
    return _attention(source) + 2 * 2 * batch * length * width * hidden


def _dot_product(query: Sequence[int], key: Sequence[int], *_: Any, **__: Any) -> int:
    """Operations of scaled dot-product attention on a CPU, which older versions do not count."""
    batch, heads, length, width = query
    return 2 * 2 * batch * heads * length * key[2] * width


_FIRST_LINEAR = 13  # place of the weight (hidden, width) among the arguments after the source
_FUSED = {  # operators that PyTorch's own modules call in eval mode
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _dot_product,  # noqa: SLF001
    torch.ops.aten._native_multi_head_attention: _attention,  # noqa: SLF001
    torch.ops.aten._transformer_encoder_layer_fwd: _encoder_layer,  # noqa: SLF001
}
