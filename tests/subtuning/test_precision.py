"""Precisions: what 'auto' means depends on the hardware and the network, never on a measurement."""

from functools import partial

import pytest
import torch
import torchvision
from torch import nn

from layersearch.errors import RecipeError
from layersearch.subtuning import precision, resolve_precision
from tests.processors import pretend_processor

CPU = torch.device("cpu")


@pytest.fixture
def processor(monkeypatch):
    """Makes the processor another one."""
    return partial(pretend_processor, monkeypatch)


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


def test_only_amds_processors_are_faster_at_dot_products_in_bfloat16(processor):
    dense = nn.Linear(1, 1)
    processor("avx512_bf16", maker="GenuineIntel")
    assert resolve_precision("auto", CPU, dense) == "fp32"
    processor("avx512_bf16", "amx_tile", maker="GenuineIntel")
    assert resolve_precision("auto", CPU, dense) == "bf16"


@pytest.mark.parametrize(
    ("maker", "amd"), [("AuthenticAMD", True), ("GenuineIntel", False), ("", False)]
)
@pytest.mark.parametrize("linux", [True, False])
def test_who_made_the_processor(monkeypatch, tmp_path, linux, maker, amd):
    file = tmp_path / "cpuinfo"
    if linux:
        file.write_text(f"processor\t: 0\nvendor_id\t: {maker}\ncpu family\t: 25\n")
    else:
        monkeypatch.setattr(
            precision.platform, "processor", lambda: f"AMD64 Family 25 Model 97, {maker}"
        )
    monkeypatch.setattr(precision, "_PROCESSOR", file)
    assert precision._is_amd.__wrapped__() is amd


def test_a_grouped_convolution_of_one_channel_is_a_dense_one(processor):
    processor("avx512_bf16")
    assert resolve_precision("auto", CPU, nn.Conv2d(1, 8, 3, stride=2)) == "bf16"


def test_auto_is_float32_where_torch_cannot_tell(monkeypatch):
    for name in ("amx_tile", "avx512_bf16"):
        monkeypatch.delattr(torch.cpu, f"_is_{name}_supported", raising=False)
    assert resolve_precision("auto", CPU, nn.Linear(1, 1)) == "fp32"
