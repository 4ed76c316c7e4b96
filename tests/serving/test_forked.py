import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from layersearch.backbones import UncutBackboneWarning, backbone_from_module, build_chain
from layersearch.errors import TaskError
from layersearch.serving.blocks import rows_at_once
from layersearch.serving.branch import Branch, BranchNetwork, random_branch
from layersearch.serving.forked import ForkedNetwork
from layersearch.space.subset import Subset
from tests.serving.branches import FAMILIES, assert_close, branches_of, family, grown, run_alone
from tests.serving.tuning import small_backbone


@pytest.fixture(scope="module")
def chain():
    return build_chain(small_backbone())


@pytest.fixture(scope="module", params=FAMILIES)
def family_chain(request):
    return build_chain(family(request.param))


def names(chain):
    return [unit.name for unit in chain.units]


def images_for(chain, count, *, seed=0):
    return torch.randn(count, *chain.input_shape, generator=torch.Generator().manual_seed(seed))


def assert_right(chain, branches, images, *, rows=None):
    network = ForkedNetwork(chain, grown(chain, branches), rows=rows)
    scores = network(images)
    assert list(scores) == ["original", *(branch.name for branch in branches)]
    assert torch.equal(scores["original"], chain.network(images))
    for branch in branches:
        assert_close(scores[branch.name], run_alone(chain, branch, images))


@given(data=st.data())
@settings(max_examples=30)
def test_any_branches_in_any_blocks_compute_what_they_compute_alone(chain, data):
    subset = st.lists(st.sampled_from(names(chain)), max_size=3)
    subsets = data.draw(st.lists(subset, max_size=5))
    stages = len(chain.stages)
    most = st.one_of(st.none(), st.integers(1, 12))
    rows = data.draw(st.none() | st.lists(most, min_size=stages, max_size=stages))
    images = images_for(chain, data.draw(st.integers(1, 5)))
    branches = branches_of(chain, subsets, siamese=data.draw(st.booleans()))
    assert_right(chain, branches, images, rows=rows)


@given(data=st.data())
@settings(max_examples=3)
def test_it_holds_for_every_family(family_chain, data):
    chain = family_chain
    subset = st.lists(st.sampled_from(names(chain)), max_size=2)
    subsets = data.draw(st.lists(subset, min_size=2, max_size=3))
    free = rows_at_once(chain, torch.device("cpu"))
    assert None not in free
    rows = data.draw(st.sampled_from([None, [2] * len(free)]))
    assert_right(chain, branches_of(chain, subsets), images_for(chain, 3), rows=rows)


def test_units_finer_than_a_block_fork_at_their_layer():
    chain = build_chain(small_backbone(), granularity="layer", kinds=["norm", "weight"])
    subsets = [[names(chain)[-1]], [names(chain)[2], names(chain)[5]]]
    assert_right(chain, branches_of(chain, subsets), images_for(chain, 3))


def test_no_images_give_no_scores(chain):
    scores = ForkedNetwork(chain, grown(chain, branches_of(chain, [[], ["stem"]])))(
        images_for(chain, 0)
    )
    assert {name: tuple(s.shape) for name, s in scores.items()} == {
        "original": (0, 5),
        "task 0": (0, 2),
        "task 1": (0, 3),
    }


@pytest.mark.parametrize("siamese", [False, True])
def test_the_trunk_is_run_once_and_frozen_layers_take_all_branches_at_once(chain, siamese):
    network = ForkedNetwork(
        chain, grown(chain, branches_of(chain, [["layer2.0"]] * 4, siamese=siamese))
    )
    seen = {}
    handles = [
        chain.network.get_submodule(path).register_forward_hook(
            lambda _, args, __, path=path: seen.setdefault(path, []).append(len(args[0]))
        )
        for path in ("conv1", "layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1")
    ]
    network(images_for(chain, 3))
    for handle in handles:
        handle.remove()
    assert seen == {
        "conv1": [3],
        "layer1.0.conv1": [3],
        "layer2.0.conv1": [3],  # the original's; the branches have their own
        "layer3.0.conv1": [3, 12],
    }


def test_a_branch_copies_what_is_tuned_and_shares_the_rest(chain):
    (branch,) = branches_of(chain, [["layer2.0"]])
    network = BranchNetwork(chain, branch)
    theirs = {t.data_ptr() for t in chain.network.state_dict().values()}
    own = {t.data_ptr(): t for t in network.state_dict().values() if t.data_ptr() not in theirs}
    wanted = [*branch.tuned.values(), *branch.head.state_dict().values()]
    assert sum(t.nbytes for t in own.values()) == sum(t.nbytes for t in wanted)
    assert network.tuned_bytes == sum(t.nbytes for t in wanted)
    assert network.fork == chain.unit("layer2.0").depth


def test_values_are_dropped_after_their_last_use(chain):
    alive = []

    class Watched(torch.nn.Module):
        def __init__(self, stage):
            super().__init__()
            self.stage = stage

        def forward(self, *values):
            alive.append(sum(ref() is not None for ref in made))
            result = self.stage(*values)
            made.extend(weakref.ref(value) for value in result)
            return result

    made = []
    branches = grown(chain, branches_of(chain, [["stem"]] * 6))
    for branch in branches:
        branch.own = {stage: Watched(module) for stage, module in branch.own.items()}
    ForkedNetwork(chain, branches, rows=[None] * len(chain.stages))(images_for(chain, 2))
    gc.collect()
    assert len(alive) == 12
    assert max(alive) <= 6  # the scores, and never two branches' values at once


def test_it_stays_in_eval_mode(chain):
    network = ForkedNetwork(chain, grown(chain, branches_of(chain, [["stem"]])))
    network.train()
    assert not any(module.training for module in network.modules())


def test_blocks_fit_the_processor(chain):
    rows = rows_at_once(chain, torch.device("cpu"))
    assert all(most is not None and most.bit_count() == 1 for most in rows)
    large = rows_at_once(chain, torch.device("cuda"))
    assert all(a >= b for a, b in zip(large, rows, strict=True))


def test_values_that_mix_samples_are_never_divided():
    class Mixing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Conv2d(3, 4, 3)
            self.b = torch.nn.Conv2d(4, 4, 3)
            self.fc = torch.nn.Linear(4, 5)

        def forward(self, x):
            x = self.a(x)
            x = self.b(x - x.mean(0, keepdim=True))
            return self.fc(x.mean((2, 3)))

    backbone = backbone_from_module(Mixing(), input_size=8, mean=(0.5,) * 3, std=(0.5,) * 3)
    chain = build_chain(backbone, granularity="layer")
    subsets = [[name] for name in names(chain)] * 2
    assert_right(chain, branches_of(chain, subsets), images_for(chain, 3))


def test_a_network_that_cannot_be_traced_is_served_whole():
    class Branching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Conv2d(3, 4, 3)
            self.fc = torch.nn.Linear(4, 5)

        def forward(self, x):
            x = self.body(x)
            if x.sum() > 1e9:
                x = -x
            return self.fc(x.mean((2, 3)))

    backbone = backbone_from_module(Branching(), input_size=8, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.warns(UncutBackboneWarning):
        chain = build_chain(backbone)
    subsets = [[], names(chain)[:1], names(chain)]
    assert_right(chain, branches_of(chain, subsets), images_for(chain, 3))
    with pytest.raises(TaskError, match="its head is Siamese, and Branching cannot be cut"):
        BranchNetwork(chain, random_branch(chain, Subset(), siamese=True))


def test_what_does_not_fit_is_refused(chain):
    head = torch.nn.Linear(16, 2)
    for tuned, reason in [
        ({"layer9.weight": torch.zeros(2)}, "no parameter or buffer 'layer9.weight'"),
        ({"conv1.weight": torch.zeros(2)}, r"'conv1.weight' has shape \(2,\)"),
    ]:
        with pytest.raises(TaskError, match=reason):
            BranchNetwork(chain, Branch(tuned=tuned, head=head, name="flowers"))
    with pytest.raises(TaskError, match="no unit 'layer9'"):
        random_branch(chain, Subset(["layer9"]))


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", ["resnet", "swin"])
def test_it_is_moved_and_converted_with_its_backbone(name, grouped):
    chain = build_chain(family(name))
    block = names(chain)[1]
    branches = branches_of(chain, [[block], [block], []])
    stages = [chain.unit(block).depth] if grouped and name == "resnet" else []
    network = ForkedNetwork(chain, grown(chain, branches), grouped=stages)
    before = network(images_for(chain, 2))
    network.to(torch.float64)
    after = network(images_for(chain, 2).double())
    assert torch.equal(after["original"], chain.network(images_for(chain, 2).double()))
    for branch, scores in before.items():
        assert after[branch].dtype == torch.float64
        assert_close(after[branch].float(), scores)
