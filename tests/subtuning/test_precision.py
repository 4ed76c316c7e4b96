"""Precisions: what 'auto' means depends on the hardware and the network, never on a measurement."""

import pytest
import torch
import torchvision
from torch import nn

from layersearch.errors import RecipeError
from layersearch.subtuning import resolve_precision

CPU = torch.device("cpu")


@pytest.fixture
def processor(monkeypatch):
    """Makes the processor one that has nothing but the features named."""

    def having(*features):
        for name in ("amx_tile", "avx512_bf16"):
            monkeypatch.setattr(
                torch.cpu,
                f"_is_{name}_supported",
                lambda name=name: name in features,
                raising=False,
            )

    return having


def test_half_precision_is_refused_without_a_gpu():
    with pytest.raises(RecipeError, match="fp16 needs a GPU"):
        resolve_precision("fp16", CPU)


@pytest.mark.parametrize("features", [(), ("avx512_bf16",), ("avx512_bf16", "amx_tile")])
def test_what_is_said_is_done_everywhere(processor, features):
    processor(*features)
    assert resolve_precision("fp32", CPU) == "fp32"
    strided = nn.Conv2d(2, 2, 3, stride=2, groups=2)
    assert resolve_precision("bf16", CPU, strided) == "bf16"


@pytest.mark.parametrize(
    ("features", "network", "expected"),
    [
        ((), "resnet18", "fp32"),
        (("avx512_bf16",), "resnet18", "bf16"),
        (("avx512_bf16",), "vit_b_16", "bf16"),
        (("avx512_bf16",), "convnext_tiny", "bf16"),  # depthwise, but in single steps
        (("avx512_bf16",), "mobilenet_v2", "fp32"),
        (("avx512_bf16", "amx_tile"), "mobilenet_v2", "bf16"),
    ],
)
def test_auto_goes_by_the_processor_and_the_network(processor, features, network, expected):
    processor(*features)
    with torch.device("meta"):
        built = getattr(torchvision.models, network)()
    assert resolve_precision("auto", CPU, built) == expected


def test_a_grouped_convolution_of_one_channel_is_a_dense_one(processor):
    processor("avx512_bf16")
    assert resolve_precision("auto", CPU, nn.Conv2d(1, 8, 3, stride=2)) == "bf16"


def test_auto_is_float32_where_torch_cannot_tell(monkeypatch):
    for name in ("amx_tile", "avx512_bf16"):
        monkeypatch.delattr(torch.cpu, f"_is_{name}_supported", raising=False)
    assert resolve_precision("auto", CPU, nn.Linear(1, 1)) == "fp32"
