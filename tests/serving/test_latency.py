import pytest
import torch
from torch import nn

from layersearch.backbones import backbone_from_module, build_chain, load_backbone
from layersearch.objectives.latency import LatencyTable
from layersearch.serving.latency import architecture_key, measure_latency, unit_stages
from layersearch.serving.timing import Lap


@pytest.fixture(scope="module")
def chain():
    return build_chain(load_backbone("cifar_resnet14", weights=None, input_size=8))


class CountingTimer:
    """Every lap takes one millisecond."""

    def __init__(self):
        self.marks = 0

    def mark(self):
        self.marks += 1

    def take(self):
        laps, self.marks = [Lap(1.0)] * max(0, self.marks - 1), 0
        return laps


def measured(chain, **settings):
    defaults = {"repeats": 3, "warm_up": 0, "held_out": 2}
    return measure_latency(chain, backbone="little", classes=3, **{**defaults, **settings})


def test_each_stage_is_timed_alone_frozen_and_tuned(chain):
    table = measured(chain, timer=CountingTimer())
    assert len(table.stages) == len(chain.stages)
    assert {s.alone.median for s in table.stages} == {1.0}
    assert all(s.frozen.median == s.tuned.median == s.joined.median == 1.0 for s in table.stages)
    assert table.stages[0].alone.repeats == 3


def test_what_forking_takes_is_found_from_whole_networks(chain):
    # A whole forked network is one lap like the original: it adds nothing, which is noise.
    table = measured(chain, timer=CountingTimer())
    assert (table.overhead, table.factor) == (0.0, 0.8)
    assert table.original.median == 1.0
    assert [held.measured for held in table.held_out] == [0.0, 0.0]


def test_held_out_subsets_went_into_nothing_and_say_how_wrong_the_table_is(chain):
    table = measured(chain, held_out=4)
    subsets = [held.subset for held in table.held_out]
    assert len(set(subsets)) == 4
    assert () not in subsets
    for held in table.held_out:
        assert held.predicted == table.predict(held.subset)
    assert table.error.subsets == 4


def test_a_table_says_what_it_is_of(chain):
    before = torch.get_num_threads()
    table = measured(chain, batch_size=3, threads=1, held_out=0)
    assert (table.backbone, table.batch_size, table.threads) == ("little", 3, 1)
    assert table.device.startswith("cpu (")
    assert table.torch == torch.__version__
    assert table.error is None
    assert table.architecture == architecture_key(chain)
    assert torch.get_num_threads() == before
    assert LatencyTable.from_json(table.to_json()) == table


def test_tuning_earlier_units_adds_more(chain):
    table = measured(chain, held_out=0)
    first, last = chain.units[0].name, chain.units[-1].name
    assert table.predict([first]) > table.predict([last]) > 0


def test_a_batch_in_several_blocks_is_one_measurement_a_run(chain, monkeypatch):
    monkeypatch.setattr(
        "layersearch.serving.latency.rows_at_once", lambda chain, _: [1] * len(chain.stages)
    )
    table = measured(chain, batch_size=4, timer=CountingTimer(), held_out=0)
    assert {s.tuned.median for s in table.stages} == {4.0}
    assert {s.alone.median for s in table.stages} == {1.0}


def test_other_precisions_are_served_by_autocast(chain):
    assert measured(chain, precision="bf16", held_out=0).precision == "bf16"


class Sorting(nn.Module):
    """Branches on its input, which cannot be traced."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(12, 8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.first(x.flatten(1))
        return self.fc(x if x.sum() > 0 else -x)


@pytest.mark.filterwarnings("ignore:.*Sorting")
def test_a_network_that_is_not_cut_pays_for_a_second_whole_one_whatever_is_tuned():
    backbone = backbone_from_module(Sorting(), input_size=(2, 2), mean=(0.0,) * 3, std=(1.0,) * 3)
    uncut = build_chain(backbone, granularity="layer")
    table = measured(uncut, held_out=0)
    assert not table.traced
    assert len(table.stages) == 1
    assert table.predict([]) == table.predict([uncut.units[0].name]) > 0


def test_units_know_the_stages_that_they_are_part_of(chain):
    places = unit_stages(chain)
    assert {name: at[0] for name, at in places.items()} == {u.name: u.depth for u in chain.units}
    norms = build_chain(
        load_backbone("cifar_resnet14", weights=None, input_size=8),
        patterns={"norms": ["*.bn1.*", "bn1.*"], "layer3": ["layer3.0.conv*"]},
    )
    assert len(unit_stages(norms)["norms"]) > 1


def test_networks_of_other_shapes_have_other_keys(chain):
    same = build_chain(load_backbone("cifar_resnet14", weights=None, input_size=8))
    finer = build_chain(
        load_backbone("cifar_resnet14", weights=None, input_size=8), granularity="stage"
    )
    wider = build_chain(load_backbone("cifar_resnet14", weights=None, input_size=16))
    assert architecture_key(same) == architecture_key(chain)
    assert len({architecture_key(c) for c in (chain, finer, wider)}) == 3


def test_the_chain_stays_as_it_is(chain):
    before = {name: value.clone() for name, value in chain.network.state_dict().items()}
    measured(chain, held_out=1)
    after = chain.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
