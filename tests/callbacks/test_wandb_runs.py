import time
from pathlib import Path

import pytest

from tests.callbacks.conftest import tell

pytest.importorskip("wandb")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_a_run_is_written_offline(beginning, monkeypatch):
    from layersearch.callbacks.wandb_runs import WandbCallback

    monkeypatch.delenv("WANDB_MODE", raising=False)
    tell(WandbCallback(), beginning)
    found = list((Path(beginning.folder) / "wandb").glob("offline-run-*/run-*.wandb"))
    assert [path.name for path in found] == ["run-0123abcd.wandb"]
    expected = (b"trials/accuracy", b"curves/trial 0", b"test/chosen", b"layer0")
    deadline = time.monotonic() + 30  # its own process writes the file
    while time.monotonic() < deadline:
        missing = [name for name in expected if name not in found[0].read_bytes()]
        if not missing:
            break
        time.sleep(0.2)
    assert not missing
