"""A backbone by name, with its weights and preprocessing; or from a module of the user's own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from layersearch.backbones.backbone import Backbone, Preprocessing, Source
from layersearch.backbones.registry import Request, build, resized_positions
from layersearch.backbones.survey import survey
from layersearch.backbones.weights import SUFFIXES, fit_weights, hash_weights, read_weights
from layersearch.errors import BackboneError


def load_backbone(
    name: str,
    *,
    weights: str | Path | None = "default",
    input_size: int | tuple[int, int] | None = None,
    factory_args: Mapping[str, Any] | None = None,
    head: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    centre: float | None = None,
) -> Backbone:
    """A pretrained network by name, in eval mode and frozen.

    Args:
        name: of torchvision ('resnet50'), 'cifar_resnet20', 'layersearch/cifar_resnet14' (with
            weights), 'timm/NAME', or 'package.module:factory'.
        weights: 'default', a name of weights ('IMAGENET1K_V2'), a file (.pt, .pth, .th,
            .safetensors ...), or None or 'none' for random ones (the same every time).
        input_size: pixels, or (H, W); None: what the weights were trained with.
        factory_args: passed on to the factory.
        head: path of the classifier; None: found.
        mean: of the normalisation, one number a channel; None: what the weights expect.
        std: the same.
        centre: the share of the shorter side of an image that the evaluation keeps; None: as the
            weights were evaluated.

    Raises:
        BackboneError: if the name is unknown, the factory or a download fails, or no head is found.
        WeightsError: if the file cannot be read or does not fit.
    """
    request = Request(
        name=name,
        weights=_weights(weights),
        input_size=(input_size, input_size) if isinstance(input_size, int) else input_size,
        arguments=dict(factory_args or {}),
    )
    made = build(request)
    preprocessing = _overridden(made.preprocessing, mean, std, centre)
    path = _find_head(made.network, preprocessing, head)
    words = made.weights
    if made.file is not None:
        state = resized_positions(made.network, read_weights(made.file))
        note = fit_weights(
            made.network, state, source=str(made.file), head=path, extra=made.ignored
        )
        words = made.file.name + (f", {note}" if note else "")
    return Backbone(
        name=name,
        network=made.network,
        preprocessing=preprocessing,
        weights=words,
        weights_hash=hash_weights(made.network, head=path),
        head=path,
        source=_source(request, made.network),
    )


def backbone_from_module(
    network: nn.Module,
    *,
    input_size: int | tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    centre: float | None = None,
    name: str | None = None,
    head: str | None = None,
) -> Backbone:
    """A network of the user's own as a backbone; it is put in eval mode and frozen.

    Args:
        network: gives class scores (N, classes) for images (N, C, H, W).
        input_size: pixels, or (H, W).
        mean: of the normalisation of images in [0, 1], one number a channel.
        std: the same.
        centre: the share of the shorter side of an image that the evaluation keeps; None: all.
        name: for reports; None: that of its class.
        head: path of the classifier; None: found.

    Raises:
        BackboneError: if it does not run on such images, or no head is found.
    """
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    preprocessing = _overridden(Preprocessing(mean=(), std=(), input_size=size), mean, std, centre)
    path = _find_head(network, preprocessing, head)
    return Backbone(
        name=name or type(network).__name__,
        network=network,
        preprocessing=preprocessing,
        weights="as given",
        weights_hash=hash_weights(network, head=path),
        head=path,
    )


def _find_head(network: nn.Module, preprocessing: Preprocessing, head: str | None) -> str:
    found = survey(
        network, input_size=preprocessing.input_size, channels=len(preprocessing.mean), head=head
    )
    return found.head


def _source(request: Request, network: nn.Module) -> Source:
    arguments = dict(request.arguments)
    if getattr(network, "transform_input", False):
        arguments["transform_input"] = True  # which torchvision decides by the weights
    weights = request.weights
    if isinstance(weights, Path):
        return Source(weights=weights.name, file=True, arguments=arguments)
    return Source(weights=weights, arguments=arguments)


def _weights(weights: str | Path | None) -> str | Path | None:
    if isinstance(weights, str):
        if weights.lower() == "none":
            return None
        if Path(weights).suffix.lower() in SUFFIXES or Path(weights).is_file():
            return Path(weights)
    return weights


def _overridden(
    preprocessing: Preprocessing,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    centre: float | None,
) -> Preprocessing:
    chosen = replace(
        preprocessing,
        mean=preprocessing.mean if mean is None else tuple(float(m) for m in mean),
        std=preprocessing.std if std is None else tuple(float(s) for s in std),
        centre=preprocessing.centre if centre is None else float(centre),
    )
    if not 0 < chosen.centre <= 1:
        raise BackboneError(
            f"backbone.centre: must be a share of the side, above 0, up to 1 ({chosen.centre})"
        )
    if not chosen.mean or len(chosen.mean) != len(chosen.std):
        raise BackboneError(
            f"backbone.mean, backbone.std: one number a channel each ({chosen.mean}, {chosen.std})"
        )
    if min(chosen.std) <= 0:
        raise BackboneError(f"backbone.std: must be above zero ({chosen.std})")
    if min(chosen.input_size) < 1:
        raise BackboneError(f"backbone.input_size: must be at least 1 pixel ({chosen.input_size})")
    return chosen
