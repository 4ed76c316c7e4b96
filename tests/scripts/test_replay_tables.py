"""Strategies replayed against the tables that are kept with the scripts."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from layersearch.space import Subset

SCRIPTS = Path(__file__).parents[2] / "scripts"
TABLES = sorted((SCRIPTS / "tables").glob("*.npz"))


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import replay_tables

    yield replay_tables
    for name in ("replay_tables", "judge_table"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_replay_spends_what_the_table_says_and_is_judged_by_its_test_side(
    replay: ModuleType, path: Path
) -> None:
    scores = replay.Scores(path)
    found = replay.replayed(scores, ["linear probe", "greedy, fast", "exhaustive"], repeats=2)
    best = max(row.test.mean() for row in scores.rows.values())
    assert found["linear probe"]["regret"] == best - scores.rows[Subset()].test.mean()
    assert found["exhaustive"]["epochs"] == 5 * len(scores.rows)
    # A look of one epoch at the linear probe and at each of ten units, and one whole training.
    fast = found["greedy, fast"]
    if fast["lacking"]:  # trials that a table lacks are lost, and tried once more
        assert fast["trainings"] > 12
    else:
        assert (fast["trainings"], fast["epochs"]) == (12, 16)
    assert 0 <= fast["regret"] < found["linear probe"]["regret"]


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_candidates_that_are_stopped_cost_the_folds_that_were_trained(
    replay: ModuleType, path: Path
) -> None:
    scores = replay.Scores(path)
    found = replay.replayed(scores, ["greedy, whole", "greedy, whole, eliminate"], repeats=2)
    whole, eliminating = found.values()
    assert eliminating["epochs"] < whole["epochs"]
    assert eliminating["trainings"] == pytest.approx(whole["trainings"], rel=0.3)


def test_there_are_tables() -> None:
    assert len(TABLES) == 2
