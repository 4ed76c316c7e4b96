from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn

from layersearch.backbones import Chain, backbone_from_module, build_chain
from layersearch.backbones.folding import fold_norms

MODELS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=5),
    "densenet": lambda: torchvision.models.DenseNet(4, (2, 2), 8, num_classes=5),
    "mobilenet": lambda: torchvision.models.mobilenet_v3_small(num_classes=5),
    "regnet": lambda: torchvision.models.regnet_y_400mf(num_classes=5),
}


def chain_of(make: Callable[[], nn.Module]) -> Chain:
    torch.manual_seed(0)
    network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)
    return build_chain(
        backbone_from_module(network, input_size=(32, 32), mean=(0,) * 3, std=(1,) * 3)
    )


@pytest.mark.parametrize("name", MODELS)
def test_folded_stages_compute_the_same_values_and_gradients(name: str) -> None:
    chain = chain_of(MODELS[name])
    values = (torch.randn(4, 3, 32, 32),)
    folded_any = False
    for k, stage in enumerate(chain.stages):
        folded = chain.folded(k)
        folded_any |= folded is not stage
        for value in values:
            value.requires_grad_(True)
        expected, got = stage(*values), folded(*values)
        gradients = [
            torch.autograd.grad(sum(v.square().sum() for v in out), values, allow_unused=True)
            for out in (expected, got)
        ]
        for one, other in zip((*expected, *gradients[0]), (*got, *gradients[1]), strict=True):
            if one is not None:
                torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3)
        values = tuple(value.detach() for value in expected)
    assert folded_any


def test_a_folded_stage_has_no_norms_left_behind_convolutions() -> None:
    chain = chain_of(MODELS["resnet18"])
    folded = chain.folded(2)
    assert any(isinstance(module, nn.BatchNorm2d) for module in chain.stages[2].modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert not any(p.requires_grad for p in folded.parameters())


def test_the_stage_itself_and_its_input_stay_as_they_are() -> None:
    chain = chain_of(MODELS["resnet18"])
    before = {name: value.clone() for name, value in chain.network.state_dict().items()}
    values = chain.run((torch.randn(2, 3, 32, 32),), 0, 2)
    copies = [value.clone() for value in values]
    chain.folded(2)(*values)
    assert all(torch.equal(a, b) for a, b in zip(values, copies, strict=True))
    after = chain.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_what_has_no_norm_or_is_trained_is_left_alone() -> None:
    chain = chain_of(
        lambda: torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5)
    )
    assert all(chain.folded(k) is stage for k, stage in enumerate(chain.stages))
    trained = chain_of(MODELS["resnet18"]).stages[2]
    next(trained.parameters()).requires_grad_(True)
    assert fold_norms(trained) is trained


def test_a_moved_chain_folds_anew() -> None:
    chain = chain_of(MODELS["resnet18"])
    first = chain.folded(2)
    assert chain.folded(2) is first
    assert chain.to("cpu").folded(2) is not first
