"""Tasks whose head sees the original features too: the bits of training, and one trunk."""

import copy

import pytest
import torch
import torchvision

from layersearch.backbones import backbone_from_module
from layersearch.errors import TaskError
from layersearch.serving import load_task, save_task
from layersearch.serving.siamese import SiameseNetwork
from layersearch.space.subset import Subset
from tests.serving.tuning import small_backbone, tune

UNITS = [["stem"], ["layer2.0"], ["layer3.0"], ["stem", "layer3.0"]]


def attached(tuned, backbone, folder):
    path = save_task(
        folder / "task.safetensors", tensors=tuned.tensors, description=tuned.description
    )
    return load_task(path).attach(backbone)


def images(*, count=7, side=16):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("norms", ["train", "eval"])
@pytest.mark.parametrize("depth", [1, 2])
def test_it_computes_what_was_trained_to_the_bit(backbone, tmp_path, units, norms, depth):
    tuned = tune(backbone, Subset(units), depth=depth, norms=norms, siamese=True)
    network = attached(tuned, backbone, tmp_path)
    with torch.inference_mode():
        assert torch.equal(network(images()), tuned.scores(images()))
    assert network.description.head.siamese
    assert network.description.head.features == 2 * tuned.chain.head_features


def network_of(name):
    """One of torchvision's families; small ones where there are."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "vit":
            return torchvision.models.VisionTransformer(
                image_size=64, patch_size=16, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32
            )
        return torchvision.models.get_model(name, weights=None, num_classes=6)


@pytest.mark.parametrize(
    "name",
    [
        "squeezenet1_1",
        "mobilenet_v3_small",
        "vit",
        pytest.param("resnet18", marks=pytest.mark.slow),
        pytest.param("densenet121", marks=pytest.mark.slow),
    ],
)
def test_torchvision_networks_compute_the_same_bits(tmp_path, name):
    module = network_of(name)
    backbone = backbone_from_module(module, input_size=64, mean=(0.5,) * 3, std=(0.5,) * 3)
    units = [unit.name for unit in tune(backbone, Subset()).chain.units]
    tuned = tune(backbone, Subset([units[len(units) // 2], units[-1]]), siamese=True)
    network = attached(tuned, backbone, tmp_path)
    inputs = images(count=3, side=64)
    with torch.inference_mode():
        assert torch.equal(network(inputs), tuned.scores(inputs))


@pytest.mark.parametrize("last", [False, True])
def test_the_memory_format_of_the_backbone_changes_no_bits(tmp_path, last):
    first, second = small_backbone(), small_backbone()
    first.network.to(memory_format=torch.channels_last if last else torch.contiguous_format)
    second.network.to(memory_format=torch.contiguous_format if last else torch.channels_last)
    tuned = tune(first, Subset(["layer2.0"]), siamese=True)
    network = attached(tuned, second, tmp_path)
    with torch.inference_mode():
        assert torch.equal(network(images()), tuned.scores(images()))


def test_the_backbone_stays_as_it_was_and_shares_its_frozen_weights(tmp_path):
    backbone = small_backbone()
    before = copy.deepcopy(backbone.network.state_dict())
    network = attached(tune(backbone, Subset(["layer2.0"]), siamese=True), backbone, tmp_path)
    network.train()
    network(images())
    after = backbone.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    own = {id(parameter) for parameter in network.parameters()}
    theirs = dict(backbone.network.named_parameters())
    head = f"{backbone.head}."
    assert all(id(p) in own for name, p in theirs.items() if not name.startswith(head))
    assert not any(module.training for module in network.modules())


def test_the_trunk_before_the_first_tuned_unit_runs_once(backbone, tmp_path):
    network = attached(tune(backbone, Subset(["layer3.0"]), siamese=True), backbone, tmp_path)
    assert isinstance(network.network, SiameseNetwork)
    calls = []
    for module in network.network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda *_: calls.append(1))
    network(images())
    everything = sum(isinstance(m, torch.nn.Conv2d) for m in backbone.network.modules())
    last = sum(
        isinstance(m, torch.nn.Conv2d) for m in backbone.network.get_submodule("layer3").modules()
    )
    assert len(calls) == everything + last


def test_a_probe_alone_has_no_second_network(backbone, tmp_path):
    tuned = tune(backbone, Subset(), siamese=True)
    assert not tuned.description.head.siamese
    assert not isinstance(attached(tuned, backbone, tmp_path).network, SiameseNetwork)


def test_a_file_whose_head_has_another_width_is_refused(backbone, tmp_path):
    tuned = tune(backbone, Subset(["layer3.0"]))
    wide = tune(backbone, Subset(["layer3.0"]), siamese=True)
    with pytest.raises(TaskError, match="the head described"):
        save_task(tmp_path / "x", tensors=tuned.tensors, description=wide.description)
