"""What proposes subsets: the section `strategy`, whose options depend on its name."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from layersearch.config.values import (
    GIVEN,
    Options,
    Section,
    is_object_name,
    listed,
    one_or_more,
    wrong,
)

# Optuna's; 'random_sampler' is for ranges, which 'random' does not know.
SAMPLERS = ("tpe", "gp", "nsga2", "nsga3", "qmc", "random_sampler")
PARTS = ("linear_probe", "single", "runs_2", "runs_3", "pairs")  # of a finetuning profile
PRUNERS = (
    "median",
    "percentile",
    "hyperband",
    "successive_halving",
    "threshold",
    "wilcoxon",
    "patient",
    "none",
)

# Subsets to try first: 'linear_probe', 'full_finetune', a unit or a list of units.
Enqueued = Annotated[
    tuple[Annotated[tuple[str, ...], BeforeValidator(one_or_more)], ...], BeforeValidator(listed)
]


class PrunerConfig(Section):
    """Which trials end early: one of Optuna's pruners, or 'package.module:callable'."""

    name: Annotated[str, Field(min_length=1)]
    options: Options = Field(default_factory=dict)


def _named(value: object) -> object:
    """A pruner's name alone as a section."""
    return {"name": value} if isinstance(value, str) else value


class StrategyConfig(Section):
    """What every strategy has."""

    trials: Annotated[int, Field(ge=1)] | None = None  # at most; null: until the strategy ends
    # Tried first: linear_probe, full_finetune, a unit, or a list of units.
    enqueue: Enqueued = ()
    # One of Optuna's, or 'package.module:callable', that ends hopeless trials early; null: none.
    pruner: Annotated[PrunerConfig, BeforeValidator(_named)] | None = None


# What says how greedy's rounds go on, so that it does not leap.
_ROUNDS = {"direction", "stop", "min_gain", "z", "max_rounds", "start_score", "lazy"}


class GreedyConfig(StrategyConfig):
    """Adds (or removes) one unit a round, as long as that gains (Kaplun et al. 2023)."""

    name: Literal["greedy"] = "greedy"
    # 'whole': every candidate is trained by the recipe's whole schedule. 'fast': by a look, a
    # complete schedule of fewer epochs; the whole schedule is for the finalists. 'paper':
    # algorithm 1 to the letter.
    protocol: Literal["fast", "whole", "paper"] = "fast"
    # Null: a fifth of recipe.epochs, but at least 20 steps and 600 samples.
    look_epochs: Annotated[int, Field(ge=1)] | None = None
    # Of 'fast': one round of looks at single units, then all units are added at once that are worth
    # it by what they gain alone. False: one unit a round. Null: true, but false where direction,
    # stop, min_gain, z, max_rounds, start_score or lazy say how rounds go on.
    leap: bool | None = None
    # By the whole schedule, of 'fast', at most. Null: 3, but 1 with a leap.
    finalists: Annotated[int, Field(ge=1)] | None = None
    # Standard errors that a unit's gain may grow by from round to round, of 'fast': units that
    # could then still not win the round are skipped. Null: none is.
    lazy: Annotated[float, Field(ge=0)] | None = 0.0
    # Of 'whole' with folds: the chance at which a candidate that is as good as the best of its
    # round may be stopped (it shows as PRUNED) after one of its folds, because it is clearly worse
    # on the same samples so far. Null: none is.
    eliminate: Annotated[float, Field(gt=0, le=0.5)] | None = 0.1
    # Adds units to none, leaves out units of all, or does both and takes the better answer.
    direction: Literal["forward", "backward", "both"] = "forward"
    # 'paired': the gain on the same samples exceeds its error; 'paper': it exceeds min_gain;
    # 'official': as the paper's code, which goes on through rounds without a gain.
    stop: Literal["paired", "paper", "official"] = "paired"
    # In units of the metric; the paper's epsilon. Null: 0, and 0.01 for 'official'.
    min_gain: float | None = None
    # 'paired': standard errors that a gain must exceed. Null: 1, but 0 where there are looks: the
    # finalists tell whether the last units were worth adding.
    z: Annotated[float, Field(ge=0)] | None = None
    max_rounds: Annotated[int, Field(ge=1)] | None = None  # at most
    start_score: float | None = None  # what round 1 must exceed; null: the rule's own
    speculate: Annotated[int, Field(ge=0)] = 1  # rounds that free workers go ahead

    @model_validator(mode="before")
    @classmethod
    def _may_leap(cls, given: object) -> object:
        if not isinstance(given, Mapping) or given.get("leap") is not None:
            return given
        fast = given.get("protocol", "fast") == "fast"
        return {**given, "leap": fast and not _ROUNDS & given.keys()}

    @model_validator(mode="after")
    def _leaps_forward(self) -> Self:
        if self.leap and self.direction != "forward":
            raise wrong(
                f"leap: true adds units, and direction is {self.direction}",
                "leave `leap` out, or write direction: forward",
            )
        return self

    @model_validator(mode="after")
    def _to_the_letter(self) -> Self:
        if self.protocol != "paper":
            return self
        if "stop" not in self.model_fields_set:
            return self.model_copy(update={"stop": "paper"})
        if self.stop != "paper":
            raise wrong(
                f"protocol: paper stops by the paper's rule, not by stop: {self.stop}",
                "leave `stop` out, or write protocol: whole",
            )
        return self


class NestedConfig(StrategyConfig):
    """Ranks the units by what each gains alone, then trains a few nested subsets of the first."""

    name: Literal["nested"] = "nested"
    # The single units are ranked by looks, complete schedules of so many epochs; null: as greedy's.
    # Of recipe.epochs or more: they are trained whole, and may be the answer.
    look_epochs: Annotated[int, Field(ge=1)] | None = None
    # Neighbours with fewer and with more units that the best subset must beat, by the whole
    # schedule; 0: only the subset that the ranking points to is trained.
    patience: Annotated[int, Field(ge=0)] = 0


def _part(name: str) -> str:
    if name not in PARTS and re.fullmatch(r"runs_[1-9]\d*", name) is None:
        raise wrong(
            f"must be one of {', '.join(PARTS)}, or runs_k for runs of k units; got {name!r}"
        )
    return name


class ProfileConfig(StrategyConfig):
    """The finetuning profile: what each unit, run of units or pair is worth by itself."""

    name: Literal["profile"] = "profile"
    # linear_probe, single, pairs, or runs_k for any k; trained in this order.
    parts: Annotated[
        tuple[Annotated[str, AfterValidator(_part)], ...],
        BeforeValidator(one_or_more),
        Field(min_length=1),
    ] = PARTS


class ExhaustiveConfig(StrategyConfig):
    """Every subset of the space once."""

    name: Literal["exhaustive"] = "exhaustive"


class RandomConfig(StrategyConfig):
    """Subsets drawn uniformly from the space."""

    name: Literal["random"] = "random"


class SamplerConfig(StrategyConfig):
    """One of Optuna's samplers by name."""

    name: Literal["tpe", "gp", "nsga2", "nsga3", "qmc", "random_sampler"]
    options: Options = Field(default_factory=dict)  # for the sampler's constructor


class CustomConfig(StrategyConfig):
    """A strategy or sampler of the user's: 'package.module:callable'."""

    name: str
    options: Options = Field(default_factory=dict)  # for the callable


STRATEGIES: dict[str, type[StrategyConfig]] = {
    "greedy": GreedyConfig,
    "nested": NestedConfig,
    "profile": ProfileConfig,
    "exhaustive": ExhaustiveConfig,
    "random": RandomConfig,
    **dict.fromkeys(SAMPLERS, SamplerConfig),
}
STRATEGY_TAGS = (
    "greedy",
    "nested",
    "profile",
    "exhaustive",
    "random",
    "sampler",
    "custom",
)  # in an error's place


def strategy_class(name: object) -> type[StrategyConfig] | None:
    """The section that a strategy of that name has, or None if there is no such strategy."""
    if not isinstance(name, str):
        return None
    if name == GIVEN or is_object_name(name):
        return CustomConfig
    return STRATEGIES.get(name)


def _tag(value: object) -> str | None:
    name = value.get("name", "greedy") if isinstance(value, Mapping) else getattr(value, "name", 0)
    found = strategy_class(name)
    return None if found is None else found.__name__.removesuffix("Config").lower()


AnyStrategy = Annotated[
    Annotated[GreedyConfig, Tag("greedy")]
    | Annotated[NestedConfig, Tag("nested")]
    | Annotated[ProfileConfig, Tag("profile")]
    | Annotated[ExhaustiveConfig, Tag("exhaustive")]
    | Annotated[RandomConfig, Tag("random")]
    | Annotated[SamplerConfig, Tag("sampler")]
    | Annotated[CustomConfig, Tag("custom")],
    Discriminator(_tag),
]
