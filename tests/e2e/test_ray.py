"""Real trainings under Ray find what they find under local workers, to the last digit."""

from pathlib import Path
from typing import Any

import optuna
import pytest

import layersearch
from layersearch.space import Subset
from tests.e2e import small
from tests.e2e.conftest import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    # Ray's own, when it starts and ends.
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
RAY = {"runner": "ray", "workers": 2}


def scores(result: layersearch.Result) -> dict[Subset, tuple[float, dict[int, float]]]:
    """Subset -> its score and its curve."""
    return {
        Subset(trial.user_attrs["subset"]): (trial.value, trial.intermediate_values)
        for trial in small.trials(result)
        if trial.state.name == "COMPLETE"
    }


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    if ray.is_initialized():
        pytest.skip("another test's Ray is running in this process: run this file by itself")
    monkeypatch.chdir(tmp_path)


def both(config: Path, *overrides: str, **execution: Any) -> list[layersearch.Result]:
    """The same search by local workers and by Ray."""
    results = []
    for name, runner in (("local", {"runner": "local", "workers": 2}), ("ray", RAY)):
        results.append(
            layersearch.search(
                config,
                # Which trials are stopped early depends on what has ended by then.
                overrides=("strategy.eliminate=null", *overrides),
                observers=[],
                study={"name": name},
                execution={"threads": 1, **runner, **execution},
            )
        )
    return results


def check_same(results: list[layersearch.Result]) -> None:
    local, ray = results
    assert ray.values["subset"] == local.values["subset"]
    assert ray.values["test"]["chosen"]["mean"] == local.values["test"]["chosen"]["mean"]
    theirs = scores(ray)
    shared = scores(local).keys() & theirs.keys()  # what was speculated on depends on the time
    assert len(shared) >= 4
    assert {subset: theirs[subset] for subset in shared} == {
        subset: scores(local)[subset] for subset in shared
    }


def test_digits_by_ray_is_digits_by_local_workers_and_leaves_no_ray_behind() -> None:
    import ray

    results = both(
        ROOT / "search_spaces" / "digits.yaml",
        *("data.train_samples=80", "data.test_samples=200", "data.folds=2", "recipe.epochs=2"),
        *("space.granularity=stage", "final.seeds=1", "final.baselines=[linear_probe]"),
    )
    check_same(results)
    assert not ray.is_initialized()
    assert not list(Path("runs/ray").glob("features/*"))  # its workers' features are gone


def test_a_resnet20_on_real_images_by_ray_is_the_same(shared_data: Path) -> None:
    results = both(
        ROOT / "search_spaces" / "resnet20_cifar10_jpeg.yaml",
        f"backbone.weights={shared_data}/weights/resnet20-12fca82f.th",
        f"data.path={shared_data}/cifar10_jpeg.tar.gz",
        *("data.train_samples=100", "data.test_samples=100", "data.folds=2", "recipe.epochs=1"),
        *("space.granularity=stage", "strategy.max_rounds=2"),
        *("final.seeds=1", "final.baselines=[linear_probe]"),
    )
    check_same(results)


def test_a_race_by_ray_is_that_of_local_workers() -> None:
    def looks(result: layersearch.Result) -> dict[Subset, tuple[float, int]]:
        return {
            Subset(trial.user_attrs["subset"]): (trial.value, trial.user_attrs["look"])
            for trial in small.trials(result)
            if trial.state.name == "PRUNED" and trial.value is not None
        }

    greedy = {"name": "greedy", "look_epochs": 1}
    race: dict[str, Any] = {"strategy": greedy, "recipe": {"epochs": 4}}
    local = small.search("local", **race, execution={"workers": 2})
    by_ray = small.search("ray", **race, execution=RAY)
    assert by_ray.values["subset"] == local.values["subset"]
    assert by_ray.values["rounds"] == local.values["rounds"]
    shared = looks(local).keys() & looks(by_ray).keys()
    assert len(shared) >= 4  # the linear probe and each of the three units
    for subset in shared:
        assert looks(by_ray)[subset] == looks(local)[subset]
    assert scores(by_ray) == scores(local)  # the finalists
    assert 1 <= len(scores(local)) <= 3


def test_a_users_own_network_is_searched_by_ray_under_asha() -> None:
    found = small.search(
        "own",
        strategy="exhaustive",
        recipe={"epochs": 4},
        execution={**RAY, "scheduler": {"name": "asha", "grace_period": 1, "reduction_factor": 2}},
    )
    states = {trial.state.name for trial in small.trials(found)}
    assert states <= {"COMPLETE", "PRUNED"}
    assert found.values["subset"] is not None


def test_hyperband_pauses_real_trainings_and_their_scores_are_those_of_undisturbed_ones() -> None:
    paused = small.search(
        "paused",
        strategy="exhaustive",
        recipe={"epochs": 9},
        data_options={"folds": None, "holdout": 10},
        execution={**RAY, "scheduler": "hyperband"},
    )
    plain = small.search(
        "plain",
        strategy="exhaustive",
        recipe={"epochs": 9},
        data_options={"folds": None, "holdout": 10},
    )
    whole = scores(plain)
    assert {state.state.name for state in small.trials(paused)} == {"COMPLETE", "PRUNED"}
    for trial in small.trials(paused):
        _, curve = whole[Subset(trial.user_attrs["subset"])]
        assert trial.intermediate_values == {
            step: curve[step] for step in trial.intermediate_values
        }
        assert trial.user_attrs["epochs"] == len(trial.intermediate_values)


def test_several_values_constraints_and_a_failing_objective_by_ray_are_those_of_local_workers() -> (
    None
):
    def judged(outcome: layersearch.Outcome) -> dict[str, Any]:
        if tuple(outcome.subset) == ("second",):
            raise RuntimeError("not this one")
        right = float((outcome.predictions == outcome.targets).float().mean())
        return {
            "values": (right, outcome.costs["trainable_parameters"]),
            "constraints": {"no more than two": len(outcome.subset) - 2},
        }

    results = [
        small.search(
            name,
            metric=judged,
            objective={"direction": ["maximize", "minimize"], "names": ["right", "size"]},
            strategy="exhaustive",
            final={"seeds": 1, "baselines": ["linear_probe"]},
            execution=execution,
        )
        for name, execution in (("local", {}), ("ray", RAY))
    ]
    local, ray = (
        {
            (tuple(trial.user_attrs["subset"]), trial.state.name): (
                trial.values,
                trial.constraints,
                trial.user_attrs.get("curve"),
            )
            for trial in small.trials(result)
        }
        for result in results
    )
    assert ray == local
    assert (("second",), "FAIL") in local
    fronts = [
        [(member["subset"], member["values"]) for member in result.front] for result in results
    ]
    assert fronts[0] == fronts[1] != []
    assert results[0].subset == results[1].subset
    storage = f"sqlite:///{results[1].folder.resolve()}/study.db"
    assert optuna.load_study(study_name="ray", storage=storage).metric_names == ["right", "size"]
