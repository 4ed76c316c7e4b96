"""What weights expect of images is what torchvision's and timm's own transforms give."""

import functools
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from layersearch.backbones import Preprocessing, load_backbone
from layersearch.data import EVALUATION, Views
from layersearch.data.decoding import decode_all
from layersearch.errors import BackboneError


def photograph(width, height, *, seed):
    """Smooth shapes with edges and a little noise, as a PIL image."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 50.0
    waves = [np.sin(x * a + y * b + c) for a, b, c in random.uniform(-2, 2, (3, 3))]
    image = 128 + 60 * np.stack(waves, -1) + 60 * (np.hypot(x - 3, y - 2) < 1.5)[..., None]
    image = image + random.normal(0, 3, image.shape)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def encoded(image):
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def seen(photographs, preprocessing):
    """What the network sees of images as they come from files."""
    contents = [encoded(image) for image in photographs]
    images = decode_all(
        contents.__getitem__,
        [str(number) for number in range(len(contents))],
        canvas=None,
        largest=preprocessing.resize,
        where="here",
    )
    views = Views(
        seed=0,
        mean=preprocessing.mean,
        std=preprocessing.std,
        input_size=preprocessing.input_size,
        centre=preprocessing.centre,
    )
    return views.batch(images, torch.arange(len(images)), EVALUATION)


def differences(mine, theirs, preprocessing):
    """In grey levels."""
    std = torch.tensor(preprocessing.std).view(1, -1, 1, 1)
    return (mine - theirs).abs() * std * 255


@pytest.mark.parametrize("size", [(512, 512), (400, 300), (300, 401), (256, 256), (640, 232)])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "squeezenet1_1"])
def test_images_are_seen_as_by_torchvisions_own_transforms(name, size):
    photographs = [photograph(*size, seed=seed) for seed in range(3)]
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    preprocessing = _preprocessing_of(name)
    assert preprocessing.resize == transforms.resize_size[0]
    theirs = torch.stack([transforms(image) for image in photographs])
    off = differences(seen(photographs, preprocessing), theirs, preprocessing)
    assert off.mean() < 1.0
    if size[0] == size[1]:  # otherwise the longer side is cut at another fraction of a pixel
        assert off.max() < 2.1


def test_the_whole_image_would_be_seen_otherwise():
    image = photograph(512, 512, seed=0)
    transforms = models.get_model_weights("resnet18").DEFAULT.transforms()
    known = _preprocessing_of("resnet18")
    whole = Preprocessing(mean=known.mean, std=known.std, input_size=known.input_size)
    off = differences(seen([image], whole), transforms(image).unsqueeze(0), whole)
    assert off.mean() > 5.0


@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_set_of_weights_of_torchvision_tells_its_own_size(name):
    for weights in models.get_model_weights(name):
        like = weights.transforms()
        share = min(1.0, like.crop_size[0] / like.resize_size[0])
        found = Preprocessing(
            mean=(0.5,), std=(0.5,), input_size=(like.crop_size[0],) * 2, centre=share
        )
        assert found.resize == max(like.resize_size[0], like.crop_size[0])


def test_images_are_seen_as_by_timms_own_transforms():
    timm = pytest.importorskip("timm")
    from timm.data import create_transform, resolve_model_data_config

    backbone = load_backbone("timm/resnet18.a1_in1k", weights=None)
    known = backbone.preprocessing
    config = resolve_model_data_config(timm.create_model("resnet18.a1_in1k"))
    transform = create_transform(**{**config, "interpolation": "bilinear"}, is_training=False)
    photographs = [photograph(500, 500, seed=seed) for seed in range(3)]
    theirs = torch.stack([transform(image) for image in photographs])
    off = differences(seen(photographs, known), theirs, known)
    assert known.centre < 1
    assert off.max() < 2.1


def test_the_share_stays_when_the_input_size_is_another():
    known = load_backbone("resnet18", weights=None, input_size=112).preprocessing
    assert (known.input_size, known.resize) == ((112, 112), 128)


def test_the_share_can_be_chosen():
    assert load_backbone("resnet18", weights=None, centre=1).preprocessing.resize == 224
    with pytest.raises(BackboneError, match="centre"):
        load_backbone("resnet18", weights=None, centre=1.5)


@functools.cache
def _preprocessing_of(name):
    return load_backbone(name, weights=None).preprocessing
