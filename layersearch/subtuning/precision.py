"""The number format that trials compute in: what `recipe.precision: auto` means where they run."""

import platform
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from layersearch.errors import RecipeError
from layersearch.subtuning.recipe import Precision

_PROCESSOR = Path("/proc/cpuinfo")


def resolve_precision(
    wanted: str, device: torch.device, network: nn.Module | None = None
) -> Precision:
    """The precision that `wanted` means on the device.

    'auto' is bf16 where it is faster, by the hardware and the kind of network: never by a
    measurement, so that a trial is trained alike whenever it is run on the machine.

    Args:
        wanted: as in a recipe: 'auto', 'fp32', 'bf16' or 'fp16'.
        device: to train on.
        network: that is trained; None: one of dense convolutions and products.

    Raises:
        RecipeError: a precision that the device cannot train in.
    """
    if wanted == "auto":
        return "bf16" if _has_fast_bf16(device, network) else "fp32"
    if wanted == "fp16" and device.type != "cuda":
        raise RecipeError(f"recipe.precision: fp16 needs a GPU, not {device}; use bf16 or fp32")
    return wanted  # type: ignore[return-value]  # the schema and the dataclass allow no other word


def _has_fast_bf16(device: torch.device, network: nn.Module | None) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    if _processor_has("amx_tile"):  # multiplies bf16 matrices in hardware
        return True
    # Dot products of bf16 pairs in hardware: a training step is 1.6 to 2.3 times as fast on AMD's
    # processors, but slower on Intel's, which compute as many float32 products at a time. Strided
    # depthwise convolutions have no fast kernel, so mobile networks are slower on either, by up to
    # half (docs/benchmarks.md). Without such products bf16 is emulated, and slower for all.
    strided = network is not None and _has_strided_depthwise(network)
    return _processor_has("avx512_bf16") and _is_amd() and not strided


def _processor_has(feature: str) -> bool:
    # Not in every version of torch, nor on every kind of processor.
    probe = getattr(torch.cpu, f"_is_{feature}_supported", None)
    return bool(probe and probe())


@cache
def _is_amd() -> bool:
    """Whether AMD made the processor, as Linux or, elsewhere, Python has it."""
    told = _PROCESSOR.read_text() if _PROCESSOR.is_file() else platform.processor()
    return "AuthenticAMD" in told


def _has_strided_depthwise(network: nn.Module) -> bool:
    return any(
        isinstance(module, _ConvNd)
        and module.groups == module.in_channels > 1
        and max(module.stride) > 1
        for module in network.modules()
    )
