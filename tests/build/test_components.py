import numpy as np

from layersearch.build.components import build_data
from layersearch.build.given import NOTHING_GIVEN, Given
from layersearch.config import config_from

BACKBONE = {"name": "layersearch/cifar_resnet14"}


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
