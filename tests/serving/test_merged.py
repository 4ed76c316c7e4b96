"""Whole models in one file: read by layersearch, and by those who have none."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from layersearch.backbones.cifar_resnet import CifarResNet
from layersearch.errors import TaskError
from layersearch.serving import load_model, load_task, merge, save_task
from layersearch.space.subset import Subset
from tests.serving.tuning import CLASSES, named_backbone, small_backbone, small_network, tune


def merged(backbone, folder, *, siamese=False, units=("layer2.0",)):
    tuned = tune(backbone, Subset(units), siamese=siamese)
    path = save_task(folder / "t.safetensors", tensors=tuned.tensors, description=tuned.description)
    task = load_task(path)
    return merge(task, backbone).save(folder / "m.safetensors"), task.attach(backbone)


def inputs():
    return torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("siamese", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_a_model_computes_the_bits_of_the_task_on_its_backbone(tmp_path, siamese, own):
    path, attached = merged(
        small_backbone() if own else named_backbone(), tmp_path, siamese=siamese
    )
    with torch.random.fork_rng():
        torch.manual_seed(9)
        other = CifarResNet((1, 1, 1), classes=7, width=4)
    network = load_model(path).fill(other) if own else load_model(path).build()
    with torch.inference_mode():
        assert torch.equal(network(inputs()), attached(inputs()))
    assert network.description == attached.description


def test_a_plain_model_is_a_state_dict_for_those_without_layersearch(tmp_path):
    path, attached = merged(small_backbone(), tmp_path)
    network = CifarResNet((1, 1, 1), classes=len(CLASSES), width=4).eval()
    network.load_state_dict(load_file(path))
    with torch.inference_mode():
        assert torch.equal(network(inputs()), attached(inputs()))


def test_the_backbone_stays_as_it_was(tmp_path):
    backbone = small_backbone()
    before = {name: value.clone() for name, value in backbone.network.state_dict().items()}
    merged(backbone, tmp_path)
    after = backbone.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("siamese", [False, True])
def test_another_architecture_is_refused_and_left_as_it_was(tmp_path, siamese):
    path, _ = merged(small_backbone(), tmp_path, siamese=siamese)
    wider = CifarResNet((1, 1, 1), classes=3, width=8)
    head = wider.linear
    with pytest.raises(TaskError, match=r"m\.safetensors: does not fit this CifarResNet"):
        load_model(path).fill(wider)
    assert wider.linear is head
    with pytest.raises(TaskError, match="has no module 'linear'"):
        load_model(path).fill(nn.Sequential(nn.Flatten(), nn.Linear(768, 3)))


def test_a_network_that_computes_something_else_with_the_weights_is_refused(tmp_path):
    class Other(CifarResNet):
        def forward(self, images):
            return super().forward(images.flip(1))

    path, _ = merged(small_backbone(), tmp_path)
    with pytest.raises(TaskError, match="computes other scores"):
        load_model(path).fill(Other((1, 1, 1), classes=3, width=4))


def test_a_module_of_the_users_own_is_made_by_the_user(tmp_path):
    path, _ = merged(small_backbone(), tmp_path)
    with pytest.raises(TaskError, match=r"load_model\(file\)\.fill\(network\)"):
        load_model(path).build()


def test_a_task_is_no_model_and_a_model_no_task(tmp_path):
    path, _ = merged(small_backbone(), tmp_path)
    with pytest.raises(TaskError, match="is no merged model"):
        load_model(tmp_path / "t.safetensors")
    with pytest.raises(TaskError, match="is no saved task"):
        load_task(path)


def test_one_flipped_byte_is_found(tmp_path):
    path, _ = merged(small_backbone(), tmp_path)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(TaskError, match="is damaged"):
        load_model(path)


def test_a_source_that_cannot_be_written_down_is_left_out(tmp_path):
    backbone = named_backbone()
    source = replace(backbone.source, arguments={"activation": small_network})
    tuned = tune(replace(backbone, source=source), Subset())
    assert tuned.description.source is None
    assert tune(backbone, Subset()).description.source == backbone.source
