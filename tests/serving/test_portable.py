"""Graphs that run without layersearch: torch.export and ONNX, for batches of any size."""

import importlib
import io
import json

import pytest
import torch
import torchvision
from torch import nn

from layersearch.backbones import backbone_from_module
from layersearch.errors import TaskError
from layersearch.serving import load_task, save_task
from layersearch.serving.agreement import check_agreement, photographs
from layersearch.serving.onnx_model import from_onnx, require_onnx, to_onnx
from layersearch.serving.portable import (
    DESCRIPTION,
    Portable,
    from_torch_export,
    to_torch_export,
    trace,
)
from layersearch.serving.task import TaskNetwork
from layersearch.space.subset import Subset
from tests.serving.tuning import small_backbone, tune


def transformer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.VisionTransformer(
            image_size=16, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
        )
    return backbone_from_module(network, input_size=16, mean=(0.5,) * 3, std=(0.2,) * 3)


CASES = {
    "plain": (small_backbone, False),
    "siamese": (small_backbone, True),
    "attention": (transformer, False),
    "siamese attention": (transformer, True),
}


def attached(case, folder):
    make, siamese = CASES[case]
    backbone = make()
    unit = tune(backbone, Subset()).chain.units[-1].name
    tuned = tune(backbone, Subset([unit]), siamese=siamese)
    path = save_task(folder / "t.safetensors", tensors=tuned.tensors, description=tuned.description)
    return load_task(path).attach(backbone)


@pytest.fixture(scope="module", params=CASES)
def network(request, tmp_path_factory):
    return attached(request.param, tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return attached("plain", tmp_path_factory.mktemp("task"))


def test_an_exported_program_gives_the_scores(network):
    portable = Portable(network)
    runs = from_torch_export(to_torch_export(portable))
    images = photographs(portable.shape)
    assert check_agreement(portable, runs, images, where="x.pt2") < 1e-5


def test_an_onnx_model_gives_the_scores(network):
    pytest.importorskip("onnxruntime")
    portable = Portable(network)
    runs = from_onnx(to_onnx(portable))
    assert check_agreement(portable, runs, photographs(portable.shape), where="x.onnx") < 1e-5


def test_images_are_normalised_inside_or_not_at_all(plain):
    images = photographs((3, 16, 16))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.25, 0.2, 0.3)))
    normalised = (images - mean) / std
    with torch.inference_mode():
        expected = plain(normalised)
        assert torch.equal(Portable(plain)(images), expected)
        assert torch.equal(Portable(plain, normalise=False)(normalised), expected)


def test_bytes_of_images_get_the_scores_that_layersearch_gives(plain):
    """What a user feeds is pixels divided by 255; rounding aside it is what the task is given."""
    pixels = (photographs((3, 20, 20)) * 255).round().to(torch.uint8)
    small = torch.nn.functional.interpolate(pixels, (16, 16), mode="bilinear", antialias=True)
    with torch.inference_mode():
        scores = Portable(plain)(small.float() / 255)
    torch.testing.assert_close(scores, plain.scores(pixels), atol=1e-4, rtol=1e-4)


def test_the_description_travels_in_the_files(plain):
    onnx = pytest.importorskip("onnx")
    portable = Portable(plain)
    extra = {DESCRIPTION: ""}
    torch.export.load(io.BytesIO(to_torch_export(portable)), extra_files=extra)
    told = json.loads(extra[DESCRIPTION])
    assert told == json.loads(json.dumps(portable.describe()))
    assert told["classes"] == ["ant", "bee", "cat"]
    model = onnx.load_from_string(to_onnx(portable))
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["layersearch"]) == told
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_the_network_that_is_exported_stays_as_it_was(plain):
    before = {name: (value, value.stride()) for name, value in plain.state_dict().items()}
    Portable(plain)
    after = plain.state_dict()
    assert all(after[name] is value or torch.equal(after[name], value)
               for name, (value, _) in before.items())  # fmt: skip
    assert all(after[name].stride() == stride for name, (_, stride) in before.items())


def test_a_network_that_steers_by_values_cannot_be_a_graph(plain):
    class Steering(nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :3] if images.sum() > 0 else images.flatten(1)[:, 3:6]

    with pytest.raises(TaskError, match=r"torch.export cannot trace .*--merged"):
        trace(Portable(TaskNetwork(Steering(), plain.description)))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_photographs_are_images_of_any_shape(channels):
    images = photographs((channels, 24, 32))
    assert images.shape == (8, channels, 24, 32)
    assert 0 <= images.min() < 0.2 < 0.8 < images.max() <= 1
    assert images.flatten(1).std(dim=1).min() > 0.02


def test_other_scores_and_failures_are_refused():
    images = photographs((3, 8, 8))

    def original(batch):
        return batch.mean(dim=(2, 3))

    with pytest.raises(TaskError, match=r"x\.onnx: the exported network's scores differ"):
        check_agreement(original, lambda batch: original(batch) * 1.01, images, where="x.onnx")
    with pytest.raises(TaskError, match="differ"):
        check_agreement(original, lambda batch: original(batch) * torch.nan, images, where="x")

    def fixed(batch):
        return original(batch.view(8, 3, 8, 8))

    with pytest.raises(TaskError, match=r"fails with a batch of 1"):
        check_agreement(original, fixed, images, where="x")


def test_a_missing_extra_is_one_clear_error(monkeypatch):
    real = importlib.import_module

    def without(name):
        if name in ("onnxruntime", "onnxscript"):
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(TaskError, match=r"onnxscript, onnxruntime is not .*'layersearch\[onnx\]'"):
        require_onnx()
