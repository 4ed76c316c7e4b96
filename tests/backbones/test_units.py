"""Units: what they are in known networks, and what must hold in all."""

from collections.abc import Mapping
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import models

from layersearch.backbones import backbone_from_module, build_chain, find_units, load_backbone
from layersearch.backbones.survey import Survey, survey
from layersearch.backbones.units import discover
from layersearch.errors import SpaceError

NAMES = [
    "alexnet",
    "resnet18",
    "densenet121",
    "mobilenet_v2",
    "squeezenet1_1",
    "shufflenet_v2_x0_5",
]


@cache
def surveyed(name: str, size: int = 64) -> Survey:
    backbone = load_backbone(name, weights=None, input_size=size)
    return survey(backbone.network, input_size=(size, size), head=backbone.head, check_head=False)


def names(found: Survey, granularity: str = "block", **options: object) -> list[str]:
    return [unit.name for unit in discover(found, granularity=granularity, **options)]  # type: ignore[arg-type]  # passed on


@pytest.mark.parametrize("granularity", ["stage", "block", "layer"])
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_outside_the_head_is_in_exactly_one_unit(
    name: str, granularity: str
) -> None:
    found = surveyed(name)
    units = discover(found, granularity=granularity)
    members = [parameter for unit in units for parameter in unit.parameters]
    everything = {parameter for parameter, _ in found.network.named_parameters()}
    assert len(members) == len(set(members))
    assert set(members) == everything - found.head_parameters
    assert len({unit.name for unit in units}) == len(units)


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    granularity=st.sampled_from(["stage", "block", "layer"]),
    kinds=st.sets(st.sampled_from(["norm", "bias", "weight"]), min_size=1),
)
def test_kinds_split_units_without_overlap(name: str, granularity: str, kinds: set[str]) -> None:
    found = surveyed(name)
    absent = {"norm"} if name in ("alexnet", "squeezenet1_1") else {"bias"}  # of the norms' own
    if kinds == absent:
        with pytest.raises(SpaceError, match=f"no parameter of kind {absent.pop()}"):
            discover(found, granularity=granularity, kinds=sorted(kinds))
        return
    split = discover(found, granularity=granularity, kinds=sorted(kinds))
    whole = {unit.name: unit for unit in discover(found, granularity=granularity)}
    members = [parameter for unit in split for parameter in unit.parameters]
    assert len(members) == len(set(members))
    for unit in split:
        parent, _, kind = unit.name.rpartition(":")
        assert kind in kinds
        assert set(unit.parameters) <= set(whole[parent].parameters)
        assert bool(unit.buffers) <= (kind == "norm")
    if kinds == {"norm", "bias", "weight"}:
        assert set(members) == {p for unit in whole.values() for p in unit.parameters}


@pytest.mark.parametrize(("depth", "count"), [(20, 10), (56, 28)])
def test_cifar_resnets_have_a_stem_and_their_blocks(depth: int, count: int) -> None:
    found = surveyed(f"cifar_resnet{depth}", 32)
    blocks = [f"layer{s}.{b}" for s in (1, 2, 3) for b in range((depth - 2) // 6)]
    assert names(found) == ["stem", *blocks]
    assert len(blocks) + 1 == count
    assert names(found, "stage") == ["stem", "layer1", "layer2", "layer3"]


def test_resnet50_has_a_stem_and_sixteen_bottlenecks() -> None:
    found = surveyed("resnet50")
    rows = {1: 3, 2: 4, 3: 6, 4: 3}
    assert names(found) == ["stem", *(f"layer{s}.{b}" for s, n in rows.items() for b in range(n))]
    layers = names(found, "layer")
    assert len(layers) == 53
    assert layers[:3] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]


def test_vit_has_a_stem_its_encoder_blocks_and_the_last_norm() -> None:
    network = models.VisionTransformer(32, 8, 12, 2, 16, 32)
    units = {u.name: u for u in find_units(network, input_size=(32, 32))}
    blocks = [f"encoder.layers.encoder_layer_{index}" for index in range(12)]
    assert list(units) == ["stem", *blocks, "encoder.ln"]
    assert set(units["stem"].parameters) == {
        "conv_proj.weight",
        "conv_proj.bias",
        "class_token",
        "encoder.pos_embedding",
    }
    stages = [u.name for u in find_units(network, granularity="stage", input_size=(32, 32))]
    assert stages == ["stem", "encoder.layers", "encoder.ln"]


def test_networks_without_blocks_have_a_unit_for_each_layer_with_its_norm() -> None:
    network = models.vgg11_bn(init_weights=False, num_classes=3)
    units = find_units(network, input_size=(32, 32))
    assert units[0].parameters == tuple(
        f"features.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")
    )
    assert [unit.name for unit in units][-2:] == ["classifier.0", "classifier.3"]


def test_stages_within_one_container_are_runs_of_equal_output_shape() -> None:
    assert names(surveyed("mobilenet_v2"), "stage") == [
        "features.0",
        "features.1",
        "features.2-3",
        "features.4-6",
        "features.7-10",
        "features.11-13",
        "features.14-16",
        "features.17",
        "features.18",
    ]


def test_a_backbone_inside_a_module_is_looked_into() -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = models.resnet18()
            self.backbone.fc = nn.Identity()
            self.fc = nn.Linear(512, 3)

        def forward(self, x: object) -> object:
            return self.fc(self.backbone(x))

    found = [unit.name for unit in find_units(Wrapper(), input_size=(32, 32))]
    assert found[:3] == ["stem", "backbone.layer1.0", "backbone.layer1.1"]
    assert len(found) == 9


def test_units_carry_the_statistics_of_their_norms() -> None:
    (unit, *_) = discover(surveyed("resnet18"))
    assert unit.buffers == tuple(
        f"bn1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
    )


def test_completed_units_know_their_sizes(plain: nn.Module) -> None:
    chain = build_chain(backbone_from_module(plain, input_size=8, mean=(0.5,) * 3, std=(0.5,) * 3))
    first, second = chain.units
    assert (first.name, first.depth, first.numel) == ("conv1", 0, 4 * 27 + 4 + 8)
    assert first.multiply_adds == 8 * 8 * 4 * 27
    assert first.output_shape == (4, 8, 8)
    assert second.output_shape == (6,)  # what enters the head


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ({"late": ["layer4.*"]}, {"late": 8_393_728}),
        ({"late": ["layer4"], "first": ["conv1", "bn1"]}, {"first": 9_536, "late": 8_393_728}),
        ({"norms": ["*.bn?.*"]}, {"norms": 7_680}),
    ],
)
def test_patterns_name_units(
    patterns: Mapping[str, list[str]], expected: Mapping[str, int]
) -> None:
    found = surveyed("resnet18")
    units = discover(found, patterns=patterns)
    sizes = {
        unit.name: sum(found.network.get_parameter(name).numel() for name in unit.parameters)
        for unit in units
    }
    assert sizes == expected
    assert list(sizes) == list(expected)


def test_a_module_path_does_not_match_longer_names() -> None:
    units = discover(surveyed("cifar_resnet110", 32), patterns={"one": ["layer1.1"]})
    assert all(name.startswith("layer1.1.") for name in units[0].parameters)


def test_excluded_units_and_parameters_are_in_no_unit() -> None:
    found = surveyed("resnet18")
    assert "stem" not in names(found, exclude=["stem"])
    units = discover(found, exclude=["*.bn1", "layer2.*"])
    members = [name for unit in units for name in unit.parameters]
    assert not [name for name in members if ".bn1." in name or name.startswith("layer2.")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"granularity": "blocks"},
            "space.granularity: 'blocks' is unknown; did you mean 'block'?",
        ),
        ({"kinds": ["norms"]}, r"space.kinds\[0\]: 'norms' is unknown; did you mean 'norm'?"),
        ({"patterns": {"a": ["layer9"]}}, r"space.units.a\[0\]: 'layer9' matches .*'layer4"),
        ({"patterns": {"a": ["fc.*"]}}, r"space.units.a\[0\]: 'fc.\*' matches no parameter"),
        ({"patterns": {"a": ["layer1"], "b": ["layer1.0"]}}, "is both in 'a' and in 'b'"),
        ({"patterns": {"a": []}}, "space.units.a: has no patterns"),
        ({"exclude": ["layer9"]}, r"space.exclude\[0\]: 'layer9' matches .*'layer"),
        ({"exclude": ["*"]}, "no unit is left"),
    ],
)
def test_words_that_fit_nothing_are_refused_with_the_nearest(
    options: Mapping[str, object], message: str
) -> None:
    with pytest.raises(SpaceError, match=message):
        discover(surveyed("resnet18"), **options)  # type: ignore[arg-type]  # wrong on purpose
