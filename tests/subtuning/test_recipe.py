"""Recipes: bad values are refused by name, schedules have the shape their name says."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.errors import RecipeError
from layersearch.subtuning.recipe import HeadRecipe, Recipe, recipe_from


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("lr", 0.0),
        ("lr", math.inf),
        ("weight_decay", -1.0),
        ("momentum", 1.0),
        ("label_smoothing", 1.0),
        ("clip_norm", 0.0),
        ("warmup_epochs", -0.5),
    ],
)
def test_refuses_an_impossible_value_by_name(field: str, value: float) -> None:
    with pytest.raises(RecipeError, match=rf"recipe\.{field}: .* got {value}"):
        Recipe(**{field: value})


def test_cosine_falls_from_one_to_zero_and_is_half_way_in_the_middle() -> None:
    recipe = Recipe(epochs=10, schedule="cosine")
    assert recipe.lr_factor(0) == 1.0
    assert recipe.lr_factor(5) == pytest.approx(0.5)
    assert recipe.lr_factor(10) == pytest.approx(0.0)


def test_warm_up_rises_linearly_before_the_schedule() -> None:
    recipe = Recipe(epochs=10, warmup_epochs=2, schedule="cosine")
    assert [recipe.lr_factor(epoch) for epoch in (0, 1, 2)] == [0.0, 0.5, 1.0]
    assert recipe.lr_factor(6) == pytest.approx(0.5)


def test_step_schedule_drops_by_its_factor() -> None:
    recipe = Recipe(epochs=9, schedule="step", step_epochs=3, step_factor=0.5)
    assert [recipe.lr_factor(epoch) for epoch in (0, 2.9, 3, 6, 8.9)] == [1, 1, 0.5, 0.25, 0.25]


@given(
    st.sampled_from(["cosine", "step", "constant"]),
    st.floats(0, 5),
    st.floats(0, 20),
)
def test_the_factor_stays_between_zero_and_one(schedule: str, warmup: float, epoch: float) -> None:
    recipe = Recipe(epochs=10, schedule=schedule, warmup_epochs=warmup)
    assert 0.0 <= recipe.lr_factor(epoch) <= 1.0


def test_takes_the_numbers_that_a_sampler_chose() -> None:
    assert Recipe().with_numbers({"lr": 0.5, "epochs": 3}) == Recipe(lr=0.5, epochs=3)


def test_refuses_to_search_what_is_no_number() -> None:
    with pytest.raises(RecipeError, match=r"recipe\.optimizer: cannot be searched"):
        Recipe().with_numbers({"optimizer": "sgd"})


def test_a_description_makes_the_same_recipe_again() -> None:
    recipe = Recipe(lr=0.01, head=HeadRecipe(depth=2, start="random"))
    assert recipe_from(recipe.describe()) == recipe
