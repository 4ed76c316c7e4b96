"""What a worker sets up."""

import pickle
from collections.abc import Callable

import cloudpickle
import pytest
import torch

from layersearch.backbones import build_chain
from layersearch.space import Subset
from layersearch.space.trial import Proposal, WorkerPlace
from layersearch.subtuning import Materials, job, open_workplace
from layersearch.subtuning.features import FeatureStore

Make = Callable[..., Materials]


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the backbones that workers cut."""
    names: list[str] = []

    def counted(backbone, **units):
        names.append(backbone.name)
        return build_chain(backbone, **units)

    monkeypatch.setattr(job, "build_chain", counted)
    return names


def test_a_backbone_that_was_cut_in_this_process_is_not_cut_again(
    materials: Make, cuts: list[str]
) -> None:
    plain = materials()
    chain = build_chain(plain.backbone, **plain.units)
    place = WorkerPlace(number=0, threads=1)
    shared = open_workplace(materials(chain=chain), place)
    assert shared.chain is chain
    assert cuts == []
    own = open_workplace(plain, place)
    assert cuts == [plain.backbone.name]
    samples = torch.arange(20)
    for cut in range(len(chain.stages)):
        for mine, other in zip(
            shared.features.values(cut, samples, -1),
            own.features.values(cut, samples, -1),
            strict=True,
        ):
            assert torch.equal(mine, other)


def test_a_chain_of_another_network_is_not_used(materials: Make, cuts: list[str]) -> None:
    plain = materials()
    chain = build_chain(plain.backbone, **plain.units)
    elsewhere = pickle.loads(pickle.dumps(plain.backbone))
    open_workplace(materials(chain=chain, backbone=elsewhere), WorkerPlace(number=0, threads=1))
    assert cuts == [plain.backbone.name]


def test_a_chain_does_not_travel_to_other_processes(materials: Make) -> None:
    plain = materials()
    made = materials(chain=build_chain(plain.backbone, **plain.units))
    assert cloudpickle.loads(cloudpickle.dumps(made)).chain is None
    assert made.chain is not None


def test_features_that_memory_does_not_take_at_once_are_left_to_trials(
    materials: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = WorkerPlace(number=0, threads=1)
    proposal = Proposal(number=0, subset=Subset())
    expected = job.SubtuningJob(materials(), place)(proposal, lambda _report: None)

    def too_much(*_arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(FeatureStore, "prefetch", too_much)
    made = job.SubtuningJob(materials(), place)
    assert made(proposal, lambda _report: None).values == expected.values


def test_other_errors_of_features_end_the_worker(
    materials: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(FeatureStore, "prefetch", broken)
    with pytest.raises(RuntimeError, match="no such kernel"):
        job.SubtuningJob(materials(), WorkerPlace(number=0, threads=1))
