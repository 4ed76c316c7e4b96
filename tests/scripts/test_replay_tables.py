"""Strategies replayed against the tables that are kept with the scripts."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
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


def test_there_are_tables_of_both_tasks() -> None:
    studies = {path.stem.rpartition("-seed")[0] for path in TABLES}
    assert studies == {"resnet20_cifar10_jpeg", "resnet20_mnist"}


def test_what_a_table_lacks_is_trained_first(replay: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "small-seed3.npz"
    table = sys.modules["judge_table"].Table(path, units=["a", "b"], precision="fp32")
    right = np.packbits(np.ones((2, 1000), dtype=bool), axis=1)
    test = np.packbits(np.arange(4000) < 3000)
    for bits in (0b00, 0b01):
        table.add(bits, right, test)
    table.save()
    scores = replay.Scores(path)
    assert scores.study == "small"
    replay.replayed(scores, ["full finetuning"], repeats=2)
    assert scores.lacking == {Subset(["a", "b"]): 2}
    assert list(table.missing()) == [0b10, 0b11]
    assert list(table.missing(list(scores.lacking))) == [0b11, 0b10]


def test_a_sampler_of_which_a_table_has_nothing_chooses_nothing(
    replay: ModuleType, tmp_path: Path
) -> None:
    units = [f"unit{number}" for number in range(12)]
    path = tmp_path / "small-seed0.npz"
    table = sys.modules["judge_table"].Table(path, units=units, precision="fp32")
    right = np.packbits(np.ones((2, 1000), dtype=bool), axis=1)
    table.add(0, right, np.packbits(np.arange(4000) < 3000))
    table.save()
    assert replay.replayed(replay.Scores(path), ["random, 20 trials"], repeats=1) == {}


def test_several_processes_fill_one_table(replay: ModuleType, tmp_path: Path) -> None:
    judge = sys.modules["judge_table"].Table
    tables = [judge(tmp_path / "small.npz", units=["a", "b"], precision="fp32") for _ in range(2)]
    shares = [list(table.missing((), (number, 2))) for number, table in enumerate(tables, 1)]
    assert sorted([*shares[0], *shares[1]]) == [0b00, 0b01, 0b10, 0b11]
    for table, bits in zip(tables, shares, strict=True):
        right = np.packbits(np.ones((2, 1000), dtype=bool), axis=1)
        table.add(bits[0], right, right[0])
        table.save()
        table.save()  # what is there already is neither lost nor doubled
    (found,) = tables[1:]
    assert set(found.rows) == {shares[0][0], shares[1][0]}
    again = judge(tmp_path / "small.npz", units=["a", "b"])
    assert set(again.rows) == set(found.rows)
    assert list(again.missing((), (1, 2))) == shares[0][1:]


def test_a_table_goes_on_in_its_own_precision(replay: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "small-seed0.npz"
    judge = sys.modules["judge_table"].Table
    table = judge(path, units=["a"], precision="bf16")
    table.add(0, np.zeros((2, 125), np.uint8), np.zeros(500, np.uint8))
    table.save()
    assert judge(path, units=["a"]).precision == "bf16"
    with pytest.raises(SystemExit, match=r"filled in bf16.*recipe.precision=bf16"):
        judge(path, units=["a"], precision="fp32")


def test_seeds_are_taken_together_where_all_have_them(replay: ModuleType) -> None:
    row = {"regret": 0.01, "stderr": 0.5, "epochs": 10.0}
    other = {"regret": 0.03, "stderr": 0.5, "epochs": 20.0}
    together = replay.taken_together([{"a": row, "b": row}, {"a": other}])
    assert together == {"a": {"regret": 0.02, "stderr": pytest.approx(0.01), "epochs": 15.0}}
    assert replay.taken_together([{"a": row}]) == {"a": row}


def test_the_picture_has_a_panel_a_study(replay: ModuleType, tmp_path: Path) -> None:
    row = {"regret": 0.01, "stderr": 0.001, "epochs": 20.0}
    far = {"regret": 0.5, "stderr": float("nan"), "epochs": 0.0}
    ways = {"linear probe": far, "greedy, fast": row, "TPE, 20 trials": {**row, "epochs": 100.0}}
    replay.draw({"one": ways, "two": {"exhaustive": row}}, tmp_path / "new" / "regret.svg")
    drawn = (tmp_path / "new" / "regret.svg").read_text(encoding="utf-8")
    assert drawn.count('id="axes_') == 2
    assert "nan" not in drawn.lower()
