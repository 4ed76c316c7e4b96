"""Chains of networks that are awkward to cut."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from layersearch.backbones import (
    Backbone,
    Chain,
    UncutBackboneWarning,
    UnitSpec,
    backbone_from_module,
    build_chain,
    clone_stage,
    cut,
    load_backbone,
    new_head,
)
from layersearch.errors import BackboneError, SpaceError


def wrapped(network: nn.Module, *, size: int = 8) -> Backbone:
    return backbone_from_module(network, input_size=size, mean=(0.5,) * 3, std=(0.5,) * 3)


def check_exact(chain: Chain, network: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        expected = network(x)
        values = (x,)
        for start in range(len(chain.stages)):
            copies = tuple(v.clone() if isinstance(v, Tensor) else v for v in values)
            assert torch.equal(chain.run(copies, start)[0], expected)
            values = chain.run(values, start, start + 1)


def test_a_real_checkpoint_of_resnet20_becomes_a_chain_of_ten_units(shared_data: Path) -> None:
    file = shared_data / "weights" / "resnet20-12fca82f.th"
    backbone = load_backbone("cifar_resnet20", weights=file)
    chain = build_chain(backbone)
    names = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2)]
    assert [unit.name for unit in chain.units] == ["stem", *names]
    assert (chain.head, chain.head_features, chain.head_kind) == ("linear", 64, "linear")
    assert all(chain.cacheable(k) for k in range(len(chain.stages)))
    check_exact(chain, backbone.network, torch.randn(7, 3, 32, 32))


def test_the_network_is_left_frozen_and_in_eval_mode_and_without_traces(plain: nn.Module) -> None:
    before = set(vars(plain))
    build_chain(wrapped(plain.train()))
    assert set(vars(plain)) == before
    assert not any(module.training for module in plain.modules())
    assert not any(parameter.requires_grad for parameter in plain.parameters())


def test_stages_name_and_share_the_parameters_of_the_network(plain: nn.Module) -> None:
    chain = build_chain(wrapped(plain))
    own = dict(plain.named_parameters())
    seen = {name: p for stage in chain.stages for name, p in stage.named_parameters()}
    assert seen.keys() == own.keys()
    assert all(seen[name] is own[name] for name in own)


def test_features_are_what_enters_the_head(plain: nn.Module, undecided: nn.Module) -> None:
    x = torch.randn(4, 3, 8, 8)
    with pytest.warns(UncutBackboneWarning):
        uncut = build_chain(wrapped(undecided))
    chain = build_chain(wrapped(plain))
    assert torch.equal(plain.get_submodule("fc")(chain.features(x)), plain(x))
    assert torch.equal(uncut.features(x), chain.features(x))


def test_a_network_with_control_flow_over_values_stays_whole_and_says_so(
    undecided: nn.Module,
) -> None:
    backbone = wrapped(undecided)
    with pytest.warns(UncutBackboneWarning, match="Undecided cannot be cut"):
        chain = build_chain(backbone)
    x = torch.randn(4, 3, 8, 8)
    assert not chain.traced
    assert [(unit.name, unit.depth) for unit in chain.units] == [("conv1", 0), ("conv2", 0)]
    assert torch.equal(chain(x), undecided(x))
    assert chain.multiply_adds == (8 * 8 * 4 * 27 + 3 * 3 * 6 * 36 + 6 * 5,)
    stage = clone_stage(chain.stages[0], {}, modules={chain.head: new_head(6, 2, seed=0)})
    assert stage(x)[0].shape == (4, 2)
    assert undecided(x).shape == (4, 5)


def test_control_flow_inside_a_block_keeps_the_block_whole_but_cuts_around_it() -> None:
    class Choosy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) if x.sum() > 0 else self.b(x)

    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), Choosy(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    chain = build_chain(wrapped(network))
    assert chain.traced
    assert [(unit.name, unit.depth) for unit in chain.units] == [("stem", 0), ("1", 1)]
    check_exact(chain, network, torch.randn(3, 3, 8, 8))
    assert chain.cacheable(1)


def test_a_cut_after_which_samples_depend_on_each_other_is_not_cacheable() -> None:
    class OverTheBatch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean(dim=0, keepdim=True)

    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), OverTheBatch(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 3)
    )
    chain = cut(network, [UnitSpec("2", ("2.weight", "2.bias"))], input_size=(8, 8))
    assert [chain.cacheable(k) for k in range(3)] == [True, True, False]
    check_exact(chain, network, torch.randn(3, 3, 8, 8))
    with pytest.raises(BackboneError, match="cut 2 cannot be stored"):
        chain.value_shapes(2)


def test_a_cut_is_moved_to_where_features_can_be_stored() -> None:
    """Between the last layer and the next, statistics of the batch come after the cut."""

    class Centred(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean(dim=0, keepdim=True)

    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), Centred(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 3)
    )
    chain = build_chain(wrapped(network))
    assert chain.cacheable(1)


def test_stages_do_not_change_what_they_are_given_in_place() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv1(x)
            shortcut = x
            x = self.conv2(x)
            shortcut += x
            return self.fc(torch.relu_(shortcut).mean(dim=(2, 3)))

    network = InPlace()
    chain = build_chain(wrapped(network), granularity="layer")
    x = torch.randn(3, 3, 8, 8)
    (values,) = chain.run((x,), 0, 1)
    before = values.clone()
    chain.run((values,), 1)
    assert torch.equal(values, before)
    check_exact(chain, network, x)


def test_the_batch_size_of_stored_values_is_that_of_the_batch_at_hand() -> None:
    class Tokens(nn.Module):
        """Reads the batch size at the start and uses it after every cut; windows as in Swin."""

        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, 4, 2, stride=2)
            self.token = nn.Parameter(torch.randn(1, 1, 4))
            self.mix = nn.Linear(4, 4)
            self.last = nn.Linear(4, 4)
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            batch, _, height, _ = x.shape
            rows = self.embed(x).flatten(2).transpose(1, 2)  # (B, 16, 4)
            windows = self.mix(rows.reshape(batch * 4, 4, 4))  # 4 windows a sample
            windows = self.last(windows.relu()).reshape(batch, 16, 4)
            tokens = torch.cat([self.token.expand(batch, -1, -1), windows], dim=1)
            return self.fc(tokens.mean(dim=1) * height)

    network = Tokens()
    chain = build_chain(wrapped(network), granularity="layer")
    assert chain.value_shapes(2)[0].shape == (4, 4, 4)  # 4 windows of 4 tokens of a sample
    x = torch.randn(5, 3, 8, 8)
    check_exact(chain, network, x)
    for start in range(len(chain.stages)):
        assert chain.cacheable(start)
        values = chain.run((x,), 0, start)
        picked = tuple(value[[4, 1]] for value in values)
        torch.testing.assert_close(chain.run(picked, start)[0], network(x[[4, 1]]))
    with pytest.raises(BackboneError, match="made for images"):
        chain(torch.randn(2, 3, 6, 6))


def test_sequences_with_the_batch_in_the_second_place_cross_with_samples_first() -> None:
    class LengthFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(3, 4)
            self.mix = nn.Linear(4, 4)
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.embed(x.flatten(2).permute(2, 0, 1))  # (length, B, 4)
            return self.fc(self.mix(tokens.relu()).mean(dim=0))

    network = LengthFirst()
    chain = build_chain(wrapped(network, size=4))
    assert chain.value_shapes(1)[0].shape == (16, 4)
    x = torch.randn(3, 3, 4, 4)
    assert chain.run((x,), 0, 1)[0].shape == (3, 16, 4)
    check_exact(chain, network, x)


def test_parameters_that_several_stages_use_are_no_data_at_the_cut() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(4))
            self.conv1, self.conv2 = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            bias = self.table.exp().reshape(1, 4, 1, 1)
            x = self.conv1(x) + bias
            x = self.conv2(x) + bias
            return self.fc(x.mean(dim=(2, 3)))

    network = Table()
    chain = build_chain(wrapped(network), granularity="layer")
    assert len(chain.value_shapes(1)) == 1
    users = [k for k, s in enumerate(chain.stages) if "table" in dict(s.named_parameters())]
    assert users == [0, 1]
    check_exact(chain, network, torch.randn(3, 3, 8, 8))


def test_a_stack_of_pytorch_encoder_layers_is_cut_between_them() -> None:
    class Encoded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 4, stride=4)
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 3, norm=nn.LayerNorm(8))
            self.fc = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.embed(x).flatten(2).transpose(1, 2)
            return self.fc(self.encoder(tokens).mean(dim=1))

    network = Encoded()
    chain = build_chain(wrapped(network))
    layers = [f"encoder.layers.{index}" for index in range(3)]
    assert [unit.name for unit in chain.units] == ["stem", *layers, "encoder.norm"]
    attention = 4 * 8 * 4 * 8 + 2 * 4 * 4 * 8  # projections; scores and their use
    assert chain.multiply_adds[1] == attention + 2 * 4 * 8 * 16
    check_exact(chain, network, torch.randn(3, 3, 8, 8))


def test_a_trace_that_lies_is_not_used() -> None:
    class Counting(nn.Module):
        """Behaves in another way whenever it sees fx's stand-in for a tensor."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            x = x * 3 if isinstance(x, Tensor) else x * 2
            return self.fc(x.mean(dim=(2, 3)))

    network = Counting()
    backbone = wrapped(network)
    with pytest.warns(UncutBackboneWarning, match="other scores"):
        chain = build_chain(backbone)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(chain(x), network(x))


def test_arguments_with_defaults_after_the_images_are_left_at_them() -> None:
    class Optional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 2.0) -> Tensor:
            x = self.conv(x) * scale
            if mask is not None:
                x = x * mask
            return self.fc(x.mean(dim=(2, 3)))

    network = Optional()
    chain = build_chain(wrapped(network))
    assert chain.traced
    check_exact(chain, network, torch.randn(2, 3, 8, 8))


def test_multiply_adds_are_those_of_one_sample(plain: nn.Module) -> None:
    chain = build_chain(wrapped(plain))
    assert chain.multiply_adds == (8 * 8 * 4 * 27, 3 * 3 * 6 * 36, 6 * 5)


def test_units_of_the_callers_own_are_cut_at_their_first_use(plain: nn.Module) -> None:
    late = UnitSpec("late", ("bn2.weight", "conv1.bias"))
    chain = cut(plain, [late, UnitSpec("conv2", ("conv2.weight",))], input_size=(8, 8))
    assert [(unit.name, unit.depth) for unit in chain.units] == [("late", 0), ("conv2", 1)]
    assert chain.unit("late").numel == 10
    with pytest.raises(SpaceError, match=r"'conv9\.weight'"):
        cut(plain, [UnitSpec("x", ("conv9.weight",))], input_size=(8, 8))


def test_a_chain_moves_to_another_type_of_device_whole(plain: nn.Module) -> None:
    chain = build_chain(wrapped(plain)).to("meta")
    assert {p.device.type for stage in chain.stages for p in stage.parameters()} == {"meta"}
    assert {b.device.type for stage in chain.stages for b in stage.buffers()} == {"meta"}


def test_a_network_that_gives_no_class_scores_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(BackboneError, match="not class scores"):
        wrapped(network)


def test_images_that_the_network_cannot_take_are_named(plain: nn.Module) -> None:
    with pytest.raises(BackboneError, match=r"does not run on images of shape \(2, 1, 8, 8\)"):
        backbone_from_module(plain, input_size=8, mean=(0.5,), std=(0.5,))
