"""The searches that are ready to run."""

import subprocess
import sys
from pathlib import Path

import pytest

from layersearch.config import load_config

SEARCHES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))


def test_there_are_searches() -> None:
    assert len(SEARCHES) >= 7


@pytest.mark.parametrize("file", SEARCHES, ids=lambda file: file.stem)
def test_every_search_is_valid_and_opens_with_its_command(file: Path) -> None:
    config = load_config(file, check_paths=False)
    assert config.study_name == file.stem
    first = file.read_text().splitlines()[0]
    assert first.startswith(f"# layersearch search search_spaces/{file.name}")


@pytest.mark.parametrize("file", SEARCHES, ids=lambda file: file.stem)
@pytest.mark.parametrize("strategy", ["profile", "exhaustive", "random"])
def test_every_search_without_ranges_runs_under_other_strategies(file: Path, strategy: str) -> None:
    overrides = [f"strategy.name={strategy}", "strategy.trials=5"]
    if load_config(file, check_paths=False).recipe.searched:
        overrides += ["recipe.lr=1e-3", "recipe.weight_decay=0.01", "recipe.batch_size=64"]
    assert load_config(file, overrides, check_paths=False).strategy.name == strategy


def test_reading_a_description_loads_no_heavy_library() -> None:
    code = (
        "import sys; from layersearch.config import load_config; "
        f"load_config({str(SEARCHES[0])!r}, check_paths=False); "
        "print([m for m in ('torch', 'optuna', 'ray', 'sklearn', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
