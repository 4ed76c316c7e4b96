"""Every family of torchvision's classifiers, cut at every unit: the chain is the network."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import swin_transformer

from layersearch.backbones import Backbone, Chain, build_chain, load_backbone

# name, input size, arguments of the factory that keep it small
FAMILIES: list[tuple[str, int, Mapping[str, Any]]] = [
    ("alexnet", 64, {}),
    ("vgg11_bn", 32, {"init_weights": False}),
    ("resnet18", 32, {}),
    ("resnext50_32x4d", 32, {}),
    ("densenet121", 32, {}),
    ("inception_v3", 96, {}),
    ("googlenet", 32, {}),
    ("mobilenet_v2", 32, {}),
    ("mobilenet_v3_small", 32, {}),
    ("shufflenet_v2_x0_5", 32, {}),
    ("squeezenet1_1", 32, {}),
    ("mnasnet0_5", 32, {}),
    ("efficientnet_b0", 32, {}),
    ("efficientnet_v2_s", 32, {}),
    ("regnet_y_400mf", 32, {}),
    ("convnext_tiny", 32, {}),
    ("swin_t", 48, {}),
    ("swin_v2_t", 48, {}),
]
_SWIN = {
    "patch_size": [4, 4],
    "embed_dim": 8,
    "depths": [2, 2],
    "num_heads": [2, 2],
    "window_size": [2, 2],
}
SMALL = [  # the same classes in small, for the many cuts between layers
    (
        "torchvision.models.densenet:DenseNet",
        {"growth_rate": 4, "block_config": (3, 3), "num_init_features": 8},
    ),
    ("torchvision.models.swin_transformer:SwinTransformer", _SWIN),
    (
        "torchvision.models.swin_transformer:SwinTransformer",
        _SWIN
        | {
            "block": swin_transformer.SwinTransformerBlockV2,
            "downsample_layer": swin_transformer.PatchMergingV2,
        },
    ),
    (
        "torchvision.models.vision_transformer:VisionTransformer",
        {
            "image_size": 32,
            "patch_size": 8,
            "num_layers": 2,
            "num_heads": 2,
            "hidden_dim": 16,
            "mlp_dim": 32,
        },
    ),
    (
        "torchvision.models.maxvit:MaxVit",
        {
            "input_size": (32, 32),
            "stem_channels": 8,
            "partition_size": 2,
            "block_channels": [8, 16],
            "block_layers": [1, 2],
            "head_dim": 4,
            "stochastic_depth_prob": 0.2,
        },
    ),
]
BY_LAYER = ["resnet18", "googlenet", "squeezenet1_1", "shufflenet_v2_x0_5"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("name", "size", "arguments"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_a_chain_cut_at_every_block_is_the_network(
    name: str, size: int, arguments: Mapping[str, Any]
) -> None:
    backbone = load_backbone(name, weights=None, input_size=size, factory_args=arguments)
    check_chain(backbone, build_chain(backbone))


@pytest.mark.parametrize("granularity", ["stage", "block", "layer"])
@pytest.mark.parametrize(
    ("name", "arguments"), SMALL, ids=["DenseNet", "Swin", "SwinV2", "ViT", "MaxViT"]
)
def test_a_chain_of_a_network_in_small_is_the_network(
    name: str, arguments: Mapping[str, Any], granularity: str
) -> None:
    backbone = load_backbone(name, weights=None, input_size=32, factory_args=arguments)
    check_chain(backbone, build_chain(backbone, granularity=granularity))


@pytest.mark.parametrize("name", BY_LAYER)
def test_a_chain_cut_at_every_layer_is_the_network(name: str) -> None:
    size = {family: size for family, size, _ in FAMILIES}[name]
    backbone = load_backbone(name, weights=None, input_size=size)
    check_chain(backbone, build_chain(backbone, granularity="layer"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("vit_b_16", 32), ("maxvit_t", 224)])
def test_a_large_transformer_by_its_name_is_the_network(name: str, size: int) -> None:
    backbone = load_backbone(name, weights=None, input_size=size)
    check_chain(backbone, build_chain(backbone), gradients=False)


def check_chain(backbone: Backbone, chain: Chain, *, gradients: bool = True) -> None:
    """Scores, every cut, stored values in batches of another size, and gradients."""
    assert chain.traced
    depths = [unit.depth for unit in chain.units]
    assert depths == sorted(depths)
    assert sorted({*depths, len(chain.stages) - 1}) == list(range(len(chain.stages)))
    height, width = backbone.preprocessing.input_size
    x = torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(1))
    check_every_cut(backbone, chain, x)
    check_stored_values(chain, x)
    if gradients:
        check_gradients(backbone, chain, x)


@torch.no_grad()
def check_every_cut(backbone: Backbone, chain: Chain, x: Tensor) -> None:
    expected = backbone.network(x)
    assert torch.equal(chain(x), expected)
    values = (x,)
    for cut in range(len(chain.stages)):
        before = tuple(value.clone() for value in values)
        assert torch.equal(chain.run(values, cut)[0], expected), f"from cut {cut}"
        for value, unchanged in zip(values, before, strict=True):
            assert torch.equal(value, unchanged), f"cut {cut}: a stage changed what it was given"
        values = chain.run(before, cut, cut + 1)  # on copies, as from a cache


@torch.no_grad()
def check_stored_values(chain: Chain, x: Tensor) -> None:
    """Values computed for one sample and for two, put together, serve a batch of three."""
    expected = chain(x)
    tolerance = 1e-4 * expected.abs().max().item()
    apart: list[Any] = [(x[:1],), (x[1:],)]
    for cut in range(len(chain.stages)):
        assert chain.cacheable(cut)
        shapes = [shape.shape for shape in chain.value_shapes(cut)]
        assert [tuple(value.shape[1:]) for value in apart[0]] == shapes
        together = tuple(torch.cat(pair) for pair in zip(*apart, strict=True))
        scores = chain.run(together, cut)[0]
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=tolerance)
        apart = [chain.run(values, cut, cut + 1) for values in apart]


def check_gradients(backbone: Backbone, chain: Chain, x: Tensor) -> None:
    tuned = [name for unit in chain.units for name in unit.parameters]
    parameters = [backbone.network.get_parameter(name).requires_grad_() for name in tuned]
    target = torch.linspace(-1, 1, steps=backbone.network(x).shape[1])
    expected = torch.autograd.grad((backbone.network(x) * target).sum(), parameters)
    found = torch.autograd.grad((chain(x) * target).sum(), parameters)
    for name, one, other in zip(tuned, expected, found, strict=True):
        assert torch.equal(one, other), name
