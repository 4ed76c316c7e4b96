"""Unit: what a search switches on or off."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A named group of parameters at one place of the backbone.

    Names of parameters and buffers are those of `named_parameters()` and `named_buffers()`.
    """

    name: str
    depth: int  # the stage of the chain that first uses it, from 0 at the input
    parameters: tuple[str, ...]
    buffers: tuple[str, ...] = ()  # statistics of its norms, saved with its parameters
    numel: int = 0  # values in its parameters
    multiply_adds: int = 0  # forward pass of its stage on one sample
    output_shape: tuple[int, ...] = ()  # of its stage on one sample, without the batch dimension
