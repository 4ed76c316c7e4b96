from dataclasses import replace

import pytest

from tests.callbacks.conftest import tell

pytest.importorskip("mlflow")
pytestmark = [
    pytest.mark.slow,
    # Its own, and its dependencies', when it is imported and makes its database.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(autouse=True)
def nobody_elses_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def callback(**options):
    from layersearch.callbacks.mlflow_runs import MlflowCallback

    return MlflowCallback(**options)


def runs(uri):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("layersearch")
    found = client.search_runs([experiment.experiment_id])
    return client, {run.info.run_name: run for run in found}


def test_the_search_has_a_run_and_the_trials_nested_ones(beginning, tmp_path):
    tell(callback(), beginning)
    client, found = runs(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    assert set(found) == {"digits", "trial 0", "trial 1", "trial 2"}
    search, first = found["digits"], found["trial 0"]
    assert search.info.status == "FINISHED"
    assert search.data.params["recipe.epochs"] == "2"
    assert search.data.metrics["best accuracy"] == pytest.approx(0.6)
    assert search.data.metrics["test chosen"] == pytest.approx(0.7)
    assert search.data.tags["chosen"] == "{layer0}"
    assert first.data.tags["mlflow.parentRunId"] == search.info.run_id
    assert first.data.metrics["final accuracy"] == pytest.approx(0.6)
    assert first.data.metrics["trainable_parameters"] == 42
    curve = client.get_metric_history(first.info.run_id, "accuracy")
    assert [(m.step, m.value) for m in curve] == [(1, 0.5), (2, pytest.approx(0.6))]
    assert found["trial 1"].info.status == "KILLED"
    assert found["trial 1"].data.tags["reason"] == "pruned: no hope"
    assert found["trial 2"].info.status == "FAILED"


def test_a_resumed_search_goes_on_with_its_run_and_another_has_its_own(beginning, tmp_path):
    uri = f"sqlite:///{tmp_path / 'own.db'}"
    for identity in ("one", "one", "two"):
        changed = {"seed": 0, "execution": {"workers": len(identity)}}
        tell(
            callback(tracking_uri=uri, run_name=f"study {identity}", curves=False),
            replace(beginning, identity=identity, config=changed),
        )
    client, found = runs(uri)
    assert set(found) == {"study one", "study two"}
    assert len(client.search_runs(["1"])) == 2
