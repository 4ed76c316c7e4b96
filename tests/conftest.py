"""Fixtures that several packages' tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No test depends on how fast the machine is.
settings.register_profile(
    "steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data and weights; the test is skipped where there is none."""
    folder = Path(
        os.environ.get("LAYERSEARCH_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")
    )
    if not folder.is_dir():
        pytest.skip(f"needs real data: {folder} is absent (set LAYERSEARCH_TEST_DATA)")
    return folder
