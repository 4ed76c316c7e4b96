"""Random numbers by counter: each a pure function of a seed and of what it is for.

A generator's numbers depend on how many were drawn before; these depend on nothing but their name,
so the view of a sample is the same in every batch, trial, process and on every device. The mixing
is the finaliser of SplitMix64 (Steele, Lea, Flood 2014), in int64 arithmetic that wraps alike on
CPU and GPU.
"""

import torch
from torch import Tensor


def uniforms(seed: int, samples: Tensor, *counters: int, count: int) -> Tensor:
    """Numbers uniform in [0, 1).

    Args:
        seed: any.
        samples: int64 (B,), the number of each sample.
        counters: what else the numbers depend on, such as the view.
        count: how many a sample.

    Returns:
        float64 (B, count), on the device of `samples`; row i depends on `samples[i]` alone.
    """
    state = _mix(torch.tensor(_signed(seed), dtype=torch.int64))
    for counter in counters:
        state = _mix(state + _signed(counter))
    state = state.to(samples.device, non_blocking=True)  # from the host: nothing to wait for
    each = _mix(samples.to(torch.int64) + state)  # (B,)
    step = torch.arange(1, count + 1, device=samples.device) * _GOLDEN  # (count,)
    bits = _mix(each.unsqueeze(1) + step)  # (B, count)
    return _shifted(bits, 11).to(torch.float64) * 2.0**-53


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Right by `bits`, zeros from the left: int64's own shift repeats the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    """The int64 with the same low 64 bits."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)
