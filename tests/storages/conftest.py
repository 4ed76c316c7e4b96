import subprocess
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from tests.disks import mounted


def pytest_collection_modifyitems(items):
    """Each takes seconds, and there are many: only `scripts/test --all` runs them."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def other_machine():
    """What to begin a command with that is to run where this machine's processes are not seen."""
    prefix = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to make process namespaces")
    return prefix


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB: SQLite's write-ahead log alone takes up to 4."""
    with mounted(tmp_path / "disk", size="8m") as place:
        yield place
