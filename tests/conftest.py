"""Fixtures that several packages' tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.disks import mounted
from tests.servers import PostgresServer, postgres_server

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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB of its own; skipped where none can be mounted."""
    with mounted(tmp_path / "small_disk", size="256k") as place:
        yield place


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL server; skipped where there is none to run."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """An empty database of a running PostgreSQL server."""
    return postgres.url(postgres.new_database())


@pytest.fixture(params=["sqlite", "journal", pytest.param("postgres", marks=pytest.mark.cluster)])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty storage of each kind that processes share."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        return url
    if request.param == "journal":
        return f"journal://{tmp_path}/study.log"
    return f"sqlite:///{tmp_path}/study.db"
