"""What a saved task says of itself, as JSON: all that its use needs, and where it comes from."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import torch
from torch import nn

from layersearch.backbones import Backbone, Preprocessing, Source
from layersearch.errors import TaskError
from layersearch.space.subset import Subset


def layersearch_version() -> str:
    """The installed version; 'unknown' where layersearch runs without having been installed."""
    try:
        return version("layersearch")
    except PackageNotFoundError:
        return "unknown"


def is_channels_last(network: nn.Module) -> bool:
    """Whether the network's convolutions lie in memory with their channels last."""
    return any(
        parameter.ndim == 4
        and parameter.is_contiguous(memory_format=torch.channels_last)
        and not parameter.is_contiguous()
        for parameter in network.parameters()
    )


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """The classifier of a task: what `new_head` needs to build it."""

    features: int  # values that come in
    depth: int = 1  # layers
    kind: Literal["linear", "conv"] = "linear"
    siamese: bool = False  # `features` are the original network's, then as many of the tuned one's


@dataclass(frozen=True, kw_only=True)
class TaskDescription:
    """Of a saved task; `save_task` writes it."""

    backbone: str  # its name
    weights: str  # in words
    weights_hash: str  # of the backbone without its classifier
    head_path: str  # module path of the classifier in the backbone
    head: HeadShape
    subset: Subset
    classes: tuple[str, ...]  # in the order of the labels
    preprocessing: Preprocessing
    canvas: tuple[int, int] | None = None  # pixels (H, W) that images are decoded to; None: any
    channels_last: bool = False  # memory format it was tuned in; the other changes the last bits
    source: Source | None = None  # of the backbone; None: a module of the user's own
    recipe: Mapping[str, Any] = field(default_factory=dict)  # JSON
    scores: Mapping[str, Any] = field(default_factory=dict)  # JSON: what it reached, if known
    saved_by: str = field(default_factory=layersearch_version)

    @classmethod
    def of(
        cls,
        backbone: Backbone,
        *,
        head: HeadShape,
        subset: Subset,
        classes: tuple[str, ...],
        canvas: Sequence[int] | None = None,
        recipe: Mapping[str, Any] | None = None,
        scores: Mapping[str, Any] | None = None,
    ) -> "TaskDescription":
        """The description of a task tuned on this backbone, in the memory format it is in now."""
        return cls(
            backbone=backbone.name,
            weights=backbone.weights,
            weights_hash=backbone.weights_hash,
            head_path=backbone.head,
            head=head,
            subset=subset,
            classes=classes,
            preprocessing=backbone.preprocessing,
            canvas=None if canvas is None else _pair(canvas),
            channels_last=is_channels_last(backbone.network),
            source=backbone.source if _is_json(backbone.source) else None,
            recipe=dict(recipe or {}),
            scores=dict(scores or {}),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        return {
            "backbone": {
                "name": self.backbone,
                "weights": self.weights,
                "weights_hash": self.weights_hash,
                "head": self.head_path,
                "source": None if self.source is None else vars(self.source),
            },
            "head": {
                "features": self.head.features,
                "depth": self.head.depth,
                "kind": self.head.kind,
                "siamese": self.head.siamese,
            },
            "subset": list(self.subset.names),
            "classes": list(self.classes),
            "preprocessing": {
                "mean": list(self.preprocessing.mean),
                "std": list(self.preprocessing.std),
                "input_size": list(self.preprocessing.input_size),
                "canvas": None if self.canvas is None else list(self.canvas),
                "centre": self.preprocessing.centre,
            },
            "channels_last": self.channels_last,
            "recipe": _finite(self.recipe),
            "scores": _finite(self.scores),
            "layersearch": self.saved_by,
        }

    @classmethod
    def from_json(cls, values: Any, *, where: str = "task") -> "TaskDescription":
        """Reads what `to_json` gave.

        Raises: TaskError: if a field is missing or of another kind; `where` names the file.
        """
        try:
            backbone, head, images = values["backbone"], values["head"], values["preprocessing"]
            if head["kind"] not in ("linear", "conv"):
                raise ValueError(f"head.kind is {head['kind']!r}")
            return cls(
                backbone=str(backbone["name"]),
                weights=str(backbone["weights"]),
                weights_hash=str(backbone["weights_hash"]),
                head_path=str(backbone["head"]),
                head=HeadShape(
                    features=int(head["features"]),
                    depth=int(head["depth"]),
                    kind=head["kind"],
                    siamese=bool(head.get("siamese", False)),  # tasks once had no such field
                ),
                subset=Subset(map(str, values["subset"])),
                classes=tuple(map(str, values["classes"])),
                preprocessing=Preprocessing(
                    mean=tuple(map(float, images["mean"])),
                    std=tuple(map(float, images["std"])),
                    input_size=_pair(images["input_size"]),
                    centre=float(images["centre"]),
                ),
                canvas=None if images["canvas"] is None else _pair(images["canvas"]),
                channels_last=bool(values["channels_last"]),
                source=_source(backbone.get("source")),
                recipe=dict(values["recipe"]),
                scores=dict(values["scores"]),
                saved_by=str(values["layersearch"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TaskError(f"{where}: its description cannot be read ({error!r})") from error


def _is_json(source: Source | None) -> bool:
    """Whether the source can be written down; a factory may be given any object."""
    try:
        json.dumps(None if source is None else vars(source), allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _source(values: Any) -> Source | None:
    """None too where the task is older than this field."""
    if values is None:
        return None
    weights = values["weights"]
    return Source(
        weights=None if weights is None else str(weights),
        file=bool(values["file"]),
        arguments=dict(values["arguments"]),
    )


def _finite(value: Any) -> Any:
    """The value with null for every number that JSON has not, such as the error of one seed."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _pair(values: Any) -> tuple[int, int]:
    height, width = values
    return int(height), int(width)
