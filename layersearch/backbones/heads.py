"""The classifier of a backbone: finding it, and making a new one for a new task."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from layersearch.errors import BackboneError

HeadKind = Literal["linear", "conv"]


def find_head(
    network: nn.Module,
    head: str | None = None,
    *,
    calls: Sequence[str],
    input_shapes: Mapping[str, tuple[int, ...]],
    classes: int,
) -> str:
    """The path of the classifier.

    That is the last linear layer, or the 1x1 convolution after which only modules without
    parameters come (SqueezeNet), if it gives as many numbers as the network. A network without
    classifier has one too if it ends in an nn.Identity in its place.

    Args:
        network: that the other arguments were seen in.
        head: the user's choice, which is checked; None: timm's own word for it, or the above.
        calls: paths of modules in the order in which they were called.
        input_shapes: of modules, without the batch dimension.
        classes: scores that the network gives.

    Raises:
        BackboneError: if there is none, or the user's choice cannot be a classifier.
    """
    candidates = [path for path in calls if _is_candidate(network.get_submodule(path))]
    chosen = head or _timm_classifier(network)
    if chosen is not None:
        return _checked(network, chosen, candidates, input_shapes)
    leaves = [path for path in calls if not any(network.get_submodule(path).children())]
    if candidates and _gives(network, candidates[-1], classes, calls, input_shapes):
        return candidates[-1]
    for path in leaves[-1:]:
        if isinstance(network.get_submodule(path), nn.Identity) and len(input_shapes[path]) == 1:
            return path
    raise BackboneError(
        f"backbone.head: {type(network).__name__} ends in no linear layer and no 1x1 convolution "
        f"that gives its {classes} scores; name its classifier, or put nn.Identity() where one "
        "would be"
    )


def head_kind(network: nn.Module, head: str) -> HeadKind:
    """Whether the classifier takes features (N, C) or, as a convolution, maps (N, C, H, W)."""
    return "conv" if isinstance(network.get_submodule(head), nn.Conv2d) else "linear"


def new_head(
    features: int, classes: int, *, depth: int = 1, kind: HeadKind = "linear", seed: int
) -> nn.Module:
    """A head with random weights: (depth - 1) x [bias-free layer, ReLU] and one layer with bias.

    The same seed gives the same weights; the global random state stays as it is. Depth 1 is one
    layer (Kaplun et al. 2023 and its code).

    Args:
        features: size of the backbone's features, and of every hidden layer.
        classes: outputs.
        depth: how many layers.
        kind: 'linear' for features (N, C); 'conv' for maps (N, C, H, W), by 1x1 convolutions.
        seed: of the random weights.

    Raises:
        BackboneError: if a number is below one.
    """
    for name, value in (("features", features), ("classes", classes), ("depth", depth)):
        if value < 1:
            raise BackboneError(f"head.{name}: must be at least 1 ({value})")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers: list[nn.Module] = []
        for _ in range(depth - 1):
            layers += [_layer(features, features, kind=kind, bias=False), nn.ReLU()]
        last = _layer(features, classes, kind=kind, bias=True)
    return nn.Sequential(*layers, last) if layers else last


def paired(original: Tensor, tuned: Tensor, *, kind: HeadKind) -> Tensor:
    """What a Siamese head takes: the original network's features, then the tuned network's.

    Args:
        original: features (N, ..., F); maps (N, F, H, W) where the head is a convolution.
        tuned: of the same samples and shape.
        kind: of the head.

    Returns: (N, ..., 2F) or (N, 2F, H, W).
    """
    return torch.cat([original, tuned], dim=1 if kind == "conv" else -1)


def _layer(inputs: int, outputs: int, *, kind: HeadKind, bias: bool) -> nn.Module:
    if kind == "conv":
        return nn.Conv2d(inputs, outputs, 1, bias=bias)
    return nn.Linear(inputs, outputs, bias=bias)


def _is_candidate(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


def _gives(
    network: nn.Module,
    path: str,
    classes: int,
    calls: Sequence[str],
    input_shapes: Mapping[str, tuple[int, ...]],
) -> bool:
    """Whether the module gives the scores, as far as its sizes and its place tell."""
    module = network.get_submodule(path)
    if isinstance(module, nn.Linear):
        return module.out_features == classes and len(input_shapes[path]) == 1
    later = calls[calls.index(path) + 1 :]
    parameters = [p for name in later for p in network.get_submodule(name).parameters()]
    return isinstance(module, nn.Conv2d) and module.out_channels == classes and not parameters


def _checked(
    network: nn.Module,
    head: str,
    candidates: Sequence[str],
    input_shapes: Mapping[str, tuple[int, ...]],
) -> str:
    known = dict(network.named_modules())
    if head not in known or head == "":
        names = list(dict.fromkeys((*candidates, *known)))
        nearest = difflib.get_close_matches(head, names, n=3, cutoff=0.4)
        hint = f"did you mean {_quoted(nearest)}?" if nearest else f"linear: {_quoted(candidates)}"
        raise BackboneError(
            f"backbone.head: {type(network).__name__} has no module '{head}'; {hint}"
        )
    if head not in input_shapes:
        raise BackboneError(
            f"backbone.head: '{head}' is not called in the forward pass; name the classifier that "
            "is"
        )
    if not _is_candidate(known[head]) and len(input_shapes[head]) != 1:
        inside = [path for path in candidates if path.startswith(f"{head}.")]
        remedy = f"name the layer itself: {_quoted(inside)}" if inside else "name a linear layer"
        raise BackboneError(
            f"backbone.head: '{head}' ({type(known[head]).__name__}) does not take features "
            f"(N, C); {remedy}"
        )
    return head


def _timm_classifier(network: nn.Module) -> str | None:
    """What timm records as the classifier of its models."""
    settings: Any = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", {})
    name = settings.get("classifier") if hasattr(settings, "get") else None
    if isinstance(name, tuple | list):
        raise BackboneError(
            f"backbone.head: {type(network).__name__} averages the classifiers {_quoted(name)}; "
            "choose a variant with one (not a distilled model)"
        )
    known = isinstance(name, str) and _is_candidate(
        dict(network.named_modules()).get(name, network)
    )
    return name if known and isinstance(name, str) else None


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:5])
