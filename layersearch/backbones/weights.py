"""Weights from local files: read without running code, fitted strictly, identified by a hash."""

import hashlib
import pickle
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from layersearch.errors import WeightsError

PICKLED = (".pt", ".pth", ".th", ".bin", ".ckpt", ".tar")
SUFFIXES = (*PICKLED, ".safetensors")
State = dict[str, Tensor]

# Where training scripts keep the weights of a checkpoint, best first: averaged ones before others.
_NESTED = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "teacher",
    "network",
    "net",
    "params",
    "weights",
)
_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_COUNTERS = (
    "num_batches_tracked",
    "total_ops",
    "total_params",
)  # no weights: may be absent or extra


def read_weights(path: Path) -> State:
    """The state dict in a file, found at any of the usual places, without wrappers' prefixes.

    Raises:
        WeightsError: if the file is absent, damaged, of another kind, or holds pickled code.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; give the path of a weights file")
    if path.suffix.lower() not in SUFFIXES:
        raise WeightsError(
            f"{path}: not a weights file; its name must end in {', '.join(SUFFIXES)}"
        )
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
    state = _find_state(content)
    if not state:
        raise WeightsError(f"{path}: {_contents(content)}; save network.state_dict() to it")
    return {_unwrapped(key): value for key, value in state.items()}


def fit_weights(
    network: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str,
    head: str,
    extra: Collection[str] = (),
) -> str:
    """Loads a state dict into a network.

    Every weight must be there and fit, but for the classifier's, which a new task replaces.

    Args:
        network: in any state.
        state: the weights by name.
        source: the file's name, for messages.
        head: path of the classifier.
        extra: prefixes of keys that the network has no use for (auxiliary classifiers).

    Returns:
        What became of the classifier, in words; '' if it was loaded.

    Raises:
        WeightsError: with the keys that are missing, unexpected or of another shape.
    """
    expected = network.state_dict()
    given = _without_common_prefix(state, expected)
    heads = {key for key in expected if key.startswith(f"{head}.")}
    missing = [key for key in expected if key not in given and not key.endswith(_COUNTERS)]
    unexpected = [
        key
        for key in given
        if key not in expected and not key.endswith(_COUNTERS) and not key.startswith(tuple(extra))
    ]
    shapes = [key for key in expected if key in given and given[key].shape != expected[key].shape]
    _refuse(
        type(network).__name__,
        source,
        missing=[key for key in missing if key not in heads],
        unexpected=unexpected,
        shapes=[
            f"{key} {tuple(given[key].shape)} instead of {tuple(expected[key].shape)}"
            for key in shapes
            if key not in heads
        ],
    )
    fitting = {key: given[key] for key in expected if key in given and key not in shapes}
    network.load_state_dict(fitting, strict=False)
    odd = [key for key in shapes if key in heads]
    if odd:
        return f"its classifier of {given[odd[0]].shape[0]} classes left out"
    return "it holds no classifier" if heads & set(missing) else ""


def hash_weights(network: nn.Module, *, head: str) -> str:
    """A hash of all weights and statistics but the classifier's.

    The same on any device, in any memory format, and for half-precision copies of the same values.
    """
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        if key.startswith(f"{head}.") or not isinstance(value, Tensor):
            continue
        plain = value.detach().cpu()
        plain = plain.float() if plain.is_floating_point() else plain
        digest.update(f"{key}{tuple(plain.shape)}".encode())
        digest.update(plain.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path}: damaged or cut short ({error}); fetch the file again"
        ) from error


def _read_pickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what fails, fails below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "truncated" in str(error) or "invalid load key" in str(error):
            raise _damaged(path, error) from error
        raise WeightsError(
            f"{path}: refused, because it holds pickled code and not only tensors "
            f"({_reason(error)}); save network.state_dict() or a .safetensors file instead"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        if "TorchScript" in str(error):
            raise WeightsError(
                f"{path}: a TorchScript program, not weights; save its state_dict()"
            ) from error
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path}: damaged, cut short or not a PyTorch file ({_reason(error)}); fetch the file again"
    )


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return ((telling or lines or [type(error).__name__])[0])[:160]


def _find_state(content: Any, *, depth: int = 3) -> State:
    if not isinstance(content, Mapping) or depth == 0:
        return {}
    for key in _NESTED:
        found = _find_state(content.get(key), depth=depth - 1)
        if found:
            return found
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def _contents(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"holds no weights, only {_some([str(key) for key in content])}"
    return f"holds no weights, but one {type(content).__name__}"


def _unwrapped(key: str) -> str:
    while key.startswith(_WRAPPERS):
        key = key.partition(".")[2]
    return key


def _without_common_prefix(state: Mapping[str, Tensor], expected: Collection[str]) -> State:
    """Weights saved from inside a larger module: 'backbone.conv1.weight' for 'conv1.weight'."""
    given = dict(state)
    while given and not any(key in expected for key in given):
        first = {key.partition(".")[0] for key in given}
        if len(first) != 1 or not all("." in key for key in given):
            return dict(state)
        given = {key.partition(".")[2]: value for key, value in given.items()}
    return given


def _refuse(
    network: str, source: str, *, missing: list[str], unexpected: list[str], shapes: list[str]
) -> None:
    found = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    parts = [f"{len(keys)} {word} ({_some(keys)})" for word, keys in found.items() if keys]
    if parts:
        raise WeightsError(
            f"{source}: does not fit {network}: {'; '.join(parts)}; "
            "give the weights of this architecture, or the name of theirs as backbone"
        )


def _some(keys: Iterable[str], limit: int = 3) -> str:
    shown = [f"'{key}'" for key in keys]
    return ", ".join(shown[:limit]) + (", ..." if len(shown) > limit else "")
