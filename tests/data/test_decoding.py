from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from layersearch.data.decoding import (
    check_all,
    common_canvas,
    decode_all,
    decode_image,
    fit_tensor,
    image_size,
)
from layersearch.errors import DataError


def saved(image: Image.Image, kind: str, **options) -> bytes:
    content = BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_an_image_of_the_canvas_size_keeps_every_pixel():
    pixels = noise(7, 5)
    assert np.array_equal(
        decode_image(saved(Image.fromarray(pixels), "PNG"), canvas=(7, 5)), pixels
    )


def test_the_shorter_side_is_resized_and_the_centre_cut_out():
    pixels = np.zeros((10, 30, 3), dtype=np.uint8)
    pixels[:, 10:20] = 200  # the centre square
    fitted = decode_image(saved(Image.fromarray(pixels), "PNG"), canvas=(20, 20))
    assert fitted.shape == (20, 20, 3)
    assert (fitted[:, 1:-1] == 200).all()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    content = saved(Image.fromarray(noise(8, 8)).convert(mode), kind)
    assert decode_image(content, canvas=(8, 8)).shape == (8, 8, 3)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    grey = np.array([[0, 257, 32896, 65535]] * 4, dtype=np.uint16)
    decoded = decode_image(saved(Image.fromarray(grey), "PNG"), canvas=(4, 4))
    assert decoded[0, :, 0].tolist() == [0, 1, 128, 255]


def test_photographs_are_turned_upright():
    image = Image.fromarray(noise(6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    content = saved(image, "PNG", exif=exif)
    assert image_size(content) == (4, 6)
    turned = np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(decode_image(content, canvas=(4, 6)), turned)


def test_a_large_jpeg_is_decoded_close_to_what_it_shows():
    y, x = np.mgrid[0:800, 0:800]
    smooth = np.stack([x * 255 // 799, y * 255 // 799, (x + y) * 255 // 1598], 2).astype(np.uint8)
    image = Image.fromarray(smooth)
    decoded = decode_image(saved(image, "JPEG", quality=95), canvas=(40, 40))
    expected = np.asarray(image.resize((40, 40), Image.Resampling.BILINEAR))
    assert np.abs(decoded.astype(int) - expected).max() <= 4


def test_the_canvas_is_the_common_size_or_the_median_shorter_side():
    assert common_canvas([(30, 40), (30, 40)]) == (30, 40)
    assert common_canvas([(30, 40), (50, 90), (60, 70)]) == (50, 50)
    assert common_canvas([(3000, 4000), (4000, 3000)]) == (256, 256)
    assert common_canvas([(512, 1024), (512, 1024)]) == (256, 512)


@pytest.mark.parametrize("threads", [1, 4])
def test_all_images_are_decoded_in_order(threads):
    files = [saved(Image.fromarray(np.full((3, 3, 3), n, np.uint8)), "PNG") for n in range(100)]
    images = decode_all(
        files.__getitem__, [str(n) for n in range(100)], canvas=None, where="x", threads=threads
    )
    assert images.shape == (100, 3, 3, 3)
    assert images.dtype == torch.uint8
    assert images[:, 0, 0, 0].tolist() == list(range(100))


def test_large_images_of_one_size_are_stored_smaller_in_their_shape():
    files = [saved(Image.fromarray(noise(600, 300)), "JPEG")] * 2
    images = decode_all(files.__getitem__, ["a", "b"], canvas=None, where="x")
    assert images.shape == (2, 3, 512, 256)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_unreadable_images_are_counted_and_the_first_are_named(kind, threads):
    whole = saved(Image.fromarray(noise(40, 40)), kind)
    files = [whole] * 100
    files[7], files[50] = whole[: len(whole) // 2], b"no image at all"
    for index in range(80, 90):
        files[index] = b""
    names = [f"train/cat/{number}.jpg" for number in range(100)]
    for attempt in (
        lambda: decode_all(files.__getitem__, names, canvas=(9, 9), where="pets", threads=threads),
        lambda: check_all(files.__getitem__, names, thorough=True, where="pets", threads=threads),
        lambda: check_all(files.__getitem__, names, thorough=False, where="pets", threads=threads),
    ):
        with pytest.raises(DataError) as caught:
            attempt()
        text = str(caught.value)
        assert "pets: 12 of 100 images cannot be read" in text
        assert "train/cat/7.jpg: " in text
        assert "train/cat/50.jpg: no image of a known format" in text
        assert "and 7 more" in text


def test_tensors_are_fitted_as_files_are():
    pixels = noise(30, 50)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)
    fitted = fit_tensor(tensor, canvas=(15, 15))
    expected = decode_image(saved(Image.fromarray(pixels), "PNG"), canvas=(15, 15))
    assert fitted.dtype == torch.uint8
    difference = fitted[0].permute(1, 2, 0).int() - torch.from_numpy(expected.copy()).int()
    # The cut may begin half a pixel apart, as the shorter side's factor is a half here.
    assert difference.abs().float().mean() < 25
    assert torch.equal(fit_tensor(tensor, canvas=(30, 50)), tensor)
