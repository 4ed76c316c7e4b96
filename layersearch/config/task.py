"""What is searched: the sections `backbone`, `data`, `space` and `objective`."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from layersearch.config.latency import LatencyConfig
from layersearch.config.values import (
    GIVEN,
    Names,
    Options,
    Section,
    Triple,
    listed,
    one_or_more,
    shown,
    wrong,
)

SOURCES = ("folder", "torchvision", "arrays", "idx", "digits", "vtab")
NAMED_SOURCES = ("torchvision", "vtab")
PATH_SOURCES = ("folder", "arrays", "idx", "vtab")  # they read files of the user's


def _count_share_or_given(value: object) -> object:
    count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    share = isinstance(value, float) and 0 < value < 1
    if value is None or value == "given" or count or share:
        return value
    raise wrong(
        f"must be a count, a share between 0 and 1, or given; got {shown(value)}",
        "write 1000, 0.2 or given",
    )


class BackboneConfig(Section):
    """The pretrained network."""

    # 'resnet50' (torchvision), 'cifar_resnet20', 'layersearch/cifar_resnet14' (ships with the
    # package), 'timm/NAME', 'package.module:factory'
    name: Annotated[str, Field(min_length=1)]
    weights: str | None = "default"  # 'default', an enum's name, a file, or null: random
    head: str | None = None  # module path of the classifier; null: found
    input_size: Annotated[int, Field(ge=1)] | None = None  # pixels, square; null: the weights' own
    mean: Triple | None = None  # of the inputs in [0, 1]; null: the weights' own
    std: Triple | None = None  # the same
    # Share of an image's shorter side that evaluation keeps; null: as the weights were evaluated
    # (0.875 is 224 pixels out of 256). Images no larger than the input are kept whole.
    centre: Annotated[float, Field(gt=0, le=1)] | None = None
    arguments: Options = Field(default_factory=dict)  # for the factory


class DataConfig(Section):
    """The new task's data: where it is and how it is divided."""

    # folder, torchvision, arrays, idx, digits, vtab, or 'package.module:factory'
    source: Annotated[str, Field(min_length=1)]
    # A folder, an archive of one, or a file; of 'torchvision' where its files lie or go.
    path: str | None = None
    name: str | None = None  # of a torchvision data set, or of a VTAB task
    options: Options = Field(default_factory=dict)  # for the torchvision data set or the factory
    download: bool = True  # whether a torchvision data set may be fetched
    train_samples: Annotated[int, Field(ge=2)] | None = None  # in total, stratified; null: all
    samples_per_class: Annotated[int, Field(ge=1)] | None = None  # instead of train_samples
    # null: the whole test split, or what training leaves where the source has one pool only
    test_samples: Annotated[int, Field(ge=1)] | None = None
    # Validation by k folds. Neither this nor holdout: the source's own split if it has one, else 5.
    folds: Annotated[int, Field(ge=2)] | None = None
    # Validation by one hold-out instead: a count, a share of the training samples, or 'given' (the
    # source's own split).
    holdout: Annotated[
        int | float | Literal["given"] | None, BeforeValidator(_count_share_or_given)
    ] = None
    # Whether the winner's retraining takes the hold-out in ('all'); null: unless it is drawn beside
    # the training samples.
    retrain_on: Literal["train", "all"] | None = None
    # Test samples that are copies of training samples; null: refuse, but drop from published
    # benchmarks and from what is left of one pool.
    overlap: Literal["refuse", "drop"] | None = None
    # Pixels, square, that images are stored at; null: their own size, at most what the backbone
    # resizes to before it keeps the centre.
    image_size: Annotated[int, Field(ge=1)] | None = None


class SpaceConfig(Section):
    """The units that are switched on and off, and which subsets of them are tried."""

    granularity: Literal["stage", "block", "layer"] = "block"  # how large a unit is
    kinds: Annotated[
        tuple[Literal["norm", "bias", "weight"], ...], BeforeValidator(one_or_more)
    ] = ()  # parameters of these kinds are units of their own within each block
    # Units of your own instead of a granularity: name -> globs over names of parameters.
    units: dict[str, Annotated[tuple[str, ...], BeforeValidator(one_or_more)]] | None = None
    exclude: Names = ()  # globs over units or parameters that are no part of the space
    min_units: Annotated[int, Field(ge=0)] = 0  # in a subset, those of `always` included
    max_units: Annotated[int, Field(ge=1)] | None = None  # the same; null: all
    always: Names = ()  # units tuned in every trial
    never: Names = ()  # units frozen in every trial
    contiguous: Annotated[int, Field(ge=1)] | None = None  # only runs of exactly so many units


class Limit(Section):
    """The least and the most that a cost or a metric may be."""

    max: float | None = None
    min: float | None = None

    @model_validator(mode="after")
    def _a_bound(self) -> Self:
        if self.max is None and self.min is None:
            raise wrong("needs 'max', 'min' or both", "write for example {max: 20000}")
        if self.max is not None and self.min is not None and self.min > self.max:
            raise wrong(f"min must be at most max, got {self.min:g} > {self.max:g}")
        return self


CHOICES = ("best", "one_stderr", "knee")


def _choice(value: object) -> object:
    if isinstance(value, str) and value not in CHOICES:
        raise wrong(f"must be one of {', '.join(CHOICES)}, or a list of units, got {value!r}")
    return listed(value)


class ObjectiveConfig(Section):
    """What makes one subset better than another."""

    # Names of metrics ('accuracy', 'macro_f1', 'recall[cat]'), after them of costs
    # ('trainable_parameters', 'latency_ms'), or 'package.module:object'. Several: what comes out is
    # a Pareto front, and the first is what curves and the choice go by.
    metric: Annotated[tuple[str, ...], BeforeValidator(one_or_more), Field(min_length=1)] = (
        "accuracy",
    )
    # One a value; null: the metric knows. An object that returns several values needs one for each.
    direction: (
        Annotated[tuple[Literal["maximize", "minimize"], ...], BeforeValidator(one_or_more)] | None
    ) = None
    # What the values are called, in results and in Optuna Dashboard; null: as the metrics are.
    names: Annotated[tuple[str, ...], BeforeValidator(one_or_more), Field(min_length=1)] | None = (
        None
    )
    # Name -> {max, min}: of a cost, outside of which nothing is trained (trainable_parameters,
    # added_parameters, task_bytes, step_multiply_adds, training_memory_bytes, latency_ms), or of a
    # metric, outside of which nothing is chosen.
    constraints: dict[str, Limit] = Field(default_factory=dict)
    # With several values, which member of the Pareto front is retrained and saved. 'best': that of
    # the best first value; 'one_stderr': of those whose first value is within a standard error of
    # the best, the best by the second; 'knee': the nearest to the best of all values at once; or
    # the units of one: [layer3.1].
    choose: Annotated[
        Literal["best", "one_stderr", "knee"] | tuple[str, ...], BeforeValidator(_choice)
    ] = "best"
    # How added serving latency is measured; null: as it is by default, where it is asked for.
    latency: LatencyConfig | None = None

    @property
    def values(self) -> int:
        """How many values a trial has."""
        return max(len(self.metric), len(self.direction or ()))

    @model_validator(mode="after")
    def _one_direction_a_metric(self) -> Self:
        own = len(self.metric) == 1 and (":" in self.metric[0] or self.metric[0] == GIVEN)
        if self.direction is not None and len(self.direction) != len(self.metric) and not own:
            raise wrong(
                f"{len(self.metric)} metrics need as many directions, got {len(self.direction)}",
                "leave `direction` out where the metrics know",
            )
        return self

    @model_validator(mode="after")
    def _one_name_a_value(self) -> Self:
        if self.names is not None and len(set(self.names)) != self.values:
            raise wrong(
                f"{self.values} values need as many different names, got {', '.join(self.names)}"
            )
        return self
