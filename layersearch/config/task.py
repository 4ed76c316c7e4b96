"""What is searched: the sections `backbone`, `data`, `space` and `objective`."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from layersearch.config.values import Names, Options, Section, Triple, one_or_more, shown, wrong

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
    """The most that a subset may cost, or that a metric may be."""

    max: Annotated[float, Field(gt=0)]


class ObjectiveConfig(Section):
    """What makes one subset better than another."""

    metric: Annotated[tuple[str, ...], BeforeValidator(one_or_more), Field(min_length=1)] = (
        "accuracy",
    )  # its name, or 'package.module:object'; one in this version
    direction: (
        Annotated[tuple[Literal["maximize", "minimize"], ...], BeforeValidator(one_or_more)] | None
    ) = None  # one a metric; null: the metric knows
    # The most a subset may cost (trainable_parameters, added_parameters, task_bytes,
    # step_multiply_adds: never trained over it), or that a metric may be.
    constraints: dict[str, Limit] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_direction_a_metric(self) -> Self:
        if self.direction is not None and len(self.direction) != len(self.metric):
            raise wrong(
                f"{len(self.metric)} metrics need as many directions, got {len(self.direction)}",
                "leave `direction` out where the metrics know",
            )
        return self
