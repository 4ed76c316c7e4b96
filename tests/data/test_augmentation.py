import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from layersearch.data import Augmentation
from layersearch.data.augmentation import boxes, flips, shifts
from layersearch.errors import DataError

SAMPLES = torch.arange(4000)


def test_nothing_is_active_by_default():
    assert not Augmentation().active
    assert Augmentation(flip=True).active
    assert Augmentation(crop=1).active
    assert Augmentation(random_resized_crop=(0.5, 1.0)).active


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crop": -1}, "0 or more"),
        ({"random_resized_crop": (0.0, 1.0)}, "within 0 and 1"),
        ({"random_resized_crop": (0.8, 0.2)}, "ascending"),
        ({"random_resized_crop": (0.2, 0.8), "crop": 4}, "one of them"),
        ({"ratio": (2.0, 1.0)}, "ratio"),
    ],
)
def test_impossible_values_are_refused(options, words):
    with pytest.raises(DataError, match=words):
        Augmentation(**options)


def test_half_of_the_views_are_mirrored():
    mirrored = flips(Augmentation(flip=True), seed=0, samples=SAMPLES, view=0)
    assert abs(mirrored.double().mean() - 0.5) < 5 * 0.5 / 4000**0.5


def test_every_shift_within_the_padding_comes_equally_often():
    moved = shifts(Augmentation(crop=2), seed=0, samples=SAMPLES, view=0)
    for axis in (0, 1):
        counts = torch.bincount(moved[:, axis] + 2, minlength=5)
        assert len(counts) == 5
        assert (counts - 800).abs().max() < 5 * (800 * 0.8) ** 0.5


@pytest.mark.parametrize("size", [(32, 32), (40, 90), (10, 200)])
def test_parts_are_distributed_as_torchvisions(size):
    scale, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
    augmentation = Augmentation(random_resized_crop=scale)
    ours = boxes(augmentation, size, seed=0, samples=SAMPLES, view=0).double()
    torch.manual_seed(0)
    image = torch.empty(3, *size)
    theirs = torch.tensor(
        [RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(4000)]
    ).double()
    top, left, height, width = ours.unbind(1)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= size[0]).all()
    assert (left + width <= size[1]).all()
    spread = (ours.var(0) / 4000 + theirs.var(0) / 4000).sqrt()
    assert ((ours.mean(0) - theirs.mean(0)).abs() <= 5 * spread + 1e-9).all()
    assert torch.allclose(ours.std(0), theirs.std(0), rtol=0.1, atol=0.1)


def test_where_no_part_fits_the_largest_in_the_centre_is_taken():
    augmentation = Augmentation(random_resized_crop=(1.0, 1.0), ratio=(1.0, 1.0))
    part = boxes(augmentation, (10, 30), seed=0, samples=SAMPLES[:3], view=0)
    assert part.tolist() == [[0, 10, 10, 10]] * 3
