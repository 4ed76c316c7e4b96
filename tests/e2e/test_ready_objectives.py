"""The ready searches for objectives, as the command runs them, made tiny."""

import json
from pathlib import Path

import optuna
import pytest

from tests.e2e.conftest import ROOT, Command

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _beside_the_searches(tmp_path: Path) -> None:
    (tmp_path / "search_spaces").symlink_to(ROOT / "search_spaces")


def study_of(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder}/study.db")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("digits_pareto", ["accuracy", "trainable_parameters"]),
        ("digits_own_objective", ["worst_recall", "multiply_adds"]),
    ],
)
def test_a_front_is_found_shown_and_kept(
    layersearch: Command, tmp_path: Path, name: str, values: list[str]
) -> None:
    trials = ("-o", "strategy.trials=4", "--quiet")
    done = layersearch("search", f"search_spaces/{name}.yaml", *trials)
    assert done.returncode == 0, done.stderr
    assert "are on the Pareto front of " + values[0] in done.stdout
    folder = tmp_path / "runs" / name
    result = json.loads((folder / "result.json").read_bytes())
    assert sum(member["chosen"] for member in result["front"]) == 1
    assert all(list(member["values"]) == values for member in result["front"])
    study = study_of(folder)
    assert study.metric_names == values
    assert (folder / "task.safetensors").is_file()


def test_a_latency_budget_is_kept(layersearch: Command, tmp_path: Path) -> None:
    quick = ("-o", "objective.latency.repeats=5", "-o", "objective.latency.held_out=1", "--quiet")
    search = ("search", "search_spaces/digits_latency_budget.yaml", *quick)
    loose = layersearch(*search, "-o", "objective.constraints.latency_ms.max=1000")
    assert loose.returncode == 0, loose.stderr
    folder = tmp_path / "runs" / "digits_latency_budget"
    added = {
        tuple(trial.user_attrs["subset"]): trial.user_attrs["latency_ms"]
        for trial in study_of(folder).get_trials()
    }
    assert len(added) >= 4
    dear = max(cost for subset, cost in added.items() if len(subset) == 1)
    cheap = min(cost for subset, cost in added.items() if subset)
    bound = f"objective.constraints.latency_ms.max={(cheap + dear) / 2}"
    table = f"objective.latency.table={folder}/latency.json"
    tight = layersearch(*search, "-o", bound, "-o", table, "-o", "study.name=tight")
    assert tight.returncode == 0, tight.stderr
    trained = [
        trial
        for trial in study_of(tmp_path / "runs" / "tight").get_trials()
        if trial.user_attrs.get("trainings")
    ]
    assert trained
    assert all(trial.user_attrs["latency_ms"] <= (cheap + dear) / 2 for trial in trained)
    low = f"objective.constraints.latency_ms.max={cheap * 0.9}"
    poor = layersearch(*search, "-o", low, "-o", table, "-o", "study.name=poor")
    assert poor.returncode == 1
    assert "the cheapest subset, {" in poor.stderr
    assert "has latency_ms" in poor.stderr
