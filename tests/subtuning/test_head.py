"""Where heads start: fitted to their own training samples, once, without touching the backbone."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from layersearch.backbones import new_head
from layersearch.space.trial import WorkerPlace
from layersearch.subtuning import HeadFitter, HeadRecipe, Materials, Workplace, open_workplace
from layersearch.subtuning.training import starting_head

Make = Callable[..., Materials]


def _loss(workplace: Workplace, head: torch.nn.Module, samples: torch.Tensor) -> float:
    features = workplace.features.values(len(workplace.chain.stages) - 1, samples, -1)[0]
    with torch.no_grad():
        return F.cross_entropy(head(features), workplace.labels[samples]).item()


def test_a_fitted_head_beats_a_random_one_on_its_samples(workplace: Workplace) -> None:
    samples = torch.arange(40)
    fitted = starting_head(workplace, samples, HeadRecipe(start="linear_probe"), seed=0)
    random = starting_head(workplace, samples, HeadRecipe(start="random"), seed=0)
    assert _loss(workplace, fitted, samples) < 0.8 * _loss(workplace, random, samples)


def test_a_linear_head_has_one_optimum_whatever_its_start_and_order(workplace: Workplace) -> None:
    recipe = HeadRecipe(start="linear_probe")
    first = starting_head(workplace, torch.arange(40), recipe, seed=0)
    fresh = HeadFitter(workplace.chain, device=workplace.device)
    other = new_head(workplace.chain.head_features, 3, seed=9)
    fresh.fit(other, workplace.features, workplace.labels, torch.arange(39, -1, -1))
    for ours, theirs in zip(first.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_other_samples_give_another_head(workplace: Workplace) -> None:
    recipe = HeadRecipe(start="linear_probe")
    first = starting_head(workplace, torch.arange(0, 30), recipe, seed=0)
    second = starting_head(workplace, torch.arange(30, 60), recipe, seed=0)
    assert not next(first.parameters()).equal(next(second.parameters()))


def test_a_deep_head_is_fitted_from_its_random_start(workplace: Workplace) -> None:
    samples = torch.arange(40)
    fitted = starting_head(workplace, samples, HeadRecipe(depth=2, start="linear_probe"), seed=0)
    assert sum(parameter.ndim == 2 for parameter in fitted.parameters()) == 2
    assert _loss(workplace, fitted, samples) < 1.0


def test_a_random_head_follows_its_seed(workplace: Workplace) -> None:
    recipe = HeadRecipe(start="random")
    heads = [starting_head(workplace, torch.arange(9), recipe, seed=s) for s in (1, 1, 2)]
    weights = [next(head.parameters()) for head in heads]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


@pytest.mark.parametrize("depth", [1, 2])
def test_fitting_leaves_the_backbone_as_it_was(materials: Make, depth: int) -> None:
    place = open_workplace(materials(), WorkerPlace(number=0, threads=1))
    before = {name: value.clone() for name, value in place.chain.network.state_dict().items()}
    starting_head(place, torch.arange(30), HeadRecipe(depth=depth), seed=0)
    after = place.chain.network.state_dict()
    assert all(after[name].equal(value) for name, value in before.items())
