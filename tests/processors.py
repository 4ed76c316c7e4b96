"""Processors that this machine does not have."""

import pytest
import torch

from layersearch.subtuning import precision


def pretend_processor(
    monkeypatch: pytest.MonkeyPatch, *features: str, maker: str = "AuthenticAMD"
) -> None:
    """Makes the processor one that has nothing but the features named, and who made it."""
    monkeypatch.setattr(precision, "_is_amd", lambda: maker == "AuthenticAMD")
    for name in ("amx_tile", "avx512_bf16"):
        monkeypatch.setattr(
            torch.cpu, f"_is_{name}_supported", lambda name=name: name in features, raising=False
        )
