import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Normalize, ToTensor

from layersearch.data import load_data, splits_from_dataset
from layersearch.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)


class Pictures(Dataset):
    """Counts how often each item is read."""

    def __init__(self, form="pil", targets=True, first=0, count=40):
        self.form, self.count, self.first = form, count, first
        self.read: list[int] = []
        if targets:
            self.targets = [index % 2 for index in range(count)]

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.read.append(index)
        pixels = PIXELS[self.first + index]
        forms = {
            "pil": lambda: Image.fromarray(pixels),
            "array": lambda: pixels,
            "tensor": lambda: torch.from_numpy(pixels).permute(2, 0, 1),
            "scaled": lambda: ToTensor()(pixels),
            "normalised": lambda: Normalize([0.5] * 3, [0.2] * 3)(ToTensor()(pixels)),
            "features": lambda: torch.from_numpy(pixels[0, :, 0]).double().sqrt(),
        }
        return forms[self.form](), torch.tensor(index % 2)


@pytest.mark.parametrize("form", ["pil", "array", "tensor", "scaled"])
def test_images_of_every_form_become_the_same_bytes(form):
    splits = splits_from_dataset(Pictures(form), train_samples=10, folds=2, seed=0)
    picked = [int(number) for number in splits.train.ids]
    assert torch.equal(splits.train.images, torch.from_numpy(PIXELS[picked]).permute(0, 3, 1, 2))
    assert splits.train.labels.tolist() == [index % 2 for index in picked]


@pytest.mark.parametrize("form", ["normalised", "features"])
def test_what_is_no_image_stays_as_it_is(form):
    data = Pictures(form)
    splits = splits_from_dataset(data, train_samples=10, folds=2, seed=0)
    picked = [int(number) for number in splits.train.ids]
    expected = torch.stack([data[index][0] for index in picked]).float()
    assert torch.equal(splits.train.images, expected)


def test_only_chosen_items_are_read_where_labels_are_known():
    data = Pictures()
    splits = splits_from_dataset(data, train_samples=10, folds=2, check=False, seed=0)
    assert set(data.read) <= {0, 39} | {int(number) for number in splits.train.ids}


def test_labels_are_read_from_items_where_they_are_not_known():
    known = splits_from_dataset(Pictures(), train_samples=10, folds=2, seed=0)
    found = splits_from_dataset(Pictures(targets=False), train_samples=10, folds=2, seed=0)
    assert found.describe() == known.describe()


def test_labels_that_disagree_with_the_items_are_not_believed():
    data = Pictures()
    data.targets = [1 - label for label in data.targets]
    splits = splits_from_dataset(data, train_samples=10, folds=2, seed=0)
    assert splits.train.labels.tolist() == [int(number) % 2 for number in splits.train.ids]


def test_a_test_dataset_is_sealed_with_the_same_preparation():
    splits = splits_from_dataset(Pictures(count=30), Pictures(first=30, count=10), folds=2)
    splits.test.unseal()
    assert torch.equal(
        splits.test.open("test").images, torch.from_numpy(PIXELS[30:]).permute(0, 3, 1, 2)
    )
    with pytest.raises(DataError, match="prepare both in the same way"):
        splits_from_dataset(Pictures(), Pictures("normalised", count=10), folds=2)


def test_images_of_different_sizes_are_brought_to_one():
    class Odd(Pictures):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image.resize((8 + index % 3, 9)), label

    splits = splits_from_dataset(Odd(), train_samples=10, folds=2, seed=0)
    assert splits.train.images.shape[1:] in {(3, 8, 8), (3, 9, 9)}
    splits = splits_from_dataset(Odd(), train_samples=10, folds=2, image_size=12, seed=0)
    assert splits.train.images.shape[1:] == (3, 12, 12)


def test_an_item_that_cannot_be_read_is_told_before_any_training():
    class Broken(Pictures):
        def __getitem__(self, index):
            if index == 17:
                raise OSError("disk error")
            return super().__getitem__(index)

    with pytest.raises(DataError, match=r"17 cannot be read .*disk error"):
        splits_from_dataset(Broken(), train_samples=10, folds=2, seed=0)


def test_what_is_no_dataset_is_refused():
    with pytest.raises(DataError, match="no Dataset"):
        splits_from_dataset(42, folds=2)

    class Bare(Pictures):
        def __getitem__(self, index):
            return super().__getitem__(index)[0]

    with pytest.raises(DataError, match="no pair"):
        splits_from_dataset(Bare("array", targets=False), train_samples=4, folds=2)


def test_an_image_folder_of_torchvision_is_read_file_by_file(make_folder):
    folder = make_folder()
    direct = load_data("folder", path=folder, folds=2, seed=0)
    wrapped = splits_from_dataset(
        ImageFolder(folder / "train"), ImageFolder(folder / "test"), folds=2, seed=0
    )
    assert wrapped.train.digest == direct.train.digest
    assert wrapped.classes == direct.classes
    assert all(name.endswith(".png") for name in wrapped.train.ids)


def test_the_transforms_of_an_image_folder_are_applied(make_folder):
    folder = make_folder()
    transform = Compose([ToTensor(), Normalize([0.5] * 3, [0.2] * 3)])
    splits = splits_from_dataset(
        ImageFolder(folder / "train", transform), train_samples=9, folds=2, seed=0
    )
    assert splits.train.images.is_floating_point()


FACTORIES = {
    "one_dataset": Pictures,
    "pair": lambda: (Pictures(count=30), Pictures(first=30, count=10)),
    "tensors": lambda: (torch.from_numpy(PIXELS), torch.arange(40) % 2),
    "four": lambda: (PIXELS[:30], np.arange(30) % 2, PIXELS[30:], np.arange(10) % 2),
    "mapping": lambda: {"x_train": PIXELS[:30], "y_train": np.arange(30) % 2},
    "sized": lambda count: Pictures(count=count),
    "nothing": lambda: None,
    "failing": lambda: 1 / 0,
}


@pytest.fixture
def factories(tmp_path, monkeypatch):
    import sys
    import types

    module = types.ModuleType("users_data")
    for name, factory in FACTORIES.items():
        setattr(module, name, factory)
    monkeypatch.setitem(sys.modules, "users_data", module)


@pytest.mark.parametrize("name", ["one_dataset", "pair", "tensors", "four", "mapping"])
def test_a_factory_returns_datasets_or_arrays(factories, name):
    splits = load_data(f"users_data:{name}", train_samples=10, folds=2, seed=0)
    assert splits.train.images.shape == (10, 3, 6, 5)


def test_a_factory_is_called_with_the_options(factories):
    splits = load_data("users_data:sized", options={"count": 16}, train_samples=10, seed=0)
    assert len(splits.test) == 6


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("users_data:nothing", "returned NoneType"),
        ("users_data:failing", "ZeroDivisionError"),
        ("users_data:paires", "did you mean 'pair'"),
        ("no_such_package:make", "cannot be imported"),
        ("foldr", "did you mean 'folder'"),
        ("folder", r"data\.path: is needed"),
    ],
)
def test_factories_and_sources_that_do_not_work_are_told(factories, source, words):
    with pytest.raises(DataError, match=words):
        load_data(source, train_samples=10, folds=2, seed=0)
