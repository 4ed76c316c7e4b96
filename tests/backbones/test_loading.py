"""Backbones by name."""

import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision import models

from layersearch.backbones import backbone_from_module, backbone_names, build_chain, load_backbone
from layersearch.errors import BackboneError


def test_torchvision_names_bring_the_preprocessing_of_their_weights() -> None:
    backbone = load_backbone("mobilenet_v3_small", weights=None)
    assert backbone.preprocessing.input_size == (224, 224)
    assert backbone.preprocessing.mean == (0.485, 0.456, 0.406)
    assert (backbone.head, backbone.weights) == ("classifier.3", "random")


def test_random_weights_are_the_same_every_time_and_leave_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    one, other = (load_backbone("squeezenet1_1", weights="none", input_size=32) for _ in range(2))
    assert one.weights_hash == other.weights_hash
    assert torch.equal(torch.get_rng_state(), state)


def test_the_shipped_backbone_comes_with_its_weights() -> None:
    backbone = load_backbone("layersearch/cifar_resnet14")
    assert backbone.weights == "cifar_resnet14.safetensors"
    assert backbone.preprocessing.input_size == (32, 32)
    random = load_backbone("layersearch/cifar_resnet14", weights=None)
    assert backbone.weights_hash != random.weights_hash
    assert len(build_chain(backbone).units) == 7


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_are_dropped(name: str, tmp_path: Path) -> None:
    whole = models.get_model(name, init_weights=False, aux_logits=True)
    file = tmp_path / "whole.pt"
    torch.save(whole.state_dict(), file)
    backbone = load_backbone(name, weights=file, input_size=96)
    assert not [n for n, _ in backbone.network.named_parameters() if n.lower().startswith("aux")]
    x = torch.randn(2, 3, 96, 96)
    whole.eval().transform_input = True  # as torchvision sets it for its own weights
    assert torch.equal(backbone.network(x), whole(x))


def test_position_embeddings_of_a_vit_are_stretched_to_another_image_size(tmp_path: Path) -> None:
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8, "num_classes": 7}
    file = tmp_path / "vit.pt"
    torch.save(models.VisionTransformer(64, 32, **sizes).state_dict(), file)
    backbone = load_backbone(
        "torchvision.models.vision_transformer:VisionTransformer",
        weights=file,
        input_size=96,
        factory_args={"image_size": 96, "patch_size": 32, **sizes},
    )
    assert backbone.network.get_parameter("encoder.pos_embedding").shape == (1, 10, 8)
    assert backbone.network(torch.randn(1, 3, 96, 96)).shape == (1, 7)


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", "/nonexistent/so/nothing/is/cached")
    monkeypatch.setattr("torch.hub.os.makedirs", lambda *_, **__: None)
    with pytest.raises(BackboneError, match=r"could not download the weights of resnet18 .*file"):
        load_backbone("resnet18")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet51", r"'resnet51' is unknown; did you mean .*resnet50"),
        ("cifar_resnet21", r"did you mean .*cifar_resnet20"),
        ("zzz", "'zzz' is unknown; see"),
        ("no_such_package:make", "cannot import 'no_such_package:make'"),
        ("torch.nn:NoSuchThing", "cannot import 'torch.nn:NoSuchThing'"),
        ("os.path:join", "os.path:join"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        load_backbone(name, weights=None)


def test_unknown_weights_are_refused_with_the_nearest() -> None:
    with pytest.raises(BackboneError, match="'IMAGENET1K_V3'; did you mean 'IMAGENET1K_V2'"):
        load_backbone("resnet50", weights="IMAGENET1K_V3")
    with pytest.raises(BackboneError, match="cifar_resnet20 has no weights called 'default'"):
        load_backbone("cifar_resnet20")


def test_a_factory_of_the_users_own_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ours.py").write_text(
        "from torch import nn\n"
        "def make(width=4):\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 3), nn.Flatten(), nn.Linear(36 * width, 2))\n"
        "text = str\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ours", raising=False)
    backbone = load_backbone(
        "ours:make",
        input_size=8,
        factory_args={"width": 5},
        mean=(0.1, 0.2, 0.3),
        std=(1.0, 1.0, 1.0),
    )
    assert backbone.network.get_parameter("0.weight").shape[0] == 5
    assert backbone.preprocessing.mean == (0.1, 0.2, 0.3)
    assert backbone.weights == "as made by ours:make"
    with pytest.raises(BackboneError, match=r"gives a str, not an nn.Module"):
        load_backbone("ours:text")
    with pytest.raises(BackboneError, match=r"ours:make\(depth=3\) failed.*arguments"):
        load_backbone("ours:make", input_size=8, factory_args={"depth": 3})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (0.5,)}, "one number a channel"),
        ({"std": (1.0, 1.0, 0.0)}, "must be above zero"),
        ({"input_size": 0}, "at least 1 pixel"),
    ],
)
def test_impossible_preprocessing_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        load_backbone("cifar_resnet14", weights=None, **options)


def test_a_module_of_the_users_own_is_a_backbone(plain: nn.Module) -> None:
    backbone = backbone_from_module(plain, input_size=(8, 10), mean=[0.5] * 3, std=[0.5] * 3)
    assert (backbone.name, backbone.head, backbone.weights) == ("Plain", "fc", "as given")
    assert backbone.network is plain
    assert backbone.preprocessing.input_size == (8, 10)


def test_names_are_listed() -> None:
    names = backbone_names()
    assert {"resnet50", "vit_b_16", "cifar_resnet20", "layersearch/cifar_resnet14"} <= set(names)


def test_timm_without_timm_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BackboneError, match=r"needs timm; pip install 'layersearch\[timm\]'"):
        load_backbone("timm/resnet18")


class TestTimm:
    """The extra, where it is installed."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("timm", reason="needs the extra 'timm'")

    @pytest.mark.parametrize(
        ("name", "size", "units"),
        [
            ("vit_tiny_patch16_224", 32, 14),
            ("resnet18", 32, 9),
            ("convnext_atto", 32, 17),
        ],
    )
    def test_its_models_become_chains(self, name: str, size: int, units: int) -> None:
        backbone = load_backbone(f"timm/{name}", weights=None, input_size=size)
        chain = build_chain(backbone)
        assert chain.traced
        assert len(chain.units) == units
        x = torch.randn(3, 3, size, size)
        assert torch.equal(chain(x), backbone.network(x))

    def test_an_unknown_model_is_refused_with_the_nearest(self) -> None:
        with pytest.raises(BackboneError, match=r"timm has no model 'resnet19'.*timm/resnet1"):
            load_backbone("timm/resnet19", weights=None)

    def test_two_averaged_classifiers_are_refused(self) -> None:
        with pytest.raises(BackboneError, match="averages the classifiers 'head', 'head_dist'"):
            load_backbone("timm/deit_tiny_distilled_patch16_224", weights=None)
