"""The last comparison: same seeds for everybody, means and standard errors over them."""

import math
import statistics
from collections.abc import Callable

import pytest
import torch

from layersearch.data import DataSplits
from layersearch.space import Subset
from layersearch.space.trial import WorkerPlace
from layersearch.subtuning import (
    Contender,
    Materials,
    Recipe,
    Verdict,
    contenders,
    feature_store,
    judge,
    open_workplace,
)

Make = Callable[..., Materials]


@pytest.fixture
def verdict_of(materials: Make) -> Callable[[Contender, int], Verdict]:
    """Judges a contender on the test split of the small task."""
    made = materials()
    place = open_workplace(made, WorkerPlace(number=0, threads=1))
    test = _open(made.data)

    def judged(contender: Contender, seeds: int) -> Verdict:
        return judge(
            place,
            contender,
            samples=made.data.final_train,
            test=feature_store(
                made, place.chain, test[0], device=place.device, precision="fp32", part="test"
            ),
            test_labels=test[1],
            objective=made.objective,
            seeds=seeds,
            seed=0,
        )

    return judged


def _open(data: DataSplits) -> tuple[torch.Tensor, torch.Tensor]:
    data.test.unseal()
    samples = data.test.open("a test of the last comparison")
    return samples.images, samples.labels


def test_scores_every_seed_and_gives_mean_and_standard_error(
    verdict_of: Callable[[Contender, int], Verdict],
) -> None:
    recipe = Recipe(epochs=2, batch_size=10, precision="fp32")
    verdict = verdict_of(Contender(name="chosen", subset=Subset(["layer1.0"]), recipe=recipe), 3)
    assert len(verdict.scores) == 3
    assert verdict.mean == pytest.approx(statistics.fmean(verdict.scores))
    assert verdict.stderr == pytest.approx(statistics.stdev(verdict.scores) / math.sqrt(3))
    assert all(logits.shape == (30, 3) for logits in verdict.logits)
    assert {n for n in verdict.tuned if not n.startswith(("layer1.0.", "head."))} == set()


def test_one_seed_has_no_standard_error(
    verdict_of: Callable[[Contender, int], Verdict],
) -> None:
    recipe = Recipe(epochs=1, batch_size=10, precision="fp32")
    assert math.isnan(
        verdict_of(Contender(name="linear_probe", subset=Subset(), recipe=recipe), 1).stderr
    )


def test_equal_contenders_get_equal_scores(
    verdict_of: Callable[[Contender, int], Verdict],
) -> None:
    recipe = Recipe(epochs=1, batch_size=10, precision="fp32")
    first, second = (
        verdict_of(Contender(name=name, subset=Subset(["stem"]), recipe=recipe), 2)
        for name in ("chosen", "baseline")
    )
    assert first.scores == second.scores


def test_baselines_differ_from_the_chosen_subset_as_their_names_say() -> None:
    everything = Subset(["a", "b"])
    field = contenders(Subset(["b"]), Recipe(lr=0.5), everything=everything)
    assert [contender.name for contender in field] == [
        "chosen",
        "linear_probe",
        "full_finetune",
        "lp_ft",
    ]
    chosen, probe, full, lp_ft = field
    assert (chosen.subset, probe.subset) == (Subset(["b"]), Subset())
    assert full.subset == lp_ft.subset == everything
    assert (full.recipe.head.start, lp_ft.recipe.head.start) == ("random", "linear_probe")
    assert {contender.recipe.lr for contender in field} == {0.5}
