"""Trials: comparable with one another, reproducible, and silent about the test split."""

from collections.abc import Callable

import pytest
import torch

from layersearch.backbones import UncutBackboneWarning, backbone_from_module
from layersearch.data import Augmentation
from layersearch.errors import SealedError, TrialStopped
from layersearch.objectives import Outcome, make_objective
from layersearch.space import Subset
from layersearch.space.trial import Proposal, Report, WorkerPlace, unpack_correct
from layersearch.subtuning import (
    Budget,
    JobFactory,
    Materials,
    SubtuningJob,
    open_workplace,
    subtune,
)
from layersearch.subtuning.training import shuffled, starting_head

Make = Callable[..., Materials]
PLACE = WorkerPlace(number=0, threads=1)


def _run(materials: Materials, names: list[str], reports: list[Report] | None = None) -> Outcome:
    return subtune(
        open_workplace(materials, PLACE),
        Subset(names),
        materials.data,
        materials.recipe,
        (lambda report: None) if reports is None else reports.append,
        objective=materials.objective,
        seed=materials.seed,
    )


def test_reports_every_epoch_of_every_fold_in_order(materials: Make) -> None:
    reports: list[Report] = []
    outcome = _run(materials(), ["layer2.1"], reports)
    assert [(r.fold, r.epoch, r.step) for r in reports] == [
        (fold, epoch, 2 * fold + epoch) for fold in range(3) for epoch in range(2)
    ]
    assert [r.epochs_done for r in reports] == [1, 2, 3, 4, 5, 6]
    assert {r.epochs_total for r in reports} == {6}
    assert outcome.curves == tuple(
        tuple(r.score for r in reports if r.fold == fold) for fold in range(3)
    )


def test_validates_as_rarely_as_the_recipe_says_but_always_at_the_end(materials: Make) -> None:
    reports: list[Report] = []
    rare = _run(materials(recipe={"epochs": 5, "validate_every": 2}), ["layer2.1"], reports)
    assert [r.epoch for r in reports if r.fold == 0] == [1, 3, 4]
    often = _run(materials(recipe={"epochs": 5}), ["layer2.1"])
    assert rare.logits.equal(often.logits)
    assert rare.costs["flops"] < often.costs["flops"]


def test_pools_one_prediction_of_every_training_sample_under_k_fold(materials: Make) -> None:
    outcome = _run(materials(), ["layer2.1"])
    data = materials().data
    assert outcome.samples.tolist() == list(range(60))
    assert outcome.targets.equal(data.train.labels)
    assert outcome.logits.shape == (60, 3)
    for fold in data.folds:
        mine = outcome.folds == fold.number
        assert mine.nonzero().flatten().equal(fold.validation)
        accuracy = (outcome.predictions[mine] == outcome.targets[mine]).double().mean().item()
        assert outcome.fold_scores[fold.number] == pytest.approx(accuracy)


def test_learns_the_task_where_the_linear_probe_cannot_fully(materials: Make) -> None:
    thorough = materials(recipe={"epochs": 12, "lr": 3e-3})
    probe = sum(_run(thorough, []).fold_scores) / 3
    tuned = sum(_run(thorough, ["stem", "layer1.0", "layer1.1"]).fold_scores) / 3
    assert tuned > 0.85
    assert tuned > probe


@pytest.mark.parametrize("names", [[], ["layer1.1"], ["stem", "layer2.0"]])
def test_the_same_seed_gives_the_same_numbers(materials: Make, names: list[str]) -> None:
    augmented = materials(augmentation=Augmentation(crop=2, flip=True), views=None)
    first, second = _run(augmented, names), _run(augmented, names)
    assert first.curves == second.curves
    assert first.logits.equal(second.logits)


def test_another_seed_gives_other_numbers(materials: Make) -> None:
    assert not _run(materials(), ["stem"]).logits.equal(_run(materials(seed=8), ["stem"]).logits)


def test_a_cache_changes_no_number(materials: Make) -> None:
    cached = _run(materials(), ["layer2.0"])
    nothing = Budget(device_bytes=0, host_bytes=0, disk_bytes=0)
    computed = _run(materials(cache=nothing), ["layer2.0"])
    torch.testing.assert_close(cached.logits, computed.logits, rtol=1e-4, atol=1e-4)


def test_batches_and_head_do_not_depend_on_the_subset(materials: Make) -> None:
    plain = materials(recipe={"head": materials().recipe.head})
    workplace = open_workplace(plain, PLACE)
    samples = plain.data.folds[0].train
    heads = [
        starting_head(workplace, samples, plain.recipe.head, seed=4).state_dict() for _ in range(2)
    ]
    assert all(heads[0][name].equal(heads[1][name]) for name in heads[0])
    orders = [torch.cat(list(shuffled(samples, 10, seed=4))) for _ in range(2)]
    assert orders[0].equal(orders[1])
    assert sorted(orders[0].tolist()) == samples.tolist()


def test_a_batch_of_one_sample_is_never_left_over() -> None:
    batches = list(shuffled(torch.arange(21), 10, seed=0))
    assert [len(batch) for batch in batches] == [10, 11]


def test_a_stop_passes_through_and_names_its_reason(materials: Make) -> None:
    def stop(report: Report) -> None:
        if report.step == 1:
            raise TrialStopped("pruned at epoch 1")

    made = materials()
    with pytest.raises(TrialStopped, match="pruned at epoch 1"):
        subtune(
            open_workplace(made, PLACE),
            Subset(["stem"]),
            made.data,
            made.recipe,
            stop,
            objective=made.objective,
            seed=0,
        )


def test_the_job_tells_costs_and_which_samples_were_right(materials: Make) -> None:
    made = materials()
    result = SubtuningJob(made, PLACE)(
        Proposal(number=0, subset=Subset(["layer2.1"])), lambda report: None
    )
    assert result.correct is not None
    right = unpack_correct(result.correct, result.count)
    assert result.values[0] == pytest.approx(right.mean())
    assert result.costs["epochs"] == 6
    assert result.costs["trainings"] == 3
    assert result.costs["flops"] > 0
    unit = next(u for u in open_workplace(made, PLACE).chain.units if u.name == "layer2.1")
    assert result.costs["trainable_parameters"] == unit.numel


def test_deeper_cuts_cost_fewer_operations(materials: Make) -> None:
    early = _run(materials(), ["stem"]).costs["flops"]
    late = _run(materials(), ["layer2.1"]).costs["flops"]
    assert _run(materials(), []).costs["flops"] < late < early


def test_a_proposal_can_change_recipe_numbers(materials: Make) -> None:
    job = SubtuningJob(materials(), PLACE)
    subset = Subset(["layer2.1"])
    plain = job(Proposal(number=0, subset=subset), lambda report: None)
    longer = job(Proposal(number=1, subset=subset, recipe={"epochs": 3}), lambda report: None)
    assert (plain.costs["epochs"], longer.costs["epochs"]) == (6, 9)


def test_a_custom_metric_sees_the_whole_outcome(materials: Make) -> None:
    seen: list[Outcome] = []

    def own(outcome: Outcome) -> float:
        seen.append(outcome)
        return -float((outcome.predictions != outcome.targets).sum())

    job = SubtuningJob(materials(objective=make_objective(own)), PLACE)
    result = job(Proposal(number=0, subset=Subset(["layer2.1"])), lambda report: None)
    assert result.values[0] == -float((seen[-1].predictions != seen[-1].targets).sum())
    assert seen[-1].subset == Subset(["layer2.1"])
    assert len(seen[-1].sample_ids) == 60


def test_a_worker_cannot_open_the_test_split(materials: Make) -> None:
    import cloudpickle

    travelled = cloudpickle.loads(cloudpickle.dumps(JobFactory(materials()))).materials
    with pytest.raises(SealedError):
        travelled.data.test.unseal()
    with pytest.raises(SealedError):
        travelled.data.test.open("curiosity")


class _Branching(torch.nn.Module):
    """Cannot be traced: what it does depends on its data."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.second = torch.nn.Conv2d(8, 8, 3, stride=2)
        self.fc = torch.nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        if x.sum() > 0:
            x = self.second(x).relu()
        return self.fc(x.mean(dim=(2, 3)))


def test_a_network_that_cannot_be_cut_is_searched_all_the_same(materials: Make) -> None:
    torch.manual_seed(0)
    whole = backbone_from_module(
        _Branching(), input_size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3
    )
    made = materials(backbone=whole, recipe={"epochs": 6, "lr": 0.01})
    with pytest.warns(UncutBackboneWarning):
        job = SubtuningJob(made, PLACE)
    names = [unit.name for unit in job.workplace.chain.units]
    assert not job.workplace.chain.traced
    scores = {
        tuple(subset): job(Proposal(number=0, subset=Subset(subset)), lambda report: None).values[0]
        for subset in ([], names)
    }
    assert scores[tuple(names)] >= scores[()] > 1 / 3


def test_the_end_of_a_fold_says_which_samples_were_right_so_far(materials: Make) -> None:
    made, reports = materials(), list[Report]()
    outcome = _run(made, ["layer2.1"], reports)
    ends = [r for r in reports if r.epoch == made.recipe.epochs - 1]
    assert [r.so_far is None for r in ends] == [False, False, True]  # nothing comes after the last
    assert all(r.so_far is None for r in reports if r not in ends)
    right = made.objective.correct(outcome.logits, outcome.targets)
    assert right is not None
    for fold, report in enumerate(ends[:-1]):
        assert report.so_far is not None
        known = unpack_correct(report.so_far.known, report.so_far.count)
        assert (known == (outcome.folds <= fold).numpy()).all()
        correct = unpack_correct(report.so_far.correct, report.so_far.count)
        assert (correct == (known & right)).all()


def test_a_resumed_trial_says_the_same_of_the_folds_that_follow(materials: Make) -> None:
    made, whole, resumed = materials(), list[Report](), list[Report]()
    snapshots = list[bytes]()

    def keep(report: Report) -> None:
        whole.append(report)
        if report.fold == 0 and report.snapshot is not None:
            snapshots.append(report.snapshot())

    arguments = (open_workplace(made, PLACE), Subset(["layer2.1"]), made.data, made.recipe)
    subtune(*arguments, keep, objective=made.objective, seed=made.seed)
    subtune(
        *arguments,
        resumed.append,
        objective=made.objective,
        seed=made.seed,
        snapshot=snapshots[-1],
    )
    assert [r.so_far for r in resumed if r.fold == 1] == [r.so_far for r in whole if r.fold == 1]


def test_a_metric_that_is_no_share_of_samples_says_nothing_so_far(materials: Make) -> None:
    reports: list[Report] = []
    _run(materials(objective=make_objective("macro_f1")), ["layer2.1"], reports)
    assert all(report.so_far is None for report in reports)
