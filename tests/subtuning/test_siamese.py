"""A head on original and tuned features: what it starts from, costs, computes and is given."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from layersearch.backbones import UncutBackboneWarning, backbone_from_module, build_chain
from layersearch.data import Augmentation
from layersearch.errors import BackboneError
from layersearch.space import Subset
from layersearch.space.trial import WorkerPlace
from layersearch.subtuning import (
    HeadRecipe,
    Materials,
    Recipe,
    contenders,
    known_costs,
    open_workplace,
    require_cut,
    subtune,
    train,
)
from layersearch.subtuning.training import starting_head

Make = Callable[..., Materials]
PLACE = WorkerPlace(number=0, threads=1)
SIAMESE = {"siamese": True}


def _logits(materials: Materials, names: list[str]) -> torch.Tensor:
    outcome = subtune(
        open_workplace(materials, PLACE),
        Subset(names),
        materials.data,
        materials.recipe,
        lambda report: None,
        objective=materials.objective,
        seed=materials.seed,
    )
    return outcome.logits


def test_a_probe_alone_is_the_plain_one(materials: Make) -> None:
    assert torch.equal(_logits(materials(recipe=SIAMESE), []), _logits(materials(), []))


def test_it_is_another_network_and_the_same_every_time(materials: Make) -> None:
    made = materials(recipe=SIAMESE)
    first = _logits(made, ["layer2.0"])
    assert torch.equal(first, _logits(made, ["layer2.0"]))
    assert not torch.equal(first, _logits(materials(), ["layer2.0"]))


@pytest.mark.parametrize("depth", [1, 2])
def test_it_starts_with_the_scores_of_a_probe_on_both_features(materials: Make, depth: int) -> None:
    place = open_workplace(materials(), PLACE)
    samples = torch.arange(40)
    recipe = HeadRecipe(depth=depth, start="linear_probe")
    head = starting_head(place, samples, recipe, seed=0, siamese=True)
    features = place.features.values(len(place.chain.stages) - 1, samples, -1)[0]
    with torch.no_grad():
        scores = head(torch.cat([features, features], dim=-1))
        loss = nn.functional.cross_entropy(scores, place.labels[samples]).item()
        if depth == 1:
            plain = starting_head(place, samples, recipe, seed=0)(features)
            torch.testing.assert_close(scores, plain)
    assert loss < 1.0


def test_making_the_head_leaves_the_random_numbers_alone(materials: Make) -> None:
    place = open_workplace(materials(), PLACE)
    before = torch.get_rng_state()
    starting_head(place, torch.arange(40), HeadRecipe(), seed=0, siamese=True)
    assert torch.equal(before, torch.get_rng_state())


def test_the_original_features_are_those_of_the_untouched_backbone(materials: Make) -> None:
    made = materials(recipe={"siamese": True, "norms": "train"})
    place = open_workplace(made, PLACE)
    network = train(place, Subset(["stem"]), torch.arange(40), made.recipe, seed=0).eval()
    images = place.features.values(0, torch.arange(5), -1)
    original = place.chain.features(*images)
    scores = network(*images, original=original)
    found = network(*images, original=torch.zeros_like(original))
    weight = network.head.get_parameter("weight")[:, : original.shape[1]]
    torch.testing.assert_close(scores - found, original @ weight.T, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("views", [1, 2])
def test_what_is_frozen_is_computed_once_for_all_epochs(materials: Make, views: int) -> None:
    """The later epochs take original features out of the cache, of the view that they train on."""
    made = materials(recipe=SIAMESE, views=views)
    if views > 1:
        made = replace(made, augmentation=Augmentation(flip=True))
    place = open_workplace(made, PLACE)
    train(place, Subset(["layer1.1"]), torch.arange(40), replace(made.recipe, epochs=views), seed=0)
    once = place.features.multiply_adds
    train(place, Subset(["layer1.1"]), torch.arange(40), replace(made.recipe, epochs=6), seed=0)
    assert place.features.multiply_adds == once


def test_the_doubled_head_is_paid_for_where_there_is_one(materials: Make) -> None:
    plain, both = materials(), materials(recipe=SIAMESE)
    chain = build_chain(plain.backbone)
    more = chain.head_features * 3
    for names, extra in (([], 0), (["layer2.0"], more)):
        before, after = (known_costs(chain, Subset(names), 3, m) for m in (plain, both))
        assert after["added_parameters"] - before["added_parameters"] == extra
        assert after["task_bytes"] - before["task_bytes"] == 4 * extra
        assert after["trainable_parameters"] == before["trainable_parameters"]
        assert (after["step_multiply_adds"] > before["step_multiply_adds"]) == bool(extra)


def test_what_a_task_takes_is_what_its_costs_said(materials: Make) -> None:
    made = materials(recipe=SIAMESE)
    place = open_workplace(made, PLACE)
    subset = Subset(["layer2.0"])
    state = train(place, subset, torch.arange(40), made.recipe, seed=0).tuned_state()
    costs = known_costs(place.chain, subset, 3, made)
    assert costs["task_bytes"] == sum(t.numel() * t.element_size() for t in state.values())


def test_baselines_have_plain_heads() -> None:
    field = contenders(Subset(["a"]), Recipe(siamese=True), everything=Subset(["a", "b"]))
    assert [c.recipe.siamese for c in field] == [True, False, False, False]


def test_a_network_that_cannot_be_cut_is_refused_in_words() -> None:
    class Steering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(12, 8), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x.flatten(1))
            return self.head(x if x.sum() > 0 else -x)

    backbone = backbone_from_module(
        Steering(), input_size=2, mean=(0.5,) * 3, std=(0.5,) * 3, head="head"
    )
    with pytest.warns(UncutBackboneWarning):
        chain = build_chain(backbone, granularity="layer")
    with pytest.raises(BackboneError, match=r"recipe\.siamese: Steering cannot be cut"):
        require_cut(chain)
