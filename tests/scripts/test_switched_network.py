"""Units switched between pretrained and tuned: exact, whatever is on."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from layersearch.backbones import Backbone, backbone_from_module
from layersearch.backbones.cifar_resnet import CifarResNet
from layersearch.data import Augmentation, splits_from_tensors
from layersearch.objectives import make_objective
from layersearch.space import Subset
from layersearch.space.trial import WorkerPlace
from layersearch.subtuning import Materials, Recipe, TunedNetwork, Workplace, open_workplace

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    import switched_network

    return switched_network


def plain() -> nn.Module:
    """A network without norms: nothing is folded, so that nothing is rounded."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )


def workplace_of(network: nn.Module, **units: Any) -> Workplace:
    torch.manual_seed(0)
    backbone: Backbone = backbone_from_module(
        network.eval(), input_size=(8, 8), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)
    )
    images = torch.randint(0, 256, (30, 3, 8, 8), dtype=torch.uint8)
    labels = torch.arange(30) % 3
    materials = Materials(
        backbone=backbone,
        units=units,
        data=splits_from_tensors(
            images[:20], labels[:20], images[20:], labels[20:], folds=2, seed=0
        ),
        augmentation=Augmentation(),
        views=1,
        recipe=Recipe(epochs=1, batch_size=5, precision="fp32"),
        objective=make_objective("accuracy"),
        seed=1,
    )
    return open_workplace(materials, WorkerPlace(number=0, threads=1))


def switched_of(script: ModuleType, workplace: Workplace) -> Any:
    """With every tuned value different from the pretrained one."""
    head = nn.Linear(workplace.chain.head_features, 3)
    switched = script.Switched(workplace.chain, head, Recipe(precision="fp32"))
    generator = torch.Generator().manual_seed(5)
    for value in switched.tuned.values():
        value.data.add_(0.1 * torch.randn(value.shape, generator=generator))
    return switched.eval()


def entering(workplace: Workplace, cut: int) -> Any:
    return workplace.features.values(cut, torch.arange(20), -1)


def test_with_all_switches_off_it_is_the_pretrained_network(script: ModuleType) -> None:
    workplace = workplace_of(plain(), granularity="layer")
    chain, last = workplace.chain, len(workplace.chain.stages) - 1
    switched = switched_of(script, workplace)
    with torch.no_grad():
        values = entering(workplace, 0)
        expected = chain.run(values, 0, last)
        for stage in range(last):
            values = switched.run(stage, 0, values)
    assert torch.equal(values[0], expected[0])


@pytest.mark.parametrize("network", [plain, lambda: CifarResNet((1, 1), classes=5, width=4)])
@pytest.mark.parametrize("granularity", ["layer", "block"])
def test_a_subset_switched_on_is_its_tuned_network(
    script: ModuleType, network: Any, granularity: str
) -> None:
    workplace = workplace_of(network(), granularity=granularity)
    chain = workplace.chain
    switched = switched_of(script, workplace)
    for bits in range(2 ** min(4, len(chain.units))):
        subset = Subset([unit.name for u, unit in enumerate(chain.units) if bits >> u & 1])
        recipe = Recipe(precision="fp32", norms="eval")
        alone = TunedNetwork(chain, subset, switched.head, recipe=recipe)
        for name, value in alone.changing().items():
            if name.startswith("units."):
                value.data.copy_(switched.tuned[name.removeprefix("units.")].data)
        alone.eval()
        values = entering(workplace, alone.first)
        with torch.no_grad():
            # Stages of which some units are off are not folded, so they differ by rounding.
            torch.testing.assert_close(switched(bits, *values), alone(*values))


def test_features_of_all_subsets_are_those_of_each(script: ModuleType) -> None:
    workplace = workplace_of(CifarResNet((1, 1), classes=5, width=4), granularity="block")
    switched, count = switched_of(script, workplace), len(workplace.chain.units)
    samples = torch.arange(20)
    found = list(script.features(switched, workplace, range(2**count), samples))
    assert [bits for bits, _, _ in sorted(found)] == list(range(2**count))
    # What subsets begin with is computed once: every stage in both ways after both ways before it.
    stages = workplace.chain.multiply_adds[:-1]
    depths = [unit.depth for unit in workplace.chain.units]
    ways = [2 ** sum(depth <= stage for depth in depths) for stage in range(len(stages))]
    shared = sum(stage * way for stage, way in zip(stages, ways, strict=True))
    assert sum(spent for _, _, spent in found) == len(samples) * shared
    for bits, features, _ in found:
        with torch.no_grad():
            expected = switched(bits, *entering(workplace, switched.first(bits)))
            torch.testing.assert_close(switched.head(features), expected)
