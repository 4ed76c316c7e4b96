"""A trial that is interrupted and resumed gives what it would have given undisturbed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from layersearch.backbones import backbone_from_module
from layersearch.data import Augmentation
from layersearch.errors import SnapshotError, TrialStopped
from layersearch.objectives import Outcome
from layersearch.space import Subset
from layersearch.space.trial import Report, WorkerPlace
from layersearch.subtuning import HeadRecipe, Materials, open_workplace, subtune

Make = Callable[..., Materials]
PLACE = WorkerPlace(number=0, threads=1)
SUBSET = ("layer1.1", "layer2.0")


def _run(
    materials: Materials,
    report: Callable[[Report], None] = lambda report: None,
    *,
    subset: tuple[str, ...] = SUBSET,
    **options: Any,
) -> Outcome:
    """Runs a trial in a workplace of its own: nothing is left in it from an earlier run."""
    return subtune(
        open_workplace(materials, PLACE),
        Subset(subset),
        materials.data,
        materials.recipe,
        report,
        objective=materials.objective,
        seed=materials.seed,
        **options,
    )


def _interrupted(materials: Materials, step: int, **options: Any) -> bytes:
    """The state of a trial that was stopped at its report of `step`."""
    kept: list[bytes] = []

    def report(said: Report) -> None:
        if said.step == step:
            assert said.snapshot is not None
            kept.append(said.snapshot())
            raise TrialStopped("interrupted", pruned=False)

    with pytest.raises(TrialStopped):
        _run(materials, report, **options)
    return kept[0]


def _states(materials: Materials, **options: Any) -> tuple[Outcome, list[bytes]]:
    """What a trial gives that nothing disturbs, and its states after each report."""
    kept: list[bytes] = []

    def report(said: Report) -> None:
        assert said.snapshot is not None
        kept.append(said.snapshot())

    return _run(materials, report, **options), kept


def _same(one: Outcome, other: Outcome) -> bool:
    costs = ("epochs", "trainings", "flops")
    return (
        one.curves == other.curves
        and one.fold_scores == other.fold_scores
        and one.logits.equal(other.logits)
        and one.samples.equal(other.samples)
        and all(one.costs[name] == other.costs[name] for name in costs)
    )


class Dropping(nn.Module):
    """Two blocks with dropout and LayerNorm beside BatchNorm, 16 x 16 images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.one = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.3))
        self.two = nn.Sequential(nn.Flatten(), nn.LayerNorm(512), nn.Linear(512, 16), nn.Dropout())
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.one(self.stem(x)).relu()).relu())


RECIPES: dict[str, dict[str, Any]] = {
    "AdamW, cosine, BatchNorm in train mode": {"norms": "train"},
    "SGD with momentum, steps": {
        "optimizer": "sgd", "momentum": 0.9, "schedule": "step", "step_epochs": 1, "norms": "eval",
    },
    "warm-up, clipping, smoothing, a deep random head": {
        "warmup_epochs": 1.5, "clip_norm": 0.5, "label_smoothing": 0.1,
        "head": HeadRecipe(depth=2, start="random"),
    },
    "units started at random": {"start": "random"},
    "bf16": {"precision": "bf16"},
    "images laid out channels last": {"channels_last": True},
}  # fmt: skip


def test_resumes_to_the_bit_after_any_epoch_of_any_fold(materials: Make) -> None:
    augmented = materials(
        augmentation=Augmentation(crop=2, flip=True), views=None, recipe={"epochs": 3}
    )
    undisturbed, states = _states(augmented)
    assert len(states) == 9
    for state in states:
        assert _same(_run(augmented, snapshot=state), undisturbed)


def test_a_snapshot_disturbs_nothing(materials: Make) -> None:
    undisturbed, _ = _states(materials())
    assert _same(_run(materials()), undisturbed)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_resumes_to_the_bit_under_any_recipe(materials: Make, recipe: dict[str, Any]) -> None:
    made = materials(recipe={"epochs": 3, **recipe})
    undisturbed, states = _states(made)
    for step in (4, 7):
        assert _same(_run(made, snapshot=states[step]), undisturbed)


def test_resumes_to_the_bit_with_dropout(materials: Make) -> None:
    torch.manual_seed(0)
    network = Dropping().eval()
    made = replace(
        materials(recipe={"epochs": 3}),
        backbone=backbone_from_module(
            network, input_size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3
        ),
        units={"patterns": {"one": ["one.*"], "two": ["two.*"]}},
    )
    undisturbed, states = _states(made, subset=("one", "two"))
    for step in (0, 4, 7):
        again = _run(made, subset=("one", "two"), snapshot=states[step])
        assert _same(again, undisturbed)
    other = _run(replace(made, seed=8), subset=("one", "two"))
    assert not _same(other, undisturbed)


@pytest.mark.parametrize("subset", [(), ("stem", "layer1.0", "layer1.1", "layer2.0", "layer2.1")])
def test_resumes_with_nothing_and_with_everything_tuned(
    materials: Make, subset: tuple[str, ...]
) -> None:
    undisturbed, states = _states(materials(), subset=subset)
    for state in (states[0], states[4]):
        assert _same(_run(materials(), subset=subset, snapshot=state), undisturbed)


def test_resumes_as_often_as_it_is_interrupted(materials: Make) -> None:
    made = materials()
    state: bytes | None = None
    for step in range(6):
        state = _interrupted(made, step, snapshot=state)
    assert _same(_run(made, snapshot=state), _run(made))


def test_resumes_where_validations_are_rare(materials: Make) -> None:
    made = materials(recipe={"epochs": 5, "validate_every": 2})
    undisturbed, states = _states(made)
    assert _same(_run(made, snapshot=states[4]), undisturbed)


def test_says_again_what_was_said_and_marks_it(materials: Make) -> None:
    made = materials()
    first: list[Report] = []
    state = _interrupted(made, 3)
    _run(made, first.append)
    again: list[Report] = []
    _run(made, again.append, snapshot=state)
    assert [replace(said, replayed=False) for said in again] == first
    assert [said.replayed for said in again] == [True] * 4 + [False] * 2
    assert again[0].snapshot is not None
    assert again[0].snapshot() == state  # one that is stopped while it repeats loses nothing


def test_a_resumed_fold_needs_no_other_head_than_its_own(
    materials: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = materials()
    state = _interrupted(made, 4)  # in the last fold

    def fit(*_: Any) -> None:
        raise AssertionError("a head was fitted")

    monkeypatch.setattr("layersearch.subtuning.head.HeadFitter.fit", fit)
    _run(made, snapshot=state)


def test_the_random_numbers_of_the_caller_are_left_alone(materials: Make) -> None:
    made = materials()
    state = _interrupted(made, 1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    _run(made, snapshot=state)
    assert torch.rand(3).equal(expected)


@pytest.mark.parametrize(
    "change", [{"subset": ("stem",)}, {"recipe": {"lr": 0.5}}, {"seed": 8}], ids=str
)
def test_refuses_the_state_of_another_trial(materials: Make, change: dict[str, Any]) -> None:
    state = _interrupted(materials(), 1)
    subset = change.pop("subset", SUBSET)
    reports: list[Report] = []
    with pytest.raises(SnapshotError, match="another trial"):
        _run(materials(**change), reports.append, subset=subset, snapshot=state)
    assert not reports


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_refuses_half_a_state(materials: Make, cut: int) -> None:
    state = _interrupted(materials(), 1)
    with pytest.raises(SnapshotError, match="no snapshot"):
        _run(materials(), snapshot=state[:cut])


def test_refuses_what_is_no_state(materials: Make) -> None:
    for content in (
        b"\x80\x04pickle",
        b"\0" * 64,
        b"\x02\0\0\0\0\0\0\0{}",
        b"\x04\0\0\0\0\0\0\0null",
    ):
        with pytest.raises(SnapshotError, match="no snapshot"):
            _run(materials(), snapshot=content)


# --- Batches in parts -----------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_batches_in_parts_train_the_same(materials: Make, optimizer: str) -> None:
    made = materials(recipe={"norms": "eval", "optimizer": optimizer, "label_smoothing": 0.1})
    whole, parts = _run(made), _run(made, batch_parts=4)
    torch.testing.assert_close(parts.logits, whole.logits, rtol=1e-3, atol=1e-3)


def test_no_more_samples_than_a_part_pass_at_a_time(
    materials: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = nn.Module.__call__

    def watched(self: nn.Module, *values: Any) -> Any:
        if type(self).__name__ == "TunedNetwork":
            seen.append(len(values[0]))
        return forward(self, *values)

    monkeypatch.setattr(nn.Module, "__call__", watched)
    _run(materials(), batch_parts=4)  # batches of 10, folds of 40 and 20 samples
    assert set(seen) <= {2, 3, 4}  # no part of a single sample: BatchNorm needs two


def test_a_trial_in_parts_resumes_to_the_bit(materials: Make) -> None:
    made = materials()
    undisturbed, states = _states(made, batch_parts=2)
    assert _same(_run(made, snapshot=states[2], batch_parts=2), undisturbed)
