from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from layersearch.backbones import build_chain
from layersearch.serving import grouped as module
from layersearch.serving.forked import ForkedNetwork
from layersearch.serving.grouped import GroupedStage, faster_grouped
from tests.serving.branches import FAMILIES, assert_close, branches_of, family, grown, run_alone
from tests.serving.tuning import small_backbone


@pytest.fixture(scope="module")
def chain():
    return build_chain(small_backbone())


def images_for(chain, count):
    return torch.randn(count, *chain.input_shape, generator=torch.Generator().manual_seed(0))


def test_grouped_stages_compute_what_each_branch_computes_alone(chain):
    subsets = [["layer2.0"], ["layer2.0", "layer3.0"], ["layer3.0"], ["layer2.0"], []]
    branches = branches_of(chain, subsets)
    stages = [chain.unit(name).depth for name in ("layer2.0", "layer3.0")]
    network = ForkedNetwork(chain, grown(chain, branches), grouped=stages)
    for count in (1, 3):
        images = images_for(chain, count)
        scores = network(images)
        assert torch.equal(scores["original"], chain.network(images))
        for branch in branches:
            assert_close(scores[branch.name], run_alone(chain, branch, images))


def test_nothing_is_held_twice(chain):
    branches = grown(chain, branches_of(chain, [["layer2.0"]] * 3))
    stage = branches[0].fork
    before = sum(t.nbytes for b in branches for t in b.own[stage].state_dict().values())
    grouped = GroupedStage([branch.own[stage] for branch in branches], (0, 1, 2))
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for part in [*(branch.own[stage] for branch in branches), grouped]
        for tensor in [*part.parameters(), *part.buffers()]
    }
    assert sum(storages.values()) == before


@pytest.mark.parametrize("faster", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_chosen_by_measurement_is_right(monkeypatch, name, faster):
    monkeypatch.setattr(module, "_GAIN", 1e9 if faster else 0.0)
    monkeypatch.setattr(module, "_REPEATS", 1)
    chain = build_chain(family(name))
    block = [unit.name for unit in chain.units][1]
    branches = branches_of(chain, [[block], [block]])
    networks = grown(chain, branches)
    images = images_for(chain, 2)
    with torch.inference_mode():
        stages = faster_grouped(chain, networks, images)
    assert stages in ((), (networks[0].fork,))
    assert not (stages and not faster)
    scores = ForkedNetwork(chain, networks, grouped=stages)(images)
    for branch in branches:
        assert_close(scores[branch.name], run_alone(chain, branch, images))


def test_a_resnet_can_be_grouped(monkeypatch, chain):
    monkeypatch.setattr(module, "_GAIN", 1e9)
    networks = grown(chain, branches_of(chain, [["layer2.0"]] * 2))
    with torch.inference_mode():
        assert faster_grouped(chain, networks, images_for(chain, 2)) == (networks[0].fork,)
    assert faster_grouped(chain, networks[:1], images_for(chain, 2)) == ()


def test_threads_may_share_a_grouped_stage(chain):
    branches = branches_of(chain, [["layer2.0"]] * 3)
    network = ForkedNetwork(chain, grown(chain, branches), grouped=[chain.unit("layer2.0").depth])
    images = [images_for(chain, count) for count in (1, 2, 3, 100)]  # 100: too many to group
    expected = [network(batch) for batch in images]
    with ThreadPoolExecutor(max_workers=4) as threads:
        found = list(threads.map(network, images * 8))
    for scores, wanted in zip(found, expected * 8, strict=True):
        for name, values in wanted.items():
            assert_close(scores[name], values)
