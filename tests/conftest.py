"""Fixtures that several packages' tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data and weights; the test is skipped where there is none."""
    folder = Path(
        os.environ.get("LAYERSEARCH_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")
    )
    if not folder.is_dir():
        pytest.skip(f"needs real data: {folder} is absent (set LAYERSEARCH_TEST_DATA)")
    return folder
