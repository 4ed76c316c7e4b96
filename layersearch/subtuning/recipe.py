"""Recipe: how a trial trains, the same for every subset, so that only the subset differs."""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from layersearch.errors import RecipeError

Precision = Literal["fp32", "bf16", "fp16"]

SEARCHABLE = (
    "lr",
    "weight_decay",
    "label_smoothing",
    "momentum",
    "warmup_epochs",
    "clip_norm",
    "epochs",
    "batch_size",
)


@dataclass(frozen=True, kw_only=True)
class HeadRecipe:
    """What the new classifier looks like and where it starts."""

    depth: int = 1  # (depth - 1) x [bias-free linear, ReLU], then a linear layer
    # 'linear_probe' fits the head on the frozen features of the fold's training samples before the
    # units are tuned (LP-FT, Kumar et al. 2022); the paper starts at 'random'.
    start: Literal["random", "linear_probe"] = "linear_probe"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training settings, in the field's usual terms.

    Raises:
        RecipeError: a value that no training can use.
    """

    epochs: int = 10
    batch_size: int = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-3
    momentum: float = 0.9  # of SGD
    weight_decay: float = 0.01
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warmup_epochs: float = 0.0  # linear, from 0
    step_epochs: int = 10  # schedule 'step': the rate is multiplied every so many epochs ...
    step_factor: float = 0.1  # ... by this
    label_smoothing: float = 0.0
    clip_norm: float | None = None  # largest norm of the gradient of all tuned parameters
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    compile: bool = False
    # BatchNorm of tuned units: 'train' uses and updates batch statistics, 'eval' keeps the
    # pretrained ones. Frozen units are always in eval mode.
    norms: Literal["train", "eval"] = "train"
    start: Literal["pretrained", "random"] = "pretrained"  # of the tuned units
    # The head sees the original network's features beside the tuned one's (paper, 'Siamese
    # SubTuning'): of use where the original runs anyway.
    siamese: bool = False
    head: HeadRecipe = field(default_factory=HeadRecipe)
    # Epochs between two validations; there is always one after the last. Pruning and learning
    # curves want every epoch: a third of a trial where as many samples validate as train.
    validate_every: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "step_epochs", "validate_every"):
            _require(getattr(self, name) >= 1, name, "must be at least 1", getattr(self, name))
        for name in ("lr", "step_factor"):
            value = getattr(self, name)
            _require(value > 0 and math.isfinite(value), name, "must be a positive number", value)
        for name in ("weight_decay", "warmup_epochs"):
            _require(getattr(self, name) >= 0, name, "must not be negative", getattr(self, name))
        _require(0 <= self.momentum < 1, "momentum", "must be in [0, 1)", self.momentum)
        smoothing = self.label_smoothing
        _require(0 <= smoothing < 1, "label_smoothing", "must be in [0, 1)", smoothing)
        clip = self.clip_norm
        _require(clip is None or clip > 0, "clip_norm", "must be positive or null", clip)
        _require(self.head.depth >= 1, "head.depth", "must be at least 1", self.head.depth)

    def with_numbers(self, numbers: Mapping[str, Any]) -> "Recipe":
        """This recipe with the numbers that a sampler chose: `{'lr': 3e-4}`.

        Raises:
            RecipeError: a name that cannot be searched.
        """
        for name in numbers:
            if name not in SEARCHABLE:
                known = ", ".join(SEARCHABLE)
                raise RecipeError(f"recipe.{name}: cannot be searched; searchable: {known}")
        return replace(self, **numbers) if numbers else self

    def describe(self) -> dict[str, Any]:
        """Plain values, for the fingerprint and the description of a saved task."""
        return asdict(self)

    def pairs_features(self, subset: Collection[str]) -> bool:
        """Whether the head is Siamese: where nothing is tuned, there is one kind of features."""
        return self.siamese and len(subset) > 0

    def validates_after(self, epoch: int) -> bool:
        """Whether there is a validation after this epoch, counted from 0."""
        return (epoch + 1) % self.validate_every == 0 or epoch + 1 == self.epochs

    def lr_factor(self, epoch: float) -> float:
        """What the learning rate is multiplied by after `epoch` epochs, a whole number or not."""
        if epoch < self.warmup_epochs:
            return epoch / self.warmup_epochs
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "step":
            return float(self.step_factor ** int(epoch // self.step_epochs))
        span = max(self.epochs - self.warmup_epochs, 1e-9)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (epoch - self.warmup_epochs) / span)))


def recipe_from(values: Mapping[str, Any]) -> Recipe:
    """The recipe that `Recipe.describe` described; unknown names are an error.

    Raises:
        RecipeError: a name that a recipe does not have.
    """
    known = {item.name for item in fields(Recipe)}
    for name in values:
        if name not in known:
            raise RecipeError(f"recipe.{name}: unknown; a recipe has {', '.join(sorted(known))}")
    plain = dict(values)
    if isinstance(plain.get("head"), Mapping):
        plain["head"] = HeadRecipe(**plain["head"])
    return Recipe(**plain)


def _require(condition: bool, name: str, rule: str, value: object) -> None:
    if not condition:
        raise RecipeError(f"recipe.{name}: {rule}, got {value}")
