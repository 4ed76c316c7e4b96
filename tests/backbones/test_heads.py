"""Classifiers: found, checked, made."""

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from layersearch.backbones import backbone_from_module, build_chain, clone_stage, new_head
from layersearch.errors import BackboneError


def head_of(network: nn.Module, head: str | None = None, size: int = 32) -> str:
    return backbone_from_module(
        network, input_size=size, mean=(0.5,) * 3, std=(0.5,) * 3, head=head
    ).head


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", "fc"),
        ("mobilenet_v2", "classifier.1"),
        ("mobilenet_v3_small", "classifier.3"),
        ("squeezenet1_1", "classifier.1"),
        ("shufflenet_v2_x0_5", "fc"),
    ],
)
def test_the_classifier_is_found(name: str, head: str) -> None:
    assert head_of(models.get_model(name)) == head


def test_squeezenets_convolution_is_replaced_by_one() -> None:
    backbone = backbone_from_module(
        models.squeezenet1_1(), input_size=32, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    chain = build_chain(backbone)
    assert (chain.head_kind, chain.head_features) == ("conv", 512)
    head = new_head(chain.head_features, 3, depth=2, kind=chain.head_kind, seed=0)
    values = chain.run((torch.randn(2, 3, 32, 32),), 0, len(chain.stages) - 1)
    clone = clone_stage(chain.stages[-1], {}, modules={chain.head: head})
    assert clone(*values)[0].shape == (2, 3)


def test_the_users_choice_counts(plain: nn.Module) -> None:
    assert head_of(plain, "fc", 8) == "fc"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("fcc", "has no module 'fcc'; did you mean 'fc'"),
        ("zzzzz", "linear: 'fc'"),
        ("bn1", "does not take features"),
        ("unused", "not called"),
    ],
)
def test_a_choice_that_cannot_be_a_classifier_is_refused(
    plain: nn.Module, head: str, message: str
) -> None:
    plain.unused = nn.Linear(6, 5)
    with pytest.raises(BackboneError, match=message):
        head_of(plain, head, 8)


def test_a_layer_that_the_scores_do_not_come_out_of_is_refused() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.other = nn.Linear(3, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            scores = self.fc(x.mean(dim=(2, 3)))
            self.other(scores)
            return scores

    with pytest.raises(BackboneError, match="do not depend on 'other'"):
        head_of(Aside())


def test_a_network_without_a_linear_layer_has_no_classifier() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(BackboneError, match="ends in no linear layer"):
        head_of(network)


def test_a_network_without_classifier_may_have_an_identity_in_its_place() -> None:
    network = models.resnet18()
    network.fc = nn.Identity()
    backbone = backbone_from_module(network, input_size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    chain = build_chain(backbone)
    assert (chain.head, chain.head_features) == ("fc", 512)
    assert len(chain.units) == 9
    head = new_head(512, 3, seed=0)
    clone = clone_stage(chain.stages[-1], {}, modules={"fc": head})
    assert clone(torch.randn(2, 512))[0].shape == (2, 3)


def test_a_convolution_inside_the_network_is_no_classifier() -> None:
    class Headless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.bn(self.conv(x)).mean(dim=(2, 3))

    with pytest.raises(BackboneError, match="ends in no linear layer"):
        head_of(Headless())


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_seed_decides_a_new_heads_weights_and_nothing_else(kind: str) -> None:
    state = torch.get_rng_state()
    one, same, other = (new_head(8, 3, depth=2, kind=kind, seed=s) for s in (1, 1, 2))  # type: ignore[arg-type]  # a literal
    assert torch.equal(torch.get_rng_state(), state)
    pairs = list(zip(one.parameters(), same.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not any(torch.equal(a, c) for a, _, c in pairs)


def test_hidden_layers_of_a_head_have_no_bias() -> None:
    head = new_head(8, 3, depth=3, seed=0)
    assert isinstance(head, nn.Sequential)
    kinds = [type(layer) for layer in head]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert [layer.bias is not None for layer in head if isinstance(layer, nn.Linear)] == [
        False,
        False,
        True,
    ]


def test_a_head_without_layers_or_classes_is_refused() -> None:
    with pytest.raises(BackboneError, match=r"head\.depth: must be at least 1"):
        new_head(8, 3, depth=0, seed=0)
    with pytest.raises(BackboneError, match=r"head\.classes"):
        new_head(8, 0, seed=0)
