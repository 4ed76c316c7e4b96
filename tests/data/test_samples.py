import json

import pytest
import torch

from layersearch.data import Samples, splits_from_tensors
from layersearch.errors import DataError


def some(count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.arange(count * 48, dtype=torch.int64).remainder(251).byte()
    return images.view(count, 3, 4, 4), torch.arange(count) % 3


def test_numbers_of_images_labels_and_ids_must_agree():
    images, labels = some()
    with pytest.raises(DataError, match=r"\(12, 12, 2\)"):
        Samples(images, labels, ("a", "b"), ("x", "y", "z"))


def test_selecting_keeps_order_and_classes():
    images, labels = some()
    samples = Samples(images, labels, tuple("abcdefghijkl"), ("x", "y", "z"))
    picked = samples.select(torch.tensor([5, 1]))
    assert picked.ids == ("f", "b")
    assert torch.equal(picked.images, images[[5, 1]])
    assert picked.labels.tolist() == [2, 1]
    assert picked.classes == ("x", "y", "z")


def test_the_digest_follows_images_and_labels():
    images, labels = some()
    ids, classes = tuple("abcdefghijkl"), ("x", "y", "z")
    digest = Samples(images, labels, ids, classes).digest
    assert Samples(images.clone(), labels.clone(), ids, classes).digest == digest
    changed = images.clone()
    changed[3, 1, 2, 2] += 1
    assert Samples(changed, labels, ids, classes).digest != digest
    assert Samples(images, labels.flip(0), ids, classes).digest != digest


def test_the_description_is_json_and_tells_data_seeds_and_folds_apart():
    images, labels = some()
    x_test, y_test = 255 - images, labels

    def describe(**options):
        return splits_from_tensors(images, labels, x_test, y_test, **options).describe()

    base = describe(folds=2, seed=0)
    assert json.loads(json.dumps(base)) == base
    assert describe(folds=2, seed=0) == base
    assert describe(folds=2, seed=1)["folds"] != base["folds"]
    assert describe(folds=2, seed=1)["train"] == base["train"]
    assert describe(folds=3, seed=0)["folds"] != base["folds"]
    assert describe(folds=2, seed=0, test_samples=6)["test"] != base["test"]
    assert base["train"]["count"] == 12
    assert base["classes"] == ["0", "1", "2"]
