"""How a trial trains: the section `recipe`.

Numbers may be ranges instead, which samplers search together with the subset: `lr: {low: 1e-4,
high: 1e-2, log: true}` or `batch_size: {choices: [32, 64]}`.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from layersearch.config.values import (
    FloatChoices,
    FloatRange,
    IntChoices,
    IntRange,
    SearchableFloat,
    SearchableInt,
    Searched,
    Section,
    exactly,
    shown,
    wrong,
)

SEARCHABLE: dict[str, tuple[float, float, str]] = {
    # name: smallest, largest, the rule in words
    "epochs": (1, float("inf"), "at least 1"),
    "batch_size": (1, float("inf"), "at least 1"),
    "lr": (1e-12, float("inf"), "above 0"),
    "momentum": (0, 1 - 1e-9, "at least 0 and below 1"),
    "weight_decay": (0, float("inf"), "at least 0"),
    "warmup_epochs": (0, float("inf"), "at least 0"),
    "label_smoothing": (0, 1 - 1e-9, "at least 0 and below 1"),
    "clip_norm": (1e-12, float("inf"), "above 0"),
}


def _switch_or_auto(value: object) -> object:
    if isinstance(value, bool) or value == "auto":
        return value
    raise wrong(f"must be true, false or auto, got {shown(value)}")


class HeadConfig(Section):
    """The new classifier."""

    depth: Annotated[int, Field(ge=1)] = 1  # (depth - 1) x [linear, ReLU], then a linear layer
    # Where it begins: fitted to the frozen features, or at random, as in the paper.
    start: Literal["random", "linear_probe"] = "linear_probe"


class AugmentationConfig(Section):
    """How training images are varied; validation and test images never are."""

    crop: Annotated[int, Field(ge=0)] = 0  # pixels of padding before a random crop
    flip: bool = False  # left to right, half of the time
    random_resized_crop: (
        Annotated[
            tuple[
                Annotated[float, Field(gt=0, le=1)],
                Annotated[float, Field(gt=0, le=1)],
            ],
            exactly(2),
        ]
        | None
    ) = None  # smallest and largest share of the area: [0.08, 1.0]
    views: Annotated[int, Field(ge=1)] | None = None  # different views a sample; null: one an epoch


class RecipeConfig(Section):
    """Training settings, in the field's usual terms."""

    epochs: SearchableInt = 10  # passes over the training samples, a fold
    batch_size: SearchableInt = 64  # samples of one step
    optimizer: Literal["adamw", "sgd"] = "adamw"  # of tuned units and head
    lr: SearchableFloat = 1e-3  # the largest learning rate; the schedule scales it
    momentum: SearchableFloat = 0.9  # of SGD
    weight_decay: SearchableFloat = 0.01  # of all that is tuned
    schedule: Literal["cosine", "step", "constant"] = "cosine"  # of the learning rate
    warmup_epochs: SearchableFloat = 0.0  # in which the learning rate rises from 0; fractions too
    step_epochs: Annotated[int, Field(ge=1)] = 10  # schedule 'step': every so many epochs …
    step_factor: Annotated[float, Field(gt=0)] = 0.1  # … the learning rate is multiplied by this
    label_smoothing: SearchableFloat = 0.0  # share of the target spread over all classes
    clip_norm: SearchableFloat | None = None  # largest norm of the whole gradient
    # auto: bf16 where the hardware is faster at it for such a network, else fp32
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    # Memory format of images; auto: where the backbone has convolutions.
    channels_last: Annotated[bool | Literal["auto"], BeforeValidator(_switch_or_auto)] = "auto"
    compile: bool = False  # torch.compile; a compilation a subset, for long trainings only
    # BatchNorm of tuned units: learn the new statistics, or keep the pretrained ones, as that of
    # frozen units always does.
    norms: Literal["train", "eval"] = "train"
    start: Literal["pretrained", "random"] = "pretrained"  # where tuned units begin
    # The head sees the features of the original network too, beside those of the tuned one. That
    # costs next to nothing where the original is served anyway.
    siamese: bool = False
    # Epochs between two validations of a fold; there is always one after the last. More than 1
    # saves time, but pruners and learning curves see less. auto: 1 where a pruner or scheduler may
    # end trials; else so many that validating takes at most a tenth of training (1 with 5 folds).
    validate_every: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    head: HeadConfig = HeadConfig()
    augmentation: AugmentationConfig = AugmentationConfig()

    @property
    def searched(self) -> dict[str, Searched]:
        """The numbers that samplers search, by name."""
        values = {name: getattr(self, name) for name in SEARCHABLE}
        forms = (FloatRange, IntRange, FloatChoices, IntChoices)
        return {name: value for name, value in values.items() if isinstance(value, forms)}
