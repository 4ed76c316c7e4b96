import struct

import numpy as np
import pytest
import torchvision.datasets

from layersearch.data import load_data
from layersearch.errors import DataError


def write_mnist(
    root, count: int = 40, *, name: str = "MNIST", parts: tuple[str, str] = ("train", "t10k")
) -> None:
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    for seed, part in enumerate(parts):
        pixels = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        head = bytes((0, 0, 8, 3)) + struct.pack(">3I", count, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        labels = np.arange(count, dtype=np.uint8) % 10
        head = bytes((0, 0, 8, 1)) + struct.pack(">I", count)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


@pytest.mark.parametrize("name", ["MNIST", "mnist"])
def test_a_data_set_divided_by_train_is_read_by_name(tmp_path, name):
    write_mnist(tmp_path)
    splits = load_data(
        "torchvision", name=name, path=tmp_path, download=False, train_samples=20, folds=2, seed=0
    )
    assert splits.train.images.shape == (20, 3, 28, 28)
    assert len(splits.test) == 40
    assert splits.classes[3] == "3 - three"
    assert splits.train.ids[0].startswith("train/")


def test_arguments_handed_to_a_base_class_are_found_too(tmp_path):
    write_mnist(tmp_path, name="EMNIST", parts=("emnist-digits-train", "emnist-digits-test"))
    splits = load_data(
        "torchvision",
        name="EMNIST",
        path=tmp_path,
        options={"split": "digits"},
        download=False,
        folds=2,
        seed=0,
    )
    assert (len(splits.train), len(splits.test)) == (40, 40)


def test_options_can_choose_one_part_as_the_pool(tmp_path):
    write_mnist(tmp_path)
    splits = load_data(
        "torchvision",
        name="MNIST",
        path=tmp_path,
        options={"train": False},
        train_samples=20,
        folds=2,
        seed=0,
    )
    assert len(splits.test) == 20


class Split(torchvision.datasets.VisionDataset):
    """Divides itself as Flowers102 does."""

    known = ("train", "val", "test")

    def __init__(self, root, split="train", transform=None, target_transform=None, download=False):
        super().__init__(root)
        if split not in self.known:
            raise ValueError(f"Unknown value '{split}' for argument split.")
        seed = self.known.index(split)
        self.pixels = np.random.default_rng(seed).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
        self._labels = [index % 2 for index in range(20)]

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return self.pixels[index], self._labels[index]


class TwoSplits(Split):
    known = ("trainval", "test")


class NoTest(Split):
    known = ("train", "val")


class Strange(Split):
    known = ("extra",)


@pytest.fixture
def split_sets(monkeypatch):
    for entry in (Split, TwoSplits, NoTest, Strange):
        monkeypatch.setattr(torchvision.datasets, entry.__name__, entry, raising=False)
    names = ("Split", "TwoSplits", "NoTest", "Strange")
    monkeypatch.setattr(torchvision.datasets, "__all__", (*torchvision.datasets.__all__, *names))


def test_the_validation_split_of_a_data_set_is_its_holdout(split_sets, tmp_path):
    splits = load_data("torchvision", name="Split", path=tmp_path, seed=0)
    (fold,) = splits.folds
    assert {splits.train.ids[i].split("/")[0] for i in fold.validation} == {"val"}
    assert {splits.train.ids[i].split("/")[0] for i in fold.train} == {"train"}
    folded = load_data("torchvision", name="Split", path=tmp_path, folds=4, seed=0)
    assert [len(fold.validation) for fold in folded.folds] == [10] * 4


@pytest.mark.parametrize("name", ["TwoSplits", "NoTest"])
def test_names_of_splits_are_found_out(split_sets, tmp_path, name):
    splits = load_data("torchvision", name=name, path=tmp_path, folds=2, seed=0)
    assert (len(splits.train), len(splits.test)) == (20, 20)


def test_a_split_that_cannot_be_guessed_is_asked_for(split_sets, tmp_path):
    with pytest.raises(DataError, match="say which split"):
        load_data("torchvision", name="Strange", path=tmp_path, folds=2, seed=0)
    splits = load_data(
        "torchvision", name="Strange", path=tmp_path, options={"split": "extra"},
        train_samples=10, folds=2, seed=0,
    )  # fmt: skip
    assert len(splits.test) == 10


def test_a_data_set_without_splits_is_one_pool(tmp_path):
    options = {"size": 60, "image_size": [3, 8, 8], "num_classes": 3}
    splits = load_data(
        "torchvision", name="FakeData", options=options, train_samples=12, folds=2, seed=0
    )
    assert (len(splits.train), len(splits.test)) == (12, 48)
    assert splits.train.images.shape == (12, 3, 8, 8)


def test_a_download_that_fails_is_one_error_with_the_remedy(tmp_path, monkeypatch):
    # Port 9 of this machine: refused at once, with a network or without.
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")
    with pytest.raises(DataError) as caught:
        load_data("torchvision", name="CIFAR10", path=tmp_path / "sets", folds=2, seed=0)
    text = str(caught.value)
    assert "CIFAR10 could not be fetched" in text
    assert str(tmp_path / "sets") in text
    assert "network" in text
    assert "\n" not in text


def test_files_that_are_absent_are_told_where_downloading_is_off(tmp_path):
    with pytest.raises(DataError, match=r"CIFAR10 is not there, complete.*allow download"):
        load_data("torchvision", name="CIFAR10", path=tmp_path, download=False, seed=0)


def test_unknown_names_and_options_are_told(tmp_path):
    with pytest.raises(DataError, match="did you mean 'CIFAR100'"):
        load_data("torchvision", name="cifar1000", path=tmp_path, seed=0)
    with pytest.raises(DataError, match=r"data\.name: must be"):
        load_data("torchvision", path=tmp_path, seed=0)
    with pytest.raises(DataError, match=r"data\.options: FakeData does not take"):
        load_data("torchvision", name="FakeData", options={"colour": 3}, seed=0)
