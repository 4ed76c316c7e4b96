"""One step of training: learning rates follow the recipe, gradients are clipped as asked."""

import pytest
import torch
from torch import nn

from layersearch.subtuning.optimisation import Optimisation
from layersearch.subtuning.recipe import Recipe

CPU = torch.device("cpu")


def _steps(recipe: Recipe, *, steps: int, gradient: float = 1.0) -> list[float]:
    """The value of one parameter after each step along a constant gradient."""
    parameter = nn.Parameter(torch.zeros(1))
    optimisation = Optimisation(
        [parameter], recipe, steps_per_epoch=2, device=CPU, precision="fp32"
    )
    values = []
    for _ in range(steps):
        optimisation.step([gradient * parameter.sum()])
        values.append(parameter.item())
    return values


def test_sgd_moves_by_the_scheduled_rate() -> None:
    recipe = Recipe(
        epochs=2, optimizer="sgd", lr=1.0, momentum=0.0, weight_decay=0.0, schedule="cosine"
    )
    first, second, third, _ = _steps(recipe, steps=4)
    assert first == pytest.approx(-1.0)
    assert second - first == pytest.approx(-recipe.lr_factor(0.5))
    assert third - second == pytest.approx(-0.5)


def test_clipping_bounds_the_gradient() -> None:
    recipe = Recipe(
        optimizer="sgd", lr=1.0, momentum=0.0, weight_decay=0.0, schedule="constant", clip_norm=0.1
    )
    assert _steps(recipe, steps=1, gradient=50.0) == pytest.approx([-0.1])


def test_the_first_step_of_a_warm_up_is_not_lost() -> None:
    recipe = Recipe(
        optimizer="sgd", lr=1.0, momentum=0.0, weight_decay=0.0, schedule="constant",
        warmup_epochs=1,
    )  # fmt: skip
    assert _steps(recipe, steps=1)[0] < 0


def test_adamw_decays_weights_and_moves_by_about_the_rate() -> None:
    assert _steps(Recipe(lr=0.01, schedule="constant"), steps=1) == pytest.approx([-0.01], rel=1e-3)
