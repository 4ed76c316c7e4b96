"""The network of a trial: what is tuned moves, and nothing else does, whatever anyone calls."""

import hashlib

import pytest
import torch
from torch import nn

from layersearch.backbones import Chain, new_head
from layersearch.space import Subset
from layersearch.subtuning import Recipe, TunedNetwork, Workplace, first_tuned


def _network(chain: Chain, names: list[str], **recipe: object) -> TunedNetwork:
    head = new_head(chain.head_features, 3, seed=0)
    return TunedNetwork(chain, Subset(names), head, recipe=Recipe(**recipe), seed=3)


def _hash(module: nn.Module) -> str:
    """Of all parameters and buffers."""
    digest = hashlib.blake2b()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def _step(network: TunedNetwork, chain: Chain) -> None:
    images = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    values = chain.run((images,), 0, network.first)
    optimizer = torch.optim.SGD(network.tuned_parameters, lr=0.1)
    loss = nn.functional.cross_entropy(network(*values), torch.arange(12) % 3)
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize("names", [[], ["layer1.1"], ["stem", "layer2.1"]])
def test_training_moves_the_chosen_units_and_leaves_the_backbone_alone(
    workplace: Workplace, names: list[str]
) -> None:
    chain = workplace.chain
    before = _hash(chain.network)
    network = _network(chain, names)
    start = network.tuned_state()
    _step(network, chain)
    assert _hash(chain.network) == before
    moved = {name for name, value in network.tuned_state().items() if not value.equal(start[name])}
    chosen = {p for unit in chain.units if unit.name in names for p in unit.parameters}
    weights = {name for name in chosen if name.endswith("weight")}
    assert weights <= moved
    assert all(name in chosen or name.startswith("head.") or "running" in name
               or "num_batches" in name for name in moved)  # fmt: skip


def test_frozen_batchnorm_does_not_drift_when_the_whole_network_is_set_to_train(
    workplace: Workplace,
) -> None:
    chain = workplace.chain
    network = _network(chain, ["layer1.1"])
    before = _hash(chain.network)
    network.train()
    network.train(True)
    nn.Module.train(network, True)
    network.train()
    _step(network, chain)
    assert _hash(chain.network) == before
    frozen = [m for m in chain.network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(module.training for module in frozen)


def test_tuned_norms_follow_their_batches_only_where_the_recipe_says_so(
    workplace: Workplace,
) -> None:
    def statistics(norms: str) -> list[bool]:
        network = _network(workplace.chain, ["layer2.0"], norms=norms)
        start = network.tuned_state()
        _step(network, workplace.chain)
        end = network.tuned_state()
        return [not end[n].equal(start[n]) for n in start if n.endswith("running_mean")]

    assert statistics("train") == [True, True]
    assert statistics("eval") == [False, False]


def test_only_tuned_units_and_head_are_copied(workplace: Workplace) -> None:
    chain = workplace.chain
    network = _network(chain, ["layer2.0"])
    shared = {id(parameter) for parameter in chain.network.parameters()}
    shared |= {id(p) for k in range(len(chain.stages)) for p in chain.folded(k).parameters()}
    own = {id(p) for p in network.parameters()} - shared
    chosen = next(unit for unit in chain.units if unit.name == "layer2.0")
    assert len(own) == len(chosen.parameters) + 2


def test_an_untrained_copy_gives_the_same_features_as_the_backbone(workplace: Workplace) -> None:
    chain = workplace.chain
    network = _network(chain, ["layer1.0", "layer2.1"]).eval()
    head = chain.network.get_submodule(chain.head)
    network.head.load_state_dict(new_head(chain.head_features, 3, seed=0).state_dict())
    images = torch.randn(4, 3, 16, 16)
    features = chain.features(images)
    expected = network.head(features)
    got = network(*chain.run((images,), 0, network.first))
    torch.testing.assert_close(got, expected)
    assert head.out_features == 5


def test_reinitialised_units_start_elsewhere_and_equal_seeds_start_alike(
    workplace: Workplace,
) -> None:
    chain = workplace.chain
    first = _network(chain, ["layer2.0"], start="random").tuned_state()
    second = _network(chain, ["layer2.0"], start="random").tuned_state()
    pretrained = chain.network.state_dict()
    name = "layer2.0.conv1.weight"
    assert first[name].equal(second[name])
    assert not first[name].equal(pretrained[name])
    assert first[name].std() > 0.01


def test_the_cut_is_at_the_first_tuned_unit(workplace: Workplace) -> None:
    chain = workplace.chain
    assert first_tuned(chain, Subset()) == len(chain.stages) - 1
    assert first_tuned(chain, Subset(["layer2.1", "stem"])) == 0
    depth = {unit.name: unit.depth for unit in chain.units}
    assert first_tuned(chain, Subset(["layer2.1"])) == depth["layer2.1"] > 0
