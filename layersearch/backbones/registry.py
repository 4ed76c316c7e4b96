"""Backbones by name: how each kind of name is built and what its images must look like."""

import difflib
import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from layersearch.backbones.backbone import Preprocessing
from layersearch.backbones.cifar_resnet import CIFAR_RESNETS
from layersearch.errors import BackboneError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PRETRAINED = Path(__file__).parent / "pretrained"
SHIPPED = {"layersearch/cifar_resnet14": "cifar_resnet14"}
_AUXILIARY = ("aux1", "aux2", "AuxLogits")  # classifiers that torchvision trains with, no more


@dataclass(frozen=True, kw_only=True)
class Built:
    """A network as its factory made it."""

    network: nn.Module
    preprocessing: Preprocessing
    weights: str  # what the factory loaded, in words
    file: Path | None = None  # weights still to be loaded
    ignored: tuple[str, ...] = ()  # prefixes of keys in weights files that it has no use for


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for."""

    name: str
    weights: str | Path | None  # 'default', a name, a file, or None for random ones
    input_size: tuple[int, int] | None
    arguments: Mapping[str, Any]

    @property
    def file(self) -> Path | None:
        """The weights file, if it is one."""
        return self.weights if isinstance(self.weights, Path) else None


def build(request: Request) -> Built:
    """Builds the network that a name stands for.

    Raises:
        BackboneError: if the name or its weights are unknown, the factory fails, or a download.
    """
    name = request.name
    if name in SHIPPED:
        return _shipped(request)
    if name in CIFAR_RESNETS:
        return _cifar(request)
    if name.startswith("timm/"):
        return _timm(request)
    if ":" in name:
        return _from_factory(request)
    if name in _torchvision_names():
        return _torchvision(request)
    nearest = difflib.get_close_matches(name, backbone_names(), n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(nearest)}?" if nearest else "see `layersearch units --help`"
    raise BackboneError(
        f"backbone.name: '{name}' is unknown; {hint} "
        "(torchvision's names, cifar_resnet20, timm/NAME or package.module:factory)"
    )


def backbone_names() -> list[str]:
    """Names that need no other package: shipped, CIFAR ResNets, torchvision's classifiers."""
    return [*SHIPPED, *CIFAR_RESNETS, *_torchvision_names()]


def _torchvision_names() -> list[str]:
    return list(models.list_models(module=models))


def _shipped(request: Request) -> Built:
    default = request.weights == "default"
    file = _PRETRAINED / f"{SHIPPED[request.name]}.safetensors" if default else request.weights
    inner = Request(
        name=SHIPPED[request.name],
        weights=file,
        input_size=request.input_size,
        arguments=request.arguments,
    )
    return _cifar(inner)


def _cifar(request: Request) -> Built:
    if isinstance(request.weights, str):
        raise BackboneError(
            f"backbone.weights: {request.name} has no weights called '{request.weights}'; "
            "give a file, or none for random ones (layersearch/cifar_resnet14 comes with weights)"
        )
    network = _call(request, CIFAR_RESNETS[request.name], request.arguments)
    return Built(
        network=network,
        preprocessing=_preprocessing(request, IMAGENET_MEAN, IMAGENET_STD, (32, 32)),
        weights="random",
        file=request.file,
    )


def _from_factory(request: Request) -> Built:
    if isinstance(request.weights, str) and request.weights != "default":
        raise BackboneError(
            f"backbone.weights: '{request.weights}' is not a file; {request.name} makes its own"
        )
    module_name, _, attribute = request.name.partition(":")
    try:
        factory: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            factory = getattr(factory, part)
    except (ImportError, AttributeError) as error:
        raise BackboneError(
            f"backbone.name: cannot import '{request.name}' ({error}); "
            "is its folder on PYTHONPATH, and the name spelt package.module:factory?"
        ) from error
    return Built(
        network=_call(request, factory, request.arguments),
        preprocessing=_preprocessing(request, IMAGENET_MEAN, IMAGENET_STD, (224, 224)),
        weights=f"as made by {request.name}",
        file=request.file,
    )


def _torchvision(request: Request) -> Built:
    enum = models.get_model_weights(request.name)
    chosen = _enum_member(request, enum)
    like = (chosen or enum.DEFAULT).transforms()
    crop = (like.crop_size[0], like.crop_size[-1])
    arguments: dict[str, Any] = {}
    if request.name in ("googlenet", "inception_v3"):
        arguments["init_weights"] = False  # theirs takes half a minute
        if chosen is None and request.file is not None:
            arguments["transform_input"] = True  # as torchvision does for its weights
    size = request.input_size
    resized = size is not None and size != crop
    if resized:
        arguments |= _size_arguments(request)
    arguments |= request.arguments
    by_hand = "image_size" in arguments and chosen is not None  # torchvision refuses other sizes
    network = _call(
        request,
        models.get_model,
        {"weights": None if by_hand else chosen, **arguments},
        request.name,
    )
    if by_hand and chosen is not None:
        state = _download(request, chosen)
        network.load_state_dict(resized_positions(network, state))
    for name in _AUXILIARY:
        if isinstance(getattr(network, name, None), nn.Module):
            setattr(network, name, None)
            vars(network)["aux_logits"] = False
    return Built(
        network=network,
        preprocessing=_preprocessing(
            request,
            tuple(like.mean),
            tuple(like.std),
            crop,
            centre=min(1.0, min(crop) / like.resize_size[0]),
        ),
        weights="random" if chosen is None else f"torchvision {chosen}",
        file=request.file,
        ignored=tuple(f"{name}." for name in _AUXILIARY),
    )


def resized_positions(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a torchvision ViT with its position embeddings stretched to its image size."""
    found = dict(state)
    key = "encoder.pos_embedding"
    own = network.state_dict().get(key)
    if own is None or key not in found or found[key].shape == own.shape:
        return found
    stretched = models.vision_transformer.interpolate_embeddings(
        network.image_size,
        network.patch_size,
        found,
    )
    return dict(stretched)


def _size_arguments(request: Request) -> dict[str, Any]:
    """What tells a factory of torchvision the size of its images, where it wants to know."""
    assert request.input_size is not None
    if request.name.startswith("vit_"):
        return {"image_size": request.input_size[0]}
    if request.name.startswith("maxvit"):
        return {"input_size": request.input_size}
    return {}


def _enum_member(request: Request, enum: Any) -> Any:
    if not isinstance(request.weights, str):
        return None
    wanted = "DEFAULT" if request.weights == "default" else request.weights.rpartition(".")[2]
    if wanted not in enum.__members__:
        known = list(enum.__members__)
        nearest = difflib.get_close_matches(wanted, known, n=1, cutoff=0.3)
        hint = f"did you mean '{nearest[0]}'? " if nearest else ""
        raise BackboneError(
            f"backbone.weights: {request.name} has no weights called '{request.weights}'; {hint}"
            f"known: {', '.join(known)}, a file, or none"
        )
    return enum[wanted]


def _download(request: Request, chosen: Any) -> dict[str, Tensor]:
    state: dict[str, Tensor] = _guarded(request, lambda: chosen.get_state_dict(progress=False))
    return state


def _timm(request: Request) -> Built:
    try:
        import timm
        from timm.data import resolve_model_data_config
    except ImportError as error:
        raise BackboneError(
            f"backbone.name: '{request.name}' needs timm; pip install 'layersearch[timm]'"
        ) from error
    name = request.name.removeprefix("timm/")
    if not timm.is_model(name):
        known = [f"timm/{model}" for model in timm.list_models()]
        nearest = difflib.get_close_matches(request.name, known, n=3, cutoff=0.5)
        raise BackboneError(
            f"backbone.name: timm has no model '{name}'; did you mean {', '.join(nearest) or '?'}"
        )
    if isinstance(request.weights, str) and request.weights != "default":
        name = f"{name.partition('.')[0]}.{request.weights}"  # timm's way to name weights
    pretrained = isinstance(request.weights, str)
    arguments = dict(request.arguments)
    if request.input_size is not None and "img_size" in _parameters(timm, name):
        arguments.setdefault("img_size", request.input_size)
    network = _call(request, timm.create_model, {"pretrained": pretrained, **arguments}, name)
    like = resolve_model_data_config(network)
    size = (int(like["input_size"][1]), int(like["input_size"][2]))
    return Built(
        network=network,
        preprocessing=_preprocessing(
            request,
            tuple(like["mean"]),
            tuple(like["std"]),
            size,
            centre=min(1.0, min(size) / math.floor(min(size) / like["crop_pct"])),  # timm's floor
        ),
        weights=f"timm {name}" if pretrained else "random",
        file=request.file,
    )


def _parameters(timm: Any, name: str) -> set[str]:
    """Words that the class of a timm model takes: its factories pass on whatever they get."""
    entry = timm.model_entrypoint(name)
    source = importlib.import_module(entry.__module__)
    classes = [value for value in vars(source).values() if inspect.isclass(value)]
    own = [c for c in classes if issubclass(c, nn.Module) and c.__module__ == source.__name__]
    return {
        word for c in own if hasattr(c, "forward_head") for word in inspect.signature(c).parameters
    }


def _preprocessing(
    request: Request,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    size: tuple[int, int],
    *,
    centre: float = 1.0,
) -> Preprocessing:
    return Preprocessing(mean=mean, std=std, input_size=request.input_size or size, centre=centre)


def _call(
    request: Request, factory: Callable[..., Any], arguments: Mapping[str, Any], *positional: Any
) -> nn.Module:
    """The factory's network. Random weights are the same every time: workers build their own."""

    def make() -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return factory(*positional, **arguments)

    network = _guarded(request, make)
    if not isinstance(network, nn.Module):
        raise BackboneError(
            f"backbone.name: {request.name} gives a {type(network).__name__}, not an nn.Module"
        )
    return network


def _guarded(request: Request, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except OSError as error:  # URLError, timeouts, refused connections
        raise BackboneError(
            f"backbone.weights: could not download the weights of {request.name} ({error}); "
            "run once where a network is, or fetch the file and give its path as weights"
        ) from error
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        arguments = ", ".join(f"{key}={value!r}" for key, value in request.arguments.items())
        raise BackboneError(
            f"backbone: {request.name}({arguments}) failed: {error}; check backbone.arguments, "
            "backbone.input_size and backbone.weights"
        ) from error
