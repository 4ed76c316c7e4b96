import shutil

import numpy as np
import pytest
import torch

from layersearch.data import load_data, splits_from_tensors
from layersearch.errors import DataError


def images(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 6, 6), dtype=torch.uint8, generator=generator)


def labels(count: int) -> torch.Tensor:
    return torch.arange(count) % 2


def test_copies_of_training_files_in_the_test_split_are_refused_by_name(make_folder):
    folder = make_folder()
    shutil.copy(folder / "train" / "cat" / "3.png", folder / "test" / "cat" / "other.png")
    with pytest.raises(DataError) as caught:
        load_data("folder", path=folder, folds=2, seed=0)
    text = str(caught.value)
    assert "1 of 19 test samples" in text
    assert "test/cat/other.png (as train/cat/3.png)" in text
    assert "overlap: drop" in text


def test_copies_can_be_left_out_of_the_test_split(make_folder):
    folder = make_folder()
    shutil.copy(folder / "train" / "cat" / "3.png", folder / "test" / "cat" / "other.png")
    splits = load_data("folder", path=folder, folds=2, overlap="drop", seed=0)
    assert len(splits.test) == 18
    assert "left out of the test split: test/cat/other.png" in splits.notes[0]
    splits.test.unseal()
    assert "test/cat/other.png" not in splits.test.open("test").ids


def test_a_test_split_of_copies_alone_is_refused_whatever_is_asked(make_folder):
    folder = make_folder()
    shutil.rmtree(folder / "test")
    shutil.copytree(folder / "train", folder / "test")
    for overlap in ("refuse", "drop"):
        with pytest.raises(DataError, match="18"):
            load_data("folder", path=folder, folds=2, overlap=overlap, seed=0)


def test_copies_among_tensors_are_found():
    x, x_test = images(20), images(10, seed=1)
    x_test[4] = x[7]
    with pytest.raises(DataError, match=r"test/4 \(as train/7\)"):
        splits_from_tensors(x, labels(20), x_test, labels(10), folds=2)


def test_copies_within_one_pool_are_kept_out_of_the_test_split():
    x = images(20)
    x[10:] = x[:10]
    splits = splits_from_tensors(x, labels(20), train_samples=10, folds=2)
    splits.test.unseal()
    trained = {image.numpy().tobytes() for image in splits.train.images}
    assert not any(i.numpy().tobytes() in trained for i in splits.test.open("test").images)
    assert splits.notes


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_truncated_image_of_either_split_is_refused_by_name(make_folder, split):
    folder = make_folder(ending="jpg", size=(40, 40))
    victim = folder / split / "dog" / "2.jpg"
    victim.write_bytes(victim.read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"{split}/dog/2\.jpg: .*truncated"):
        load_data("folder", path=folder, folds=2, seed=0)


def test_images_of_different_sizes_share_a_canvas(make_folder):
    folder = make_folder(size=(12, 10))
    for file in (folder / "train" / "cat").iterdir():
        shutil.copy(make_folder("larger", size=(20, 30)) / "train" / "cat" / file.name, file)
    splits = load_data("folder", path=folder, folds=2, seed=0)
    assert splits.train.images.shape[1:] == (3, 10, 10)
    splits.test.unseal()
    assert splits.test.open("test").images.shape[1:] == (3, 10, 10)
    assert load_data("folder", path=folder, folds=2, image_size=16, seed=0).train.images.shape[
        1:
    ] == (3, 16, 16)


def test_one_pool_can_be_divided_by_the_size_of_the_test_split():
    splits = splits_from_tensors(images(50), labels(50), test_samples=20, folds=3)
    assert (len(splits.train), len(splits.test)) == (30, 20)


def test_a_test_split_can_be_sampled():
    splits = splits_from_tensors(
        images(20), labels(20), images(40, seed=1), labels(40), test_samples=10, folds=2
    )
    splits.test.unseal()
    assert splits.test.open("test").labels.bincount().tolist() == [5, 5]


def test_the_holdout_of_one_pool_is_no_part_of_the_test_split():
    splits = splits_from_tensors(images(60), labels(60), train_samples=20, holdout=10)
    (fold,) = splits.folds
    assert (len(fold.train), len(fold.validation), len(splits.test)) == (20, 10, 30)
    assert torch.equal(splits.final_train, fold.train)
    splits.test.unseal()
    assert not set(splits.train.ids) & set(splits.test.open("test").ids)


def test_the_same_seed_gives_the_same_splits_and_another_others():
    first, again, other = (
        splits_from_tensors(images(60), labels(60), train_samples=20, folds=4, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first.describe() == again.describe()
    assert first.train.ids == again.train.ids
    assert first.describe()["train"] != other.describe()["train"]


def test_folds_index_the_training_samples():
    splits = splits_from_tensors(images(60), labels(60), train_samples=20, folds=4)
    for number, fold in enumerate(splits.folds):
        assert fold.number == number
        assert fold.train.dtype == torch.int64
        together = torch.cat((fold.train, fold.validation)).sort().values
        assert torch.equal(together, torch.arange(20))
        assert torch.equal(fold.train, fold.train.sort().values)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "say how many to train on"),
        ({"train_samples": 60}, "leave none of class '0'.*to test on"),
        ({"train_samples": 20, "test_samples": 50}, "50 asked for, but there are 40"),
        ({"test_samples": 59}, "from 2 to 58"),
        ({"train_samples": 20, "test_samples": 0}, "at least 1"),
        ({"train_samples": 20, "image_size": 0}, "at least 1"),
        ({"train_samples": 20, "overlap": "dorp"}, "did you mean 'drop'"),
        ({"train_samples": 20, "retrain_on": "al"}, "did you mean 'all'"),
        ({"train_samples": 20, "holdout": "givn"}, "did you mean 'given'"),
    ],
)
def test_impossible_wishes_are_refused(options, words):
    with pytest.raises(DataError, match=words):
        splits_from_tensors(images(60), labels(60), **options)


def test_workers_may_skip_the_checks_and_get_the_same_samples(make_folder):
    folder = make_folder()
    checked, trusted = (
        load_data("folder", path=folder, folds=2, check=check, seed=0) for check in (True, False)
    )
    assert checked.describe() == trusted.describe()


def test_a_published_benchmark_may_lack_samples_of_a_class(make_folder):
    folder = make_folder("pets", splits=("images",), count=9)
    names = [f"images/{kind}/{n}.png" for n in range(9) for kind in ("cat", "dog", "owl")]
    lines = np.array([f"{name} {index % 3}" for index, name in enumerate(names)])
    keep = np.arange(18) % 3 != 2  # no owl to train on
    (folder / "train800val200.txt").write_text("\n".join(lines[:18][keep]))
    (folder / "test.txt").write_text("\n".join(lines[18:]))
    splits = load_data("vtab", path=folder, folds=3, seed=0)
    assert len(splits.classes) == 3
    assert splits.notes == ("class '2' has no sample to train on",)
