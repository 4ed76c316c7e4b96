"""The objective in search_spaces/ is the one in the guide, and does what the guide says."""

from pathlib import Path

import pytest
import torch

from layersearch import Outcome, Subset, make_objective
from layersearch.cli import main

ROOT = Path(__file__).parents[2]
FILE = ROOT / "search_spaces" / "digits_own_objective.py"


def test_the_page_shows_the_file() -> None:
    page = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")
    assert f"```python\n{FILE.read_text(encoding='utf-8')}```" in page


def test_it_finds_the_worst_digit_and_sure_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    objective = make_objective(
        "search_spaces.digits_own_objective:worst_digit",
        direction=["maximize", "minimize"],
        names=["worst_recall", "multiply_adds"],
    )
    targets = torch.tensor([0, 0, 1, 1, 1])
    logits = 9.0 * torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 1, 0]), 3)
    outcome = Outcome(
        subset=Subset(),
        fold_scores=(0.5,),
        curves=((0.5,),),
        logits=logits,
        targets=targets,
        samples=torch.arange(5),
        sample_ids=tuple("abcde"),
        folds=torch.zeros(5, dtype=torch.long),
        costs={"step_multiply_adds": 7.0},
    )
    evaluation = objective.evaluate(outcome)
    assert evaluation.values == (pytest.approx(2 / 3), 7.0)
    assert evaluation.constraints == {"sure_mistakes": pytest.approx(0.2 - 0.02)}


def test_the_command_finds_modules_where_it_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in __import__("sys").path if entry])
    (tmp_path / "found_here.py").write_text("def score(outcome, more):\n    return 1.0\n")
    (tmp_path / "mine.yaml").write_text(
        "backbone: {name: layersearch/cifar_resnet14}\ndata: {source: digits}\n"
        "objective: {metric: 'found_here:score'}\n"
    )
    assert main(["search", "mine.yaml"]) == 1
    assert "takes one argument, the outcome" in capsys.readouterr().err
