"""Settings from the command line."""

from typing import Any

import pytest

from layersearch.config import FloatRange, ProfileConfig, SamplerConfig, config_from
from layersearch.config.overrides import apply_overrides
from layersearch.errors import ConfigError

BASE: dict[str, Any] = {
    "backbone": {"name": "resnet18"},
    "data": {"source": "digits"},
    "strategy": {"name": "greedy", "stop": "paper", "min_gain": 0.01, "enqueue": ["linear_probe"]},
}


def test_any_field_can_be_set_with_a_yaml_value() -> None:
    config = config_from(
        BASE,
        [
            "seed=3",
            "recipe.epochs=5",
            "recipe.lr=3e-4",
            "recipe.head.depth=2",
            "space.always=[layer1.0, layer2.0]",
            "objective.constraints={trainable_parameters: {max: 2e5}}",
            "objective.constraints.flops.max=1e9",
            "study.storage=sqlite:///x.db",
            "data.folds=",
        ],
    )
    assert config.seed == 3
    assert (config.recipe.epochs, config.recipe.lr, config.recipe.head.depth) == (5, 3e-4, 2)
    assert config.space.always == ("layer1.0", "layer2.0")
    limits = {name: limit.max for name, limit in config.objective.constraints.items()}
    assert limits == {"trainable_parameters": 2e5, "flops": 1e9}
    assert config.study.storage == "sqlite:///x.db"
    assert config.data.folds is None


def test_the_last_of_two_wins() -> None:
    assert config_from(BASE, ["seed=1", "seed=2"]).seed == 2


def test_the_document_is_left_as_it_was() -> None:
    document = {"recipe": {"head": {"depth": 1}}}
    changed, _, _ = apply_overrides(document, ["recipe.head.depth=2", "strategy.name=tpe"])
    assert document == {"recipe": {"head": {"depth": 1}}}
    assert changed["recipe"]["head"]["depth"] == 2


def test_a_number_becomes_a_range_end_by_end() -> None:
    ends = ["recipe.lr.low=1e-4", "recipe.lr.high=1e-2", "strategy.name=tpe", "strategy.trials=3"]
    assert config_from(BASE, ends).recipe.lr == FloatRange(low=1e-4, high=1e-2)


def test_another_strategy_sets_aside_the_settings_of_the_old_one_and_says_so() -> None:
    config = config_from(BASE, ["strategy.name=tpe", "strategy.trials=5"])
    assert isinstance(config.strategy, SamplerConfig)
    assert config.strategy.enqueue == (("linear_probe",),)
    assert config.notes == ("strategy: stop, min_gain set aside: of 'greedy', not of 'tpe'",)
    assert config_from(BASE, ["strategy.name=greedy"]).notes == ()


def test_settings_given_with_the_new_strategy_are_its_own() -> None:
    config = config_from(BASE, ["strategy.name=profile", "strategy.parts=[pairs]"])
    assert isinstance(config.strategy, ProfileConfig)
    with pytest.raises(ConfigError, match="is a setting of 'greedy', not of 'profile'"):
        config_from(BASE, ["strategy.name=profile", "strategy.stop=paper"])


def test_options_of_one_sampler_are_not_handed_to_another() -> None:
    document = {**BASE, "strategy": {"name": "tpe", "trials": 5, "options": {"n_ei_candidates": 9}}}
    config = config_from(document, ["strategy.name=gp"])
    assert isinstance(config.strategy, SamplerConfig)
    assert config.strategy.options == {}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("recipe.epochs", "must be PATH=VALUE"),
        ("=5", "must begin with a dotted path"),
        ("recipe..epochs=5", "must begin with a dotted path"),
        ("space.always=[a", "is not YAML"),
        ("strategy.enqueue.linear_probe=1", "set it whole: strategy.enqueue=[…]"),
        ("recipe.epoch=5", "did you mean 'epochs'"),
        ("epochs=5", "did you mean 'recipe.epochs'?"),
        ("strategy.name=gredy", "did you mean 'greedy'?"),
        ("strategy=tpe", "write strategy: {name: greedy}"),
    ],
)
def test_what_cannot_be_set_is_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from(BASE, [override])
    assert words in str(caught.value)
    assert len(caught.value.problems) == 1
