"""Small data sets of image files, made for real."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

MakeFolder = Callable[..., Path]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERSEARCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Writes `<folder>/<split>/<class>/<number>.<ending>`; every image has other contents."""

    def make(
        name: str = "pictures",
        *,
        splits: tuple[str, ...] = ("train", "test"),
        classes: tuple[str, ...] = ("cat", "dog", "owl"),
        count: int = 6,
        size: tuple[int, int] = (9, 9),
        ending: str = "png",
    ) -> Path:
        folder = tmp_path / name
        for split in splits:
            for label, kind in enumerate(classes):
                place = folder / split / kind
                place.mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    seed = [len(split), label, number]
                    (place / f"{number}.{ending}").write_bytes(encoded(seed, size, ending))
        return folder

    return make


def encoded(seed: list[int], size: tuple[int, int], ending: str) -> bytes:
    """An image of noise, (H, W), as a file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    content = BytesIO()
    Image.fromarray(pixels).save(content, {"png": "PNG", "jpg": "JPEG"}[ending])
    return content.getvalue()
