"""What is counted of lazy rounds."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from layersearch.space import Subset

SCRIPTS = Path(__file__).parents[2] / "scripts"
UNITS = ["a", "b", "c"]
# Validation samples of 1,000 that are right, by subset: b gains 100 alone, and 250 after a.
RIGHT = {"": 500, "a": 700, "b": 600, "c": 650, "ab": 950, "ac": 850, "bc": 0, "abc": 960}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import check_lazy_bounds

    yield check_lazy_bounds
    for name in ("check_lazy_bounds", "replay_tables", "judge_table"):
        sys.modules.pop(name, None)


@pytest.fixture
def path(script: ModuleType, tmp_path: Path) -> Path:
    path = tmp_path / "small-seed0.npz"
    table = sys.modules["judge_table"].Table(path, units=UNITS, precision="fp32")
    for names, count in RIGHT.items():
        right = np.packbits(np.arange(1000) < count)
        test = np.packbits(np.arange(4000) < 4 * count)
        table.add(table.bits(Subset(names)), np.stack([right, right]), test)
    table.save()
    return path


@pytest.mark.parametrize(("lazy", "tried", "wrong"), [(0.0, 2, 1), (10.0, 3, 0)])
def test_a_round_whose_best_is_skipped_is_counted_with_its_price(
    script: ModuleType, path: Path, lazy: float, tried: int, wrong: int
) -> None:
    # Two rounds after the first: {a} with b or c, then {a, b} with c. c comes before b: it gains
    # 150 alone and 150 after a, more than b gains alone.
    count, scores = script.Count(), script.Scores(path)
    script.play(scores, 0, count, schedule=1, lazy=lazy, most=3)
    assert (count.rounds, count.units, count.tried) == (2, 3, tried)
    assert count.wrong == wrong
    assert sum(count.losses) == pytest.approx(wrong * (0.95 - 0.85))


def test_rounds_that_the_table_lacks_are_left_out(script: ModuleType, path: Path) -> None:
    scores = script.Scores(path)
    count = script.Count()
    del scores.rows[next(subset for subset in scores.rows if set(subset) == {"a", "b"})]
    script.play(scores, 0, count, schedule=0, lazy=0.0, most=3)
    assert count.rounds == 0


def test_the_script_prints_a_line_a_schedule_and_allowance(
    script: ModuleType, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["check_lazy_bounds", str(path), "--draws", "2"])
    script.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if "small-seed0" in line]
    assert len(lines) == 2 * 3
