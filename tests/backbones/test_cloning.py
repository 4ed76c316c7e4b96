"""A clone shares everything but what it was given."""

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from layersearch.backbones import (
    Chain,
    backbone_from_module,
    build_chain,
    clone_stage,
    load_backbone,
    new_head,
    owners,
    parameter_names,
)
from layersearch.errors import BackboneError

CHAIN: Chain = build_chain(load_backbone("cifar_resnet14", weights=None), granularity="layer")


def copies(chain: Chain, names: tuple[str, ...]) -> Mapping[str, nn.Parameter]:
    return {name: nn.Parameter(chain.network.get_parameter(name).clone()) for name in names}


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_clone_changes_only_what_it_was_given(data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(CHAIN.stages) - 1))
    stage = CHAIN.stages[index]
    tuned = data.draw(st.sets(st.sampled_from(sorted(parameter_names(stage)))))
    statistics = sorted(name for name, _ in stage.named_buffers())
    copied = data.draw(st.sets(st.sampled_from(statistics))) if statistics else set()
    new = copies(CHAIN, tuple(tuned))
    before = {name: tensor.clone() for name, tensor in CHAIN.network.state_dict().items()}

    clone = clone_stage(stage, new, buffers=copied)
    for name, parameter in clone.named_parameters():
        expected = new[name] if name in tuned else stage.get_parameter(name)
        assert parameter is expected
    for name, buffer in clone.named_buffers():
        original = stage.get_buffer(name)
        assert torch.equal(buffer, original)
        assert (buffer is not original) == (name in copied)
    with torch.no_grad():
        for parameter in new.values():
            parameter.add_(1)
        for name in copied:
            clone.get_buffer(name).add_(1)
    after = CHAIN.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_switching_a_clone_to_training_leaves_the_network_in_eval_mode() -> None:
    clone = clone_stage(CHAIN.stages[1], {}).train()
    assert all(module.training for module in clone.modules())
    assert not any(module.training for module in CHAIN.network.modules())
    assert not any(module.training for module in CHAIN.stages[1].modules())


def test_gradients_reach_the_replaced_parameters_alone() -> None:
    unit = CHAIN.units[1]
    new = copies(CHAIN, unit.parameters)
    clone = clone_stage(CHAIN.stages[unit.depth], new)
    values = CHAIN.run((torch.randn(2, 3, 32, 32),), 0, unit.depth)
    sum(value.sum() for value in clone(*values)).backward()
    assert all(parameter.grad is not None for parameter in new.values())
    assert all(parameter.grad is None for parameter in CHAIN.network.parameters())


def test_a_new_head_takes_the_place_of_the_old_one() -> None:
    head = new_head(CHAIN.head_features, 3, depth=2, seed=0)
    clone = clone_stage(CHAIN.stages[-1], {}, modules={CHAIN.head: head})
    assert clone.get_submodule(CHAIN.head) is head
    features = torch.randn(4, 64)
    assert torch.equal(clone(features)[0], head(features))


def test_a_stage_that_does_not_use_a_parameter_passes_it_over() -> None:
    new = copies(CHAIN, ("layer3.1.conv2.weight",))
    clone = clone_stage(CHAIN.stages[0], new)
    assert all(p is not new["layer3.1.conv2.weight"] for p in clone.parameters())


def test_a_replacement_of_another_shape_and_an_unknown_module_are_refused() -> None:
    stage = CHAIN.stages[0]
    with pytest.raises(BackboneError, match=r"'conv1.weight' has shape \(16, 3, 3, 3\)"):
        clone_stage(stage, {"conv1.weight": nn.Parameter(torch.zeros(1))})
    with pytest.raises(BackboneError, match="no module 'fc'"):
        clone_stage(stage, {}, modules={"fc": nn.Identity()})


def test_a_tied_parameter_is_replaced_wherever_it_is_used() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.conv2.weight = self.conv1.weight
            self.fc = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.conv2(self.conv1(x).relu()).mean(dim=(2, 3)))

    network = Tied()
    chain = build_chain(
        backbone_from_module(network, input_size=4, mean=(0.5,) * 3, std=(0.5,) * 3),
        granularity="layer",
    )
    assert [unit.parameters for unit in chain.units] == [
        ("conv1.weight", "conv1.bias"),
        ("conv2.bias",),
    ]
    weight = nn.Parameter(torch.randn(3, 3, 1, 1))
    x = torch.randn(2, 3, 4, 4)
    values: tuple[Tensor, ...] = (x,)
    for stage in chain.stages:
        assert parameter_names(stage)
        values = clone_stage(stage, {"conv1.weight": weight})(*values)
    network.conv1.weight = network.conv2.weight = weight
    assert torch.equal(values[0], network(x))


def test_recurrent_layers_use_their_replaced_weights() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.rnn = nn.LSTM(4, 5, batch_first=True)
            self.fc = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            rows, _ = self.rnn(self.conv(x).flatten(2).transpose(1, 2))
            return self.fc(rows[:, -1])

    network = Recurrent()
    chain = build_chain(
        backbone_from_module(network, input_size=3, mean=(0.5,) * 3, std=(0.5,) * 3),
        granularity="layer",
    )
    unit = chain.unit("rnn")
    zeros = {
        name: nn.Parameter(torch.zeros_like(network.get_parameter(name)))
        for name in unit.parameters
    }
    values = chain.run((torch.randn(2, 3, 3, 3),), 0, unit.depth)
    cloned = clone_stage(chain.stages[unit.depth], zeros)(*values)
    assert cloned[0].abs().max() == 0
    assert chain.run(values, unit.depth, unit.depth + 1)[0].abs().max() > 0


def test_owners_are_the_modules_to_train() -> None:
    unit = CHAIN.units[0]
    assert owners(CHAIN.stages[0], unit.parameters) == ("conv1", "bn1")


def test_cloning_costs_no_copy_of_the_weights() -> None:
    clones = [clone_stage(stage, {}) for stage in CHAIN.stages]
    for clone, stage in zip(clones, CHAIN.stages, strict=True):
        shared = {tensor.data_ptr() for tensor in stage.state_dict().values()}
        assert {tensor.data_ptr() for tensor in clone.state_dict().values()} == shared
