import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as TF

from layersearch.data import EVALUATION, Augmentation, Views
from layersearch.data.augmentation import boxes, flips, shifts
from layersearch.data.views import _parts_by_products, _parts_by_sample
from layersearch.errors import DataError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CROP = Augmentation(crop=3, flip=True)
RESIZED = Augmentation(random_resized_crop=(0.2, 1.0), flip=True)


def images(count: int = 12, size: tuple[int, int] = (16, 16)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)


def views(augmentation=None, *, size=(16, 16), **options) -> Views:
    return Views(seed=5, mean=MEAN, std=STD, input_size=size, augmentation=augmentation, **options)


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    return TF.normalize(pixels.float() / 255, list(MEAN), list(STD))


def test_the_evaluation_view_is_normalised_and_nothing_else():
    x = images()
    seen = views(CROP).batch(x, torch.arange(12), EVALUATION)
    assert seen.dtype == torch.float32
    assert torch.allclose(seen, normalised(x), atol=1e-5)


def test_without_augmentation_every_view_is_the_evaluation_view():
    plain = views()
    assert plain.fixed
    assert not views(CROP).fixed
    assert plain.number(7) == EVALUATION
    x = images()
    assert torch.equal(
        plain.batch(x, torch.arange(12), 7), plain.batch(x, torch.arange(12), EVALUATION)
    )


@pytest.mark.parametrize("augmentation", [CROP, RESIZED])
@pytest.mark.parametrize("size", [(16, 16), (24, 20)])
@settings(max_examples=15)
@given(order=st.permutations(range(12)), count=st.integers(1, 12), view=st.integers(0, 50))
def test_a_view_does_not_depend_on_the_batch(augmentation, size, order, count, view):
    x, made = images(), views(augmentation, size=size)
    everything = made.batch(x, torch.arange(12), view)
    chosen = torch.tensor(order[:count])
    assert torch.allclose(made.batch(x[chosen], chosen, view), everything[chosen], atol=1e-5)


@pytest.mark.parametrize("augmentation", [CROP, RESIZED])
def test_views_differ_by_sample_number_and_seed(augmentation):
    x = images(1).expand(8, -1, -1, -1)
    samples = torch.arange(8)
    first = views(augmentation).batch(x, samples, 0)
    assert torch.equal(first, views(augmentation).batch(x, samples, 0))
    assert not torch.equal(first, views(augmentation).batch(x, samples, 1))
    assert not torch.equal(first[0], first[1])
    other = Views(seed=6, mean=MEAN, std=STD, input_size=(16, 16), augmentation=augmentation)
    assert not torch.equal(first, other.batch(x, samples, 0))


def test_a_number_of_distinct_views_repeats_them():
    x, samples = images(), torch.arange(12)
    made = views(CROP, views=3)
    assert made.number(7) == 1
    assert torch.equal(made.batch(x, samples, 7), made.batch(x, samples, 1))
    assert not torch.equal(made.batch(x, samples, 7), made.batch(x, samples, 2))


def test_a_crop_is_a_window_of_the_padded_image():
    x, samples = images(), torch.arange(12)
    seen = views(CROP).batch(x, samples, 4)
    moved = shifts(CROP, seed=5, samples=samples, view=4).tolist()
    mirrored = flips(CROP, seed=5, samples=samples, view=4).tolist()
    assert len({tuple(move) for move in moved}) > 3
    assert set(mirrored) == {True, False}
    for index in range(12):
        down, right = (move + 3 for move in moved[index])
        window = TF.pad(x[index], [3])[:, down : down + 16, right : right + 16]
        window = window.flip(2) if mirrored[index] else window
        assert torch.allclose(seen[index], normalised(window), atol=1e-5)


@pytest.mark.parametrize("source", [(16, 16), (60, 47)])
@pytest.mark.parametrize("target", [(16, 16), (9, 12), (40, 33)])
def test_a_resized_crop_is_torchvisions_of_its_part(source, target):
    x, samples = images(size=source), torch.arange(12)
    seen = views(RESIZED, size=target).batch(x, samples, 4)
    parts = boxes(RESIZED, source, seed=5, samples=samples, view=4).tolist()
    mirrored = flips(RESIZED, seed=5, samples=samples, view=4).tolist()
    for index, (top, left, height, width) in enumerate(parts):
        part = TF.resized_crop(x[index], top, left, height, width, list(target), antialias=True)
        part = part.flip(2) if mirrored[index] else part
        # Older versions of torchvision round once, not after columns and after rows.
        assert (seen[index] - normalised(part)).abs().max() < 1.5 / 255 / min(STD)


@pytest.mark.parametrize("source", [(16, 16), (60, 47)])
@pytest.mark.parametrize("target", [(16, 16), (9, 12), (40, 33)])
def test_all_devices_make_the_same_resized_crop(source, target):
    x, samples = images(size=source), torch.arange(12)
    chosen = {"seed": 5, "samples": samples, "view": 4}
    arguments = (x, boxes(RESIZED, source, **chosen), flips(RESIZED, **chosen), target)
    one, other = (part(*arguments) for part in (_parts_by_sample, _parts_by_products))
    assert one.dtype == other.dtype == torch.uint8
    differences = (one.int() - other.int()).abs()
    assert differences.max() <= 2  # a value between two bytes is rounded to either, twice
    assert differences.float().mean() < 0.1


def test_another_input_size_resizes_the_shorter_side_and_cuts_the_centre():
    x = images(size=(40, 60))
    seen = views(size=(20, 20)).batch(x, torch.arange(12), EVALUATION)
    expected = TF.center_crop(TF.resize(x, [20], antialias=True), [20, 20])
    assert (seen - normalised(expected)).abs().max() < 1.5 / 255 / min(STD)  # a grey level


def test_the_evaluation_view_can_keep_the_centre_alone():
    x = images(size=(64, 64))
    seen = views(size=(28, 28), centre=0.875).batch(x, torch.arange(12), EVALUATION)
    expected = TF.center_crop(TF.resize(x, [32], antialias=True), [28, 28])
    assert (seen - normalised(expected)).abs().max() < 1.5 / 255 / min(STD)


@pytest.mark.parametrize("size", [(28, 28), (28, 40), (20, 28)])
def test_images_without_a_border_to_spare_are_kept_whole(size):
    x = images(size=size)
    seen, whole = (
        views(size=(28, 28), centre=share).batch(x, torch.arange(12), EVALUATION)
        for share in (0.875, 1.0)
    )
    assert torch.equal(seen, whole)


def test_windows_and_mirrors_are_of_the_evaluation_view():
    x, samples = images(size=(64, 64)), torch.arange(12)
    made = views(Augmentation(flip=True), size=(28, 28), centre=0.875)
    plain = made.batch(x, samples, EVALUATION)
    seen = made.batch(x, samples, 0)
    assert all(
        torch.equal(one, other) or torch.equal(one, other.flip(-1))
        for one, other in zip(seen, plain, strict=True)
    )


@pytest.mark.parametrize("augmentation", [None, CROP, RESIZED])
def test_channels_last_changes_the_layout_and_no_value(augmentation):
    x, samples = images(), torch.arange(12)
    plain = views(augmentation).batch(x, samples, 0)
    seen = views(augmentation, channels_last=True).batch(x, samples, 0)
    assert seen.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(seen, plain, atol=1e-6)


@pytest.mark.parametrize("augmentation", [None, CROP, RESIZED])
def test_the_images_given_are_left_alone(augmentation):
    x = images()
    before = x.clone()
    views(augmentation).batch(x, torch.arange(12), 0)
    assert torch.equal(x, before)


def test_features_pass_unchanged_and_cannot_be_augmented():
    features = torch.randn(4, 7)
    assert views().batch(features, torch.arange(4), 3) is features
    with pytest.raises(DataError, match="features"):
        views(CROP).batch(features, torch.arange(4), 3)


def test_impossible_settings_are_refused():
    for options in ({"views": 0}, {"centre": 0.0}):
        with pytest.raises(DataError):
            views(**options)
    with pytest.raises(DataError, match="std"):
        Views(seed=0, mean=MEAN, std=(0.2, 0.0, 0.2), input_size=(8, 8))
    with pytest.raises(DataError, match="-1 for evaluation"):
        views(CROP).number(-2)


def test_the_description_is_json_and_follows_every_setting():
    base = views(CROP).describe()
    assert json.loads(json.dumps(base)) == base
    others = [
        views(RESIZED),
        views(CROP, views=2),
        views(CROP, centre=0.875),
        views(CROP, size=(8, 8)),
    ]
    assert all(other.describe() != base for other in others)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("augmentation", [CROP, RESIZED])
def test_views_on_a_gpu_are_those_on_the_cpu(augmentation):
    x, samples = images(size=(48, 48)), torch.arange(12)
    made = views(augmentation, size=(32, 32))
    there = made.batch(x.cuda(), samples.cuda(), 3).cpu()
    # Resizing rounds to bytes on both, twice, not always to the same ones.
    assert (there - made.batch(x, samples, 3)).abs().max() < 2.5 / 255 / min(STD)
    parts = [
        boxes(RESIZED, (48, 48), seed=1, samples=s, view=2).cpu() for s in (samples, samples.cuda())
    ]
    assert torch.equal(*parts)
