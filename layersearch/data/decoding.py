"""From the bytes of image files to uint8 tensors, once, in threads.

A canvas is the size (H, W) in pixels that images are brought to: the shorter side resized, the
centre cut out.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from layersearch.errors import DataError

Canvas = tuple[int, int]
T = TypeVar("T")
R = TypeVar("R")

# The longest shorter side that is kept where nobody says what the network needs: thousands of
# photographs as they come from the camera would fill the memory.
LARGEST_CHOSEN_CANVAS = 256

# What the last bytes of a complete file hold; cameras append a little after it.
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_TAIL = 4096

# PIL reports some broken PNGs as SyntaxError.
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def decode_all(
    read: Callable[[int], bytes],
    names: Sequence[str],
    *,
    canvas: Canvas | None,
    largest: int = LARGEST_CHOSEN_CANVAS,
    where: str,
    threads: int | None = None,
) -> Tensor:
    """The images, uint8 (N, 3, H, W).

    Args:
        read: the bytes of the i-th image; called from several threads.
        names: of the images, for messages.
        canvas: None: `common_canvas` of these images.
        largest: shorter side of that in pixels, at most.
        where: the folder or archive, for messages.
        threads: default: one a core, 8 at most.

    Raises:
        DataError: some cannot be read; names the first few.
    """
    if canvas is None:
        images = _decode_alike(read, names, largest=largest, threads=threads)
        if images is not None:
            return images
        sizes = _try_all(lambda i: image_size(read(i)), names, where=where, threads=threads)
        canvas = common_canvas(sizes, largest=largest)
    images = torch.empty((len(names), *canvas, 3), dtype=torch.uint8)
    target = images.numpy()

    def decode(index: int) -> None:
        target[index] = decode_image(read(index), canvas=canvas)

    _try_all(decode, names, where=where, threads=threads)
    return images.permute(0, 3, 1, 2).contiguous()


def _decode_alike(
    read: Callable[[int], bytes], names: Sequence[str], *, largest: int, threads: int | None
) -> Tensor | None:
    """The images if all are readable and of one size, in one go; otherwise None, and soon."""
    alike = True
    target: NDArray[np.uint8] | None = None

    def decode(index: int) -> None:
        nonlocal alike, target
        if not alike:
            return
        try:
            pixels = np.asarray(loaded(Image.open(BytesIO(read(index)))))
        except _UNREADABLE:
            alike = False  # the next pass tells which and why
            return
        if target is None:  # memory that is never written to is never taken
            target = np.empty((len(names), *pixels.shape), dtype=np.uint8)
        if pixels.shape == target.shape[1:] and min(pixels.shape[:2]) <= largest:
            target[index] = pixels
        else:
            alike = False

    decode(0)
    _try_all(decode, names, where="", threads=threads)
    if not alike or target is None:
        return None
    return torch.from_numpy(target).permute(0, 3, 1, 2).contiguous()


def check_all(
    read: Callable[[int], bytes],
    names: Sequence[str],
    *,
    thorough: bool,
    where: str,
    threads: int | None = None,
) -> None:
    """Sees that each image can be decoded, and keeps nothing.

    Args:
        read: as `decode_all`; so are `names`, `where`, `threads`.
        names: of the images.
        thorough: decode each; otherwise only look at the beginning and the end of JPEG and PNG
            files, which tells one cut short at a fraction of the time.
        where: the folder or archive.
        threads: for decoding.

    Raises:
        DataError: some cannot be decoded; names the first few.
    """

    def check(index: int) -> None:
        content = read(index)
        image = Image.open(BytesIO(content))
        end = _ENDS.get(image.format or "")
        if thorough or end is None:
            loaded(image)
        elif end not in content[-_TAIL:]:
            raise OSError("image file is truncated")

    _try_all(check, names, where=where, threads=threads)


def decode_image(content: bytes, *, canvas: Canvas) -> NDArray[np.uint8]:
    """The image, uint8 (H, W, 3). Raises: OSError or ValueError: it is none, or is cut short."""
    image = Image.open(BytesIO(content))
    # JPEGs can be decoded at 1/2, 1/4 or 1/8 in less time; never below twice the canvas.
    image.draft("RGB", (2 * canvas[1], 2 * canvas[0]))
    return fit(image, canvas=canvas)


def fit(image: Image.Image, *, canvas: Canvas) -> NDArray[np.uint8]:
    """A PIL image as uint8 (H, W, 3): upright, RGB, on the canvas; bilinear with antialiasing."""
    image = loaded(image)
    if image.size != (canvas[1], canvas[0]):
        width, height = image.size
        scale = min(width / canvas[1], height / canvas[0])  # source pixels a canvas pixel
        left, top = (width - scale * canvas[1]) / 2, (height - scale * canvas[0]) / 2
        box = (left, top, width - left, height - top)
        image = image.resize((canvas[1], canvas[0]), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image)


def image_size(content: bytes) -> Canvas:
    """(H, W) of an encoded image, upright, from its header."""
    image = Image.open(BytesIO(content))
    return image.size if _orientation(image) >= 5 else (image.size[1], image.size[0])


def common_canvas(sizes: Iterable[Canvas], *, largest: int = LARGEST_CHOSEN_CANVAS) -> Canvas:
    """The size that all share, else a square of their median shorter side.

    Larger images keep their shape, with a shorter side of `largest` pixels.
    """
    sizes = list(sizes)
    height, width = sizes[0]
    if len(set(sizes)) > 1:
        height = width = int(np.median([min(size) for size in sizes]))
    scale = min(1.0, largest / min(height, width))
    return (round(height * scale), round(width * scale))


def fit_tensor(images: Tensor, *, canvas: Canvas) -> Tensor:
    """uint8 (N, C, h, w) on the canvas, uint8 (N, C, H, W); bilinear with antialiasing."""
    if images.shape[-2:] == canvas:
        return images
    height, width = images.shape[-2:]
    scale = max(canvas[0] / height, canvas[1] / width)
    size = (max(canvas[0], round(height * scale)), max(canvas[1], round(width * scale)))
    top, left = (size[0] - canvas[0]) // 2, (size[1] - canvas[1]) // 2
    parts = []
    for part in torch.split(images, 1024):  # in parts: the floats need four times the memory
        resized = F.interpolate(part.float(), size, mode="bilinear", antialias=True)
        cut = resized[..., top : top + canvas[0], left : left + canvas[1]]
        parts.append(cut.round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts) if parts else images.new_empty((0, images.shape[1], *canvas))


def loaded(image: Image.Image) -> Image.Image:
    """The image decoded, upright, RGB. Raises: OSError: it is cut short."""
    image.load()
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        # PIL would clip 16-bit grey at 255.
        image = Image.fromarray((np.asarray(image).astype(np.int64) // 257).astype(np.uint8))
    if image.mode == "P":
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """EXIF's number for how the camera was held: 1 is upright, 5 to 8 are quarter turns."""
    found = image.getexif().get(ExifTags.Base.Orientation, 1)
    return int(found) if isinstance(found, int) else 1


def _try_all(
    work: Callable[[int], R], names: Sequence[str], *, where: str, threads: int | None
) -> list[R]:
    faults: list[tuple[int, Exception]] = []

    def attempt(index: int) -> Any:
        try:
            return work(index)
        except _UNREADABLE as error:
            faults.append((index, error))
            return None

    workers = threads or min(8, os.cpu_count() or 1)
    if workers == 1 or len(names) < 64:
        results = [attempt(index) for index in range(len(names))]
    else:
        with ThreadPoolExecutor(workers) as pool:
            results = list(pool.map(attempt, range(len(names)), chunksize=16))
    if faults:
        raise _unreadable(faults, names, where)
    return results


def _unreadable(faults: list[tuple[int, Exception]], names: Sequence[str], where: str) -> DataError:
    faults = sorted(faults, key=lambda fault: fault[0])
    listed = "\n".join(f"  {names[index]}: {_reason(error)}" for index, error in faults[:5])
    more = f"\n  ... and {len(faults) - 5} more" if len(faults) > 5 else ""
    return DataError(
        f"{where}: {len(faults)} of {len(names)} images cannot be read; "
        f"replace or remove them\n{listed}{more}"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no image of a known format, or cut short"
    return str(error) or type(error).__name__
