"""The command as a user types it, in a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A search of seconds: digits, three units to choose from, one epoch.
TINY = (
    "data.train_samples=60",
    "data.test_samples=200",
    "data.folds=2",
    "space.never=[layer1.0, layer2.0, layer3.0]",
    "recipe.epochs=1",
    "recipe.batch_size=20",
    "execution.threads=1",
    "execution.workers=1",
    "final.seeds=2",
)

Command = Callable[..., subprocess.CompletedProcess[str]]


def command_line(*words: str) -> list[str]:
    """`layersearch WORDS`, the first two of which are a command and a search, made tiny."""
    settings = [part for setting in TINY for part in ("-o", setting)]
    return [sys.executable, "-m", "layersearch", *words[:2], *settings, *words[2:]]


def environment() -> dict[str, str]:
    """This process's, with the checkout importable from anywhere."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def layersearch(tmp_path: Path) -> Command:
    """Runs the command in an empty folder and waits for it."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command_line(*words),
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=540,
        )

    return run
