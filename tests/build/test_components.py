from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from layersearch.build.components import build_components, build_data
from layersearch.build.given import NOTHING_GIVEN, Given
from layersearch.config import config_from
from layersearch.errors import ObjectiveError

BACKBONE = {"name": "layersearch/cifar_resnet14"}
RESIZED_CROP = {"random_resized_crop": [0.2, 1.0]}


def test_what_the_winner_is_retrained_on_reaches_the_data() -> None:
    data = {"source": "digits", "train_samples": 100, "holdout": 20}
    beside = build_data(config_from({"backbone": BACKBONE, "data": data}), NOTHING_GIVEN)
    both = build_data(
        config_from({"backbone": BACKBONE, "data": {**data, "retrain_on": "all"}}), NOTHING_GIVEN
    )
    assert (len(beside.final_train), len(both.final_train)) == (100, 120)


def test_arrays_may_be_labelled_by_names_and_kept_at_another_size() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    names = np.array(["cat", "dog"])[np.arange(40) % 2]
    config = config_from(
        {"backbone": BACKBONE, "data": {"train_samples": 20, "folds": 2, "image_size": 12}},
        given=("data",),
    )
    splits = build_data(config, Given(data=(images, names)))
    assert splits.classes == ("cat", "dog")
    assert tuple(splits.train.images.shape) == (20, 3, 12, 12)


def test_a_metric_that_cannot_judge_the_classes_is_refused_before_any_training() -> None:
    config = config_from(
        {
            "backbone": BACKBONE,
            "data": {"source": "digits", "train_samples": 40, "folds": 2},
            "objective": {"metric": "f1"},
        }
    )
    with pytest.raises(
        ObjectiveError, match=r"objective\.metric: .f1. cannot score this: Target is multiclass"
    ):
        build_components(config, NOTHING_GIVEN)


def test_a_subset_to_try_first_may_lie_outside_the_bounds_but_not_over_a_limit() -> None:
    config = config_from(
        {
            "backbone": BACKBONE,
            "data": {"source": "digits", "train_samples": 40, "folds": 2},
            "space": {"max_units": 2},
            "objective": {"constraints": {"trainable_parameters": {"max": 100_000}}},
        }
    )
    space = build_components(config, NOTHING_GIVEN).space
    three_small = space.subset(["stem", "layer1.0", "layer1.1"])
    assert three_small not in space
    assert space.why_over(three_small) is None
    over = space.why_over(space.subset("full_finetune"))
    assert over is not None
    assert "trainable_parameters" in over


@pytest.mark.parametrize(
    ("changes", "side"),
    [
        ({}, 256),  # torchvision's: 256 resized to, 224 kept
        ({"backbone": {"centre": 1.0}}, 224),
        ({"backbone": {"input_size": 64}}, 73),
        ({"backbone": {"input_size": 64}, "recipe": {"augmentation": RESIZED_CROP}}, 256),
        ({"data": {"image_size": 40}}, 40),
    ],
)
def test_images_are_kept_as_large_as_the_backbone_needs(
    changes: dict[str, Any], side: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(6):
            pixels = rng.integers(0, 256, (300, 320, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    given = {
        "backbone": {"name": "squeezenet1_1", "weights": None},
        "data": {"source": "folder", "path": str(tmp_path), "train_samples": 6, "folds": 2},
        "objective": {"metric": "accuracy"},
    }
    config = config_from(
        {k: {**given.get(k, {}), **changes.get(k, {})} for k in {*given, *changes}}
    )
    parts = build_components(config, NOTHING_GIVEN)
    assert min(parts.materials.data.train.images.shape[-2:]) == side
    known = parts.fingerprint["backbone"]["preprocessing"]
    assert known["centre"] == parts.materials.backbone.preprocessing.centre
