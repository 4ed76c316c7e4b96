import contextlib
import resource
import signal

import pytest

from layersearch.space.subset import Subset
from tests.serving.tuning import small_backbone, tune


@pytest.fixture(scope="session")
def backbone():
    return small_backbone()


@pytest.fixture(scope="session")
def tuned(backbone):
    return tune(backbone, Subset(["layer2.0"]))


@pytest.fixture
def full_disk():
    """While it is entered, no file of this process can grow: as on a disk that is full."""

    @contextlib.contextmanager
    def full():
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)

    return full
