"""Weights files: every usual form is read, everything else is refused by name."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from layersearch.backbones import load_backbone
from layersearch.backbones.cifar_resnet import cifar_resnet14
from layersearch.backbones.weights import fit_weights, hash_weights, read_weights
from layersearch.errors import WeightsError


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(3)
    network = cifar_resnet14()
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


FORMS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "bare": lambda s: s,
    "state_dict": lambda s: {"epoch": 3, "state_dict": s, "optimizer": {"lr": 0.1}},
    "model": lambda s: {"model": s, "args": "x"},
    "nested": lambda s: {"model": {"state_dict": s}},
    "averaged": lambda s: {"state_dict": {k: v * 0 for k, v in s.items()}, "state_dict_ema": s},
    "parallel": lambda s: {"state_dict": prefixed(s, "module.")},
    "compiled": lambda s: prefixed(s, "module._orig_mod."),
    "wrapped": lambda s: prefixed(s, "encoder.backbone."),
    "profiled": lambda s: s | {"total_ops": torch.zeros(1), "conv1.total_params": torch.zeros(1)},
    "uncounted": lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th"])
@pytest.mark.parametrize("form", FORMS)
def test_checkpoints_as_they_are_found_are_read(
    tmp_path: Path, state: dict[str, Tensor], form: str, suffix: str
) -> None:
    file = tmp_path / f"checkpoint{suffix}"
    torch.save(FORMS[form](state), file)
    backbone = load_backbone("cifar_resnet14", weights=file)
    loaded = backbone.network.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert backbone.weights == file.name


def test_safetensors_and_the_oldest_pickles_are_read(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    save_file(prefixed(state, "module."), tmp_path / "a.safetensors")
    torch.save({"state_dict": state}, tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "b.pth"):
        read = read_weights(tmp_path / name)
        assert all(torch.equal(read[key], state[key]) for key in state)


def test_the_real_checkpoint_fits(shared_data: Path) -> None:
    file = shared_data / "weights" / "resnet56-4bfd9763.th"
    backbone = load_backbone("cifar_resnet56", weights=str(file))
    random = load_backbone("cifar_resnet56", weights=None)
    assert backbone.weights_hash != random.weights_hash
    assert sum(p.numel() for p in backbone.network.parameters()) == 853_018


def test_a_classifier_of_other_classes_is_left_out_and_said(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    file = tmp_path / "hundred.pt"
    torch.save(
        state | {"linear.weight": torch.zeros(100, 64), "linear.bias": torch.zeros(100)}, file
    )
    backbone = load_backbone("cifar_resnet14", weights=file)
    assert backbone.weights == "hundred.pt, its classifier of 100 classes left out"
    assert backbone.network.get_submodule("linear").out_features == 10
    whole = tmp_path / "ten.pt"
    torch.save(state, whole)
    assert load_backbone("cifar_resnet14", weights=whole).weights_hash == backbone.weights_hash


def test_a_file_without_a_classifier_is_loaded_and_said(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    file = tmp_path / "headless.pt"
    torch.save({k: v for k, v in state.items() if not k.startswith("linear.")}, file)
    assert load_backbone("cifar_resnet14", weights=file).weights.endswith("it holds no classifier")


MISFITS: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "missing": (
        lambda s: {k: v for k, v in s.items() if not k.startswith("layer3.1.")},
        r"does not fit CifarResNet: 10 missing \('layer3.1.conv1.weight', .*, \.\.\.\)",
    ),
    "unexpected": (
        lambda s: s | {"extra.weight": torch.zeros(2)},
        r"1 unexpected \('extra.weight'",
    ),
    "shape": (
        lambda s: s | {"bn1.weight": torch.zeros(7)},
        r"1 of another shape \('bn1.weight \(7,\) instead of \(16,\)'\)",
    ),
    "empty": (lambda _: {"epoch": 3}, "holds no weights, only 'epoch'"),
    "tensor": (lambda _: torch.zeros(3), "holds no weights, but one Tensor"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_weights_that_do_not_fit_are_refused_with_their_keys(
    tmp_path: Path, state: dict[str, Tensor], case: str
) -> None:
    change, message = MISFITS[case]
    file = tmp_path / "misfit.pt"
    torch.save(change(state), file)
    with pytest.raises(WeightsError, match=message) as caught:
        load_backbone("cifar_resnet14", weights=file)
    assert str(caught.value).startswith(str(file))


class Payload:
    """Writes a file if it is ever unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("whole", [True, False])
def test_pickled_code_is_refused_and_not_run(
    tmp_path: Path, state: dict[str, Tensor], whole: bool
) -> None:
    file, target = tmp_path / "hostile.pth", tmp_path / "executed"
    content = {"state_dict": state, "extra": Payload(target)}
    if whole:
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError, match=r"hostile.pth: refused, because it holds pickled code"):
        load_backbone("cifar_resnet14", weights=file)
    assert not target.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "network.pth"
    torch.save(cifar_resnet14(), file)
    with pytest.raises(WeightsError, match="holds pickled code"):
        read_weights(file)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(
    tmp_path: Path, state: dict[str, Tensor], suffix: str, kept: float
) -> None:
    file = tmp_path / f"cut{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(WeightsError, match=f"cut{suffix}: damaged"):
        read_weights(file)


def test_a_truncated_old_pickle_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    file = tmp_path / "cut.th"
    torch.save(state, file, _use_new_zipfile_serialization=False)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=r"cut\.th: damaged"):
        read_weights(file)


def test_files_that_are_absent_or_of_another_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.pt: there is no such file"):
        load_backbone("cifar_resnet14", weights=tmp_path / "absent.pt")
    (tmp_path / "weights.h5").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"weights.h5: not a weights file; .*\.safetensors"):
        read_weights(tmp_path / "weights.h5")


def test_nothing_is_loaded_from_weights_that_do_not_fit(state: dict[str, Tensor]) -> None:
    network = cifar_resnet14()
    before = hash_weights(network, head="linear")
    with pytest.raises(WeightsError):
        fit_weights(network, state | {"x": torch.zeros(1)}, source="x", head="linear")
    assert hash_weights(network, head="linear") == before


def test_the_hash_tells_weights_and_not_their_layout(plain: nn.Module) -> None:
    first = hash_weights(plain, head="fc")
    assert hash_weights(plain.to(memory_format=torch.channels_last), head="fc") == first
    with torch.no_grad():
        plain.get_parameter("fc.weight").add_(1)
    assert hash_weights(plain, head="fc") == first
    half = hash_weights(plain.half(), head="fc")
    assert hash_weights(plain.float(), head="fc") == half
    with torch.no_grad():
        plain.get_parameter("conv2.bias")[0] += 1
    assert hash_weights(plain, head="fc") != half
