import json

import optuna
import pytest

from layersearch.backbones import build_chain, load_backbone
from layersearch.build import latency
from layersearch.build.components import unit_choices
from layersearch.build.latency import asks, conditions, find_table, keep_table, write_table
from layersearch.config import config_from
from layersearch.errors import ConfigError, ObjectiveError, StudyError
from layersearch.objectives import make_objective
from layersearch.serving.latency import measure_latency
from layersearch.study import open_study

BACKBONE = load_backbone("cifar_resnet14", weights=None, input_size=8)


@pytest.fixture
def measurements(monkeypatch):
    """What was measured, with which settings; quickly."""
    made = []

    def measure(chain, **settings):
        made.append(settings)
        quick = {**settings, "repeats": 3, "warm_up": 0, "held_out": 1, "seconds": 0.01}
        return measure_latency(chain, **quick)

    monkeypatch.setattr(latency, "measure_latency", measure)
    return made


@pytest.fixture
def described(tmp_path):
    def make(objective, **others):
        return config_from(
            {
                "backbone": {"name": "cifar_resnet14", "input_size": 8},
                "data": {"source": "digits"},
                "study": {"name": "s", "directory": str(tmp_path)},
                "objective": objective,
                **others,
            }
        )

    return make


def find(config, told=None):
    section = config.objective
    return find_table(
        config,
        make_objective(
            section.metric,
            constraints={
                n: c.model_dump(exclude_none=True) for n, c in section.constraints.items()
            },
        ),
        backbone=BACKBONE,
        chain=build_chain(BACKBONE, **unit_choices(config)),
        classes=3,
        device="cpu",
        tell=(told if told is not None else []).append,
    )


@pytest.mark.parametrize(
    ("objective", "wanted"),
    [
        ({}, False),
        ({"constraints": {"task_bytes": {"max": 1e6}}}, False),
        ({"constraints": {"latency_ms": {"max": 2.0}}}, True),
        ({"metric": ["accuracy", "latency_ms"]}, True),
        ({"latency": {}}, True),
    ],
)
def test_latency_is_measured_where_something_asks_for_it(
    objective, wanted, described, measurements
):
    config = described(objective, strategy={"name": "tpe", "trials": 3})
    assert asks(config) == wanted
    assert (find(config) is not None) == wanted
    assert len(measurements) == wanted


def test_it_is_measured_as_the_description_says_and_said(described, measurements):
    told = []
    settings = {"batch_size": 2, "precision": "bf16", "threads": 1, "seconds": "9s", "held_out": 5}
    table = find(described({"latency": settings}), told)
    (made,) = measurements
    assert {**made, **settings, "seconds": 9.0} == made
    assert (table.batch_size, table.precision) == (2, "bf16")
    assert told[0].startswith("measuring the serving latency of cifar_resnet14 on cpu, 2 at a time")
    assert "predictions were" in told[1]


def test_a_study_keeps_its_table_and_whoever_comes_later_goes_by_it(
    described, measurements, tmp_path
):
    config = described({"latency": {}})
    table = find(config)
    with open_study("s", directory=tmp_path) as opened:
        keep_table(opened.study, table)
        keep_table(opened.study, table)
    assert find(config) == table
    assert len(measurements) == 1


def test_who_measured_at_the_same_time_as_another_is_sent_back(described, measurements, tmp_path):
    config = described({"latency": {}})
    mine, other = find(config), find(config)
    assert len(measurements) == 2
    with open_study("s", directory=tmp_path) as opened:
        keep_table(opened.study, other)
        with pytest.raises(StudyError, match="'s' goes by another latency table"):
            keep_table(opened.study, mine)
    assert find(config) == other


def test_no_study_is_made_by_looking_for_its_table(described, measurements, tmp_path):
    find(described({"latency": {}}))
    assert list(tmp_path.iterdir()) == []
    assert len(measurements) == 1


def test_a_table_of_another_cut_in_a_study_is_refused(described, measurements, tmp_path):
    table = find(described({"latency": {}}))
    with open_study("s", directory=tmp_path) as opened:
        keep_table(opened.study, table)
    with pytest.raises(ConfigError, match="cut otherwise than this search's"):
        find(described({"latency": {}}, space={"granularity": "stage"}))
    assert len(measurements) == 1


def test_a_table_from_a_file_is_used_as_it_is(described, measurements, tmp_path):
    table = find(described({"latency": {"batch_size": 2}}))
    path = write_table(tmp_path / "t.json", table)
    assert find(described({"latency": {"table": str(path)}})) == table
    assert len(measurements) == 1
    with pytest.raises(ConfigError, match=r"batch_size: is 3, and .* was measured with 2"):
        find(described({"latency": {"table": str(path), "batch_size": 3}}))
    with pytest.raises(ConfigError, match=r"it has no conv1, layer1\.0\.conv1"):
        find(described({"latency": {"table": str(path)}}, space={"granularity": "layer"}))


def test_a_file_that_holds_no_table_is_refused_by_name(described, tmp_path):
    (tmp_path / "bad.json").write_text(json.dumps({"stages": []}))
    with pytest.raises(ObjectiveError, match=r"bad\.json: is a latency table of version None"):
        find(described({"latency": {"table": str(tmp_path / "bad.json")}}))
    with pytest.raises(ConfigError, match=r"'.*none\.json' cannot be read"):
        find(described({"latency": {"table": str(tmp_path / "none.json")}}))


def test_a_device_that_is_not_there_is_refused(described):
    with pytest.raises(ConfigError, match=r"latency.device: cuda:63 is not on this machine"):
        find(described({"latency": {"device": "cuda:63"}}))


def test_how_often_it_is_measured_may_change_while_a_study_goes_on(described):
    before, after = described({"latency": {}}), described({"latency": {"repeats": 9}})
    assert conditions(before) == conditions(after)
    assert conditions(before) != conditions(described({"latency": {"batch_size": 8}}))


@pytest.mark.slow
def test_a_search_never_trains_what_its_budget_rules_out(tmp_path):
    from layersearch.build.search import run_search

    config = config_from(
        {
            "backbone": {"name": "cifar_resnet14", "weights": None, "input_size": 8},
            "data": {"source": "digits", "train_samples": 40, "test_samples": 20, "folds": 2},
            "recipe": {"epochs": 1, "head": {"start": "random"}},
            "space": {"granularity": "stage"},
            "strategy": {"name": "exhaustive"},
            "study": {"name": "s", "directory": str(tmp_path)},
            "execution": {"device": "cpu"},
            "final": {"seeds": 1},
            "objective": {
                "latency": {"table": _table(tmp_path), "threads": 1},
                "constraints": {"latency_ms": {"max": 4.0}},
            },
        }
    )
    run_search(config)
    storage = f"sqlite:///{tmp_path}/s/study.db"
    study = optuna.load_study(study_name="s", storage=storage)
    trained = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    subsets = {tuple(trial.user_attrs["subset"]) for trial in trained}
    assert subsets == {(), ("layer3",)}
    for trial in trained:
        costs = {
            "trainable_parameters",
            "added_parameters",
            "task_bytes",
            "step_multiply_adds",
            "training_memory_bytes",
            "latency_ms",
        }
        assert costs <= trial.user_attrs.keys()
        assert trial.user_attrs["latency_ms"] <= 4.0
    assert (tmp_path / "s" / "latency.json").is_file()
    assert "latency_table" in study.user_attrs


def _table(folder):
    """Made up: 2 ms a stage, 1 ms for the head."""
    config = config_from(
        {"backbone": {"name": "x"}, "space": {"granularity": "stage"}}, given=("data",)
    )
    chain = build_chain(BACKBONE, **unit_choices(config))
    table = measure_latency(
        chain, backbone="x", classes=3, threads=1, repeats=3, warm_up=0, held_out=0, seconds=0.01
    ).to_json()
    for stage in table["stages"]:
        for timing in stage.values():
            timing["median"] = 2.0
    table["stages"][-1]["tuned"]["median"] = 1.0
    table["overhead"] = 0.0
    path = folder / "table.json"
    path.write_text(json.dumps(table))
    return str(path)
