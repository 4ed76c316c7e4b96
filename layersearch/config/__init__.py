"""The description of a search: YAML, checked whole before anything starts."""

from layersearch.config.callbacks import CallbackConfig
from layersearch.config.execution import (
    BudgetConfig,
    CacheConfig,
    ExecutionConfig,
    FinalConfig,
    StudyConfig,
)
from layersearch.config.loading import config_from, load_config
from layersearch.config.recipe import AugmentationConfig, HeadConfig, RecipeConfig
from layersearch.config.search import SearchConfig
from layersearch.config.strategy import (
    CustomConfig,
    ExhaustiveConfig,
    GreedyConfig,
    NestedConfig,
    ProfileConfig,
    PrunerConfig,
    RandomConfig,
    SamplerConfig,
    StrategyConfig,
)
from layersearch.config.task import BackboneConfig, DataConfig, Limit, ObjectiveConfig, SpaceConfig
from layersearch.config.values import (
    GIVEN,
    FloatChoices,
    FloatRange,
    IntChoices,
    IntRange,
)

__all__ = [
    "GIVEN",
    "AugmentationConfig",
    "BackboneConfig",
    "BudgetConfig",
    "CacheConfig",
    "CallbackConfig",
    "CustomConfig",
    "DataConfig",
    "ExecutionConfig",
    "ExhaustiveConfig",
    "FinalConfig",
    "FloatChoices",
    "FloatRange",
    "GreedyConfig",
    "HeadConfig",
    "IntChoices",
    "IntRange",
    "Limit",
    "NestedConfig",
    "ObjectiveConfig",
    "ProfileConfig",
    "PrunerConfig",
    "RandomConfig",
    "RecipeConfig",
    "SamplerConfig",
    "SearchConfig",
    "SpaceConfig",
    "StrategyConfig",
    "StudyConfig",
    "config_from",
    "load_config",
]
