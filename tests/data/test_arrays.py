import gzip
import struct

import numpy as np
import pytest
import torch

from layersearch.data import load_data, splits_from_tensors
from layersearch.data.arrays import as_labels, as_samples, read_digits, read_idx
from layersearch.errors import DataError


def grey(count: int = 20, size: tuple[int, int] = (5, 4)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *size), dtype=np.uint8)


def arrays(count: int = 20):
    x = grey(2 * count)
    y = np.arange(2 * count) % 2
    return {"x_train": x[:count], "y_train": y[:count], "x_test": x[count:], "y_test": y[count:]}


@pytest.mark.parametrize(
    "x",
    [
        grey(),
        torch.from_numpy(grey()),
        grey()[:, None],
        grey()[..., None],
        grey().astype(np.int64),
        grey().repeat(3, 0).reshape(20, 3, 5, 4),
        grey().repeat(3, 2).reshape(20, 5, 4, 3),
        (torch.from_numpy(grey()).float() / 255).unsqueeze(1),
    ],
)
def test_images_of_every_layout_become_three_channels_of_bytes(x):
    images, are_images = as_samples(x, where="x")
    assert are_images
    assert images.dtype == torch.uint8
    assert images.shape == (20, 3, 5, 4)
    assert images.is_contiguous()


def test_grey_values_are_kept():
    images, _ = as_samples(grey(), where="x")
    for channel in range(3):
        assert np.array_equal(images[:, channel].numpy(), grey())
    scaled, _ = as_samples((torch.from_numpy(grey()).float() / 255).unsqueeze(1), where="x")
    assert torch.equal(scaled, images)


def test_floating_point_features_are_taken_as_they_are():
    x = torch.randn(20, 7, dtype=torch.float64)
    splits = splits_from_tensors(x, torch.arange(20) % 2, train_samples=12, folds=2)
    assert splits.train.images.dtype == torch.float32
    picked = torch.tensor([int(number) for number in splits.train.ids])
    assert torch.equal(splits.train.images, x[picked].float())


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.arange(5), "one sample a row"),
        (np.full((4, 8, 8), 256), r"\[0, 255\]"),
        (np.full((4, 8, 8), -1), r"\[0, 255\]"),
        (np.zeros((4, 9), dtype=np.uint8), "features must be floating-point"),
        (np.zeros((4, 7, 8, 9), dtype=np.uint8), "1, 3 or 4 channels"),
        (np.array([[1.0, np.nan]]), "NaN"),
        (np.array([["a", "b"]]), "array of numbers"),
    ],
)
def test_arrays_that_are_no_samples_are_refused(x, words):
    with pytest.raises(DataError, match=words):
        as_samples(x, where="x")


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0, 1, -1], r"y\[2\].*from 0 up \(-1\)"),
        ([0.0, np.nan, 1.0], r"y\[1\].*nan"),
        ([0.0, 0.5, np.inf], r"y\[1\].*\(0.5\); 2 of 3"),
        (np.eye(3), r"argmax\(1\)"),
        (np.array([0, None]), "whole numbers or names"),
        (None, "missing"),
    ],
)
def test_labels_that_are_no_classes_are_refused(y, words):
    with pytest.raises(DataError, match=words):
        as_labels(y, classes=None, where="y")


def test_labels_outside_the_given_classes_are_refused():
    with pytest.raises(DataError, match=r"from 0 to 1 \(2\)"):
        as_labels([0, 1, 2], classes=["a", "b"], where="y")
    with pytest.raises(DataError, match="'c' is none of"):
        as_labels(["a", "c"], classes=["a", "b"], where="y")


def test_labels_may_be_names_a_column_or_whole_floats():
    labels, names = as_labels(np.array(["dog", "cat", "dog"]), classes=None, where="y")
    assert (labels.tolist(), names) == ([1, 0, 1], ("cat", "dog"))
    assert as_labels(np.array([[1], [0]]), classes=None, where="y")[0].tolist() == [1, 0]
    assert as_labels(torch.tensor([1.0, 0.0]), classes=None, where="y")[0].tolist() == [1, 0]


def test_a_gap_in_the_labels_is_an_empty_class():
    with pytest.raises(DataError, match="class '1' has no sample"):
        splits_from_tensors(grey(), np.arange(20) % 2 * 2, train_samples=8, folds=2)


def test_test_labels_that_training_does_not_know_are_refused():
    data = arrays()
    with pytest.raises(DataError, match=r"y_test\[0\].*from 0 to 1 \(5\)"):
        splits_from_tensors(data["x_train"], data["y_train"], data["x_test"], data["y_test"] + 5)


def test_numbers_of_images_and_labels_must_agree():
    with pytest.raises(DataError, match="20 samples but 19 labels"):
        splits_from_tensors(grey(), np.arange(19) % 2, train_samples=8)
    data = arrays()
    with pytest.raises(DataError, match="another shape"):
        splits_from_tensors(
            data["x_train"], data["y_train"], data["x_test"][:, 1:], data["y_test"], folds=2
        )


@pytest.mark.parametrize("ending", [".npz", ".pt"])
def test_files_of_arrays_have_two_splits_or_one_pool(tmp_path, ending):
    def save(**content):
        path = tmp_path / f"data{ending}"
        if ending == ".npz":
            np.savez(path, **content)
        else:
            torch.save({key: torch.as_tensor(value) for key, value in content.items()}, path)
        return path

    splits = load_data("arrays", path=save(**arrays()), folds=4, seed=0)
    assert (len(splits.train), len(splits.test)) == (20, 20)
    pool = save(x=grey(30), y=np.arange(30) % 3)
    splits = load_data("arrays", path=pool, train_samples=12, folds=2, seed=0)
    assert (len(splits.train), len(splits.test), len(splits.classes)) == (12, 18, 3)
    with pytest.raises(DataError, match="has no 'y', but x"):
        load_data("arrays", path=save(x=grey()), folds=2, seed=0)


def test_pickled_objects_in_files_are_refused(tmp_path):
    np.savez(tmp_path / "evil.npz", x=grey(), y=np.array([{"a": 1}] * 20, dtype=object))
    with pytest.raises(DataError, match=r"evil\.npz holds pickled objects"):
        load_data("arrays", path=tmp_path / "evil.npz", train_samples=8, seed=0)
    torch.save(
        {"x": torch.zeros(2), "y": test_pickled_objects_in_files_are_refused}, tmp_path / "evil.pt"
    )
    with pytest.raises(DataError, match="no file of plain tensors"):
        load_data("arrays", path=tmp_path / "evil.pt", train_samples=8, seed=0)


def test_damaged_files_of_arrays_are_refused_by_name(tmp_path):
    np.savez_compressed(tmp_path / "cut.npz", **arrays())
    content = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.npz").write_text("no arrays")
    for name in ("cut.npz", "text.npz"):
        with pytest.raises(DataError, match=name):
            load_data("arrays", path=tmp_path / name, folds=2, seed=0)


def write_idx(path, values: np.ndarray, *, cut: int = 0) -> None:
    head = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    content = head + values.astype(np.uint8).tobytes()
    content = content[: len(content) - cut]
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_of_both_splits_are_found_by_name(tmp_path, ending):
    for part, pixels in (("train", grey(50)[:30]), ("t10k", grey(50)[30:])):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte{ending}", pixels)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte{ending}", np.arange(len(pixels)) % 2)
    splits = load_data("idx", path=tmp_path, folds=3, seed=0)
    assert (len(splits.train), len(splits.test)) == (30, 20)
    assert torch.equal(splits.train.images[:, 0], torch.from_numpy(grey(50)[:30]))


def test_one_idx_file_is_one_pool(tmp_path):
    write_idx(tmp_path / "some-images-idx3-ubyte", grey(30))
    write_idx(tmp_path / "some-labels-idx1-ubyte.gz", np.arange(30) % 2)
    source = read_idx(tmp_path / "some-images-idx3-ubyte")
    assert source.train.images.shape == (30, 3, 5, 4)
    assert source.test is None


def test_damaged_idx_files_are_refused_by_name(tmp_path):
    images, labels = tmp_path / "t10k-images-idx3-ubyte.gz", tmp_path / "t10k-labels-idx1-ubyte.gz"
    write_idx(images, grey())
    with pytest.raises(DataError, match=r"labels-idx1-ubyte\.gz is missing"):
        read_idx(tmp_path)
    write_idx(labels, np.arange(19) % 2)
    with pytest.raises(DataError, match="20 samples but 19 labels"):
        read_idx(tmp_path)
    write_idx(labels, np.arange(20) % 2, cut=1)
    with pytest.raises(DataError, match=r"labels-idx1-ubyte\.gz: is cut short"):
        read_idx(tmp_path)
    write_idx(labels, np.arange(20) % 2)
    images.write_bytes(images.read_bytes()[:60])
    with pytest.raises(DataError, match=r"images-idx3-ubyte\.gz: is damaged"):
        read_idx(tmp_path)
    images.write_bytes(b"\x89PNG" * 10)
    with pytest.raises(DataError, match="no idx file"):
        read_idx(tmp_path)


def test_the_digits_need_no_file():
    source = read_digits()
    assert source.train.images.shape == (1797, 3, 8, 8)
    assert (source.train.images.min(), source.train.images.max()) == (0, 255)
    assert len(source.classes) == 10
    splits = load_data("digits", train_samples=200, folds=5, image_size=16, seed=0)
    assert splits.train.images.shape == (200, 3, 16, 16)
    assert len(splits.test) == 1597


def test_real_digits_are_read_from_idx(shared_data):
    splits = load_data("idx", path=shared_data / "mnist", train_samples=1000, folds=5, seed=0)
    assert splits.train.images.shape == (1000, 3, 28, 28)
    assert len(splits.test) == 9000
    # 1,135 of the 10,000 are ones, 892 are fives; the largest remainders are rounded up.
    counts = splits.train.labels.bincount()
    assert (counts[1], counts[5]) == (114, 89)
