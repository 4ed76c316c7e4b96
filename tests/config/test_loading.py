"""Loading a description: everything that is wrong, at once, with its place and the remedy."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.config import GIVEN, GreedyConfig, SamplerConfig, config_from, load_config
from layersearch.errors import ConfigError

MINIMAL: dict[str, Any] = {"backbone": {"name": "resnet18"}, "data": {"source": "digits"}}


def problems(document: dict[str, Any], *overrides: str) -> dict[str, str]:
    """What is wrong with a document, by place."""
    with pytest.raises(ConfigError) as caught:
        config_from(document, overrides)
    return {problem.where: str(problem) for problem in caught.value.problems}


def test_a_backbone_and_a_data_source_are_enough() -> None:
    config = config_from(MINIMAL)
    assert config.strategy == GreedyConfig()
    assert config.recipe.epochs == 10
    assert config.study_name == "search"


def test_all_problems_come_in_one_report_with_place_value_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "backbone: {name: resnet18, wieghts: none}\n"
        "data: {source: fodler, folds: 1}\n"
        "space: {min_units: 3, max_units: 2}\n"
        "recipe: {epoch: 3, epochs: 0, batch_size: 5.0, lr: '0.1'}\n"
        "execution: {workers: '2', device: gpu}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    text = str(caught.value)
    assert text.splitlines()[0] == f"{file}: 10 problems"
    for line in (
        "backbone.wieghts: is not a setting; did you mean 'weights'?",
        "data.folds: must be at least 2, got 1",
        "did you mean 'folder'?",
        "space.max_units: must be at least space.min_units, got 2 < 3",
        "recipe.epoch: is not a setting; did you mean 'epochs' or 'step_epochs'?",
        "recipe.epochs: must be at least 1, got 0",
        "recipe.batch_size: must be a whole number, got 5.0",
        "recipe.lr: must be a number, got '0.1'; leave out the quotes",
        "execution.workers: must be a whole number, got '2'; leave out the quotes",
        "execution.device: must be a device, got 'gpu'; write auto, cpu, cuda,",
    ):
        assert line in text


def test_the_same_report_comes_from_overrides() -> None:
    found = problems(MINIMAL, "recipe.epochs=zero", "recipe.epohcs=3", "space.always")
    assert found["recipe.epochs"] == "recipe.epochs: must be a whole number, got 'zero'"
    assert "did you mean 'epochs'" in found["recipe.epohcs"]
    assert "PATH=VALUE" in found["-o space.always"]


@pytest.mark.parametrize(
    ("section", "settings", "where", "words"),
    [
        ("data", {"source": "folder"}, "data.path", "is required by source 'folder'"),
        ("data", {"source": "torchvision"}, "data.name", "write for example CIFAR100"),
        ("data", {"source": "digits", "path": "x"}, "data.path", "leave it out"),
        ("data", {"source": "digits", "folds": 5, "holdout": 9}, "data.holdout", "keep one"),
        ("data", {"source": "digits", "holdout": 1.5}, "data.holdout", "a share between 0 and 1"),
        ("data", {"source": "digits", "holdout": "some"}, "data.holdout", "got 'some'"),
        (
            "data",
            {"source": "digits", "train_samples": 9, "samples_per_class": 1},
            "data.samples_per_class",
            "both given",
        ),
        (
            "data",
            {"source": "digits", "train_samples": 4, "folds": 5},
            "data.train_samples",
            "must be at least data.folds, got 4 < 5",
        ),
        ("data", {}, "data.source", "is required; write for example source: folder"),
        ("data", {"source": "a.b:"}, "data.source", "package.module:factory"),
        ("space", {"granularity": "blok"}, "space.granularity", "did you mean 'block'?"),
        ("space", {"always": ["a"], "never": ["a", "b"]}, "space.never", "space.always: a"),
        ("space", {"always": ["a", "b"], "max_units": 1}, "space.always", "2 > 1"),
        ("space", {"contiguous": 3, "max_units": 2}, "space.contiguous", "got 3"),
        ("space", {"contiguous": 0}, "space.contiguous", "at least 1, got 0"),
        ("space", {"kinds": ["biases"]}, "space.kinds[0]", "did you mean 'bias'?"),
        ("space", {"units": {"early": []}}, "space.units.early", "got an empty list"),
        ("recipe", {"lr": 0.0}, "recipe.lr", "must be above 0, got 0"),
        ("recipe", {"lr": float("nan")}, "recipe.lr", "must be a finite number, got nan"),
        ("recipe", {"momentum": 1.0}, "recipe.momentum", "below 1"),
        ("recipe", {"label_smoothing": -0.1}, "recipe.label_smoothing", "got -0.1"),
        ("recipe", {"head": {"depth": 0}}, "recipe.head.depth", "must be at least 1, got 0"),
        ("recipe", {"head": {"deep": 2}}, "recipe.head.deep", "did you mean 'depth'?"),
        ("recipe", {"epochs": True}, "recipe.epochs", "must be a whole number, got true"),
        ("recipe", {"channels_last": 1}, "recipe.channels_last", "true, false or auto, got 1"),
        ("recipe", {"folds": 5}, "recipe.folds", "did you mean 'data.folds'?"),
        ("recipe", {"epochs": 3, "warmup_epochs": 4}, "recipe.warmup_epochs", "got 4 > 3"),
        (
            "recipe",
            {"augmentation": {"random_resized_crop": [1.0, 0.5]}},
            "recipe.augmentation.random_resized_crop",
            "[smallest, largest]",
        ),
        (
            "recipe",
            {"augmentation": {"random_resized_crop": [0.5]}},
            "recipe.augmentation.random_resized_crop",
            "a list of 2 numbers, got 1",
        ),
        ("objective", {"metric": []}, "objective.metric", "at least 1, got an empty list"),
        ("objective", {"metric": "a.b:"}, "objective.metric", "package.module:object"),
        ("objective", {"direction": "up"}, "objective.direction[0]", "maximize or minimize"),
        ("objective", {"metric": ["a", "a"]}, "objective.metric", "names a metric twice"),
        (
            "objective",
            {"metric": "a", "direction": ["maximize", "minimize"]},
            "objective",
            "1 metrics need as many directions, got 2",
        ),
        (
            "objective",
            {"constraints": {"flops": {"mx": 3}}},
            "objective.constraints.flops.mx",
            "did you mean 'max'?",
        ),
        (
            "objective",
            {"constraints": {"flops": {}}},
            "objective.constraints.flops",
            "needs 'max', 'min' or both",
        ),
        (
            "objective",
            {"constraints": {"accuracy": {"min": 0.9, "max": 0.8}}},
            "objective.constraints.accuracy",
            "min must be at most max, got 0.9 > 0.8",
        ),
        (
            "objective",
            {"metric": ["a", "b"], "names": ["one"]},
            "objective",
            "2 values need as many different names, got one",
        ),
        ("objective", {"choose": "knees"}, "objective.choose", "best, one_stderr, knee"),
        ("strategy", {"name": "greddy"}, "strategy.name", "did you mean 'greedy'?"),
        ("strategy", {"name": 3}, "strategy.name", "the name of a strategy, got 3"),
        ("strategy", {"name": "tpe"}, "strategy.trials", "--trials 100"),
        ("strategy", {"stop": "never"}, "strategy.stop", "paired, paper or official"),
        (
            "strategy",
            {"name": "tpe", "trials": 3, "stop": "paper"},
            "strategy.stop",
            "is a setting of 'greedy', not of 'tpe'",
        ),
        ("strategy", {"trials": 0}, "strategy.trials", "must be at least 1, got 0"),
        ("strategy", {"pruner": "medain"}, "strategy.pruner", "did you mean 'median'?"),
        ("strategy", {"enqueue": [[]]}, "strategy.enqueue[0]", "is empty"),
        ("execution", {"scheduler": "asha"}, "execution.scheduler", "use strategy.pruner"),
        ("execution", {"address": "auto"}, "execution.address", "of a Ray cluster"),
        ("execution", {"workers": 0}, "execution.workers", "must be at least 1, got 0"),
        ("execution", {"device": "cuda:0,0"}, "execution.device", "names a device twice"),
        ("execution", {"device": ["cpu", "cuda:0"]}, "execution.device", "must be GPUs"),
        ("execution", {"budget": "30x"}, "execution.budget", "'2h 50trainings'"),
        ("execution", {"budget": {"seconds": "3x"}}, "execution.budget.seconds", "a duration"),
        ("execution", {"trial_timeout": "0s"}, "execution.trial_timeout", "must be above 0"),
        ("execution", {"cache": {"host": "4XB"}}, "execution.cache.host", "write 512MB, 4GiB"),
        ("execution", {"cache": {"host": -1}}, "execution.cache.host", "must be at least 0"),
        ("study", {"name": "../x"}, "study.name", "must be the name of a folder, got '../x'"),
        ("study", {"name": "a\x1b[2Jb"}, "study.name", "'a\\x1b[2Jb'"),
        ("study", {"name": 7}, "study.name", "must be text, got 7; put it in quotes"),
        ("study", {"storage": ""}, "study.storage", "must not be empty"),
        ("final", {"seeds": 0}, "final.seeds", "must be at least 1, got 0"),
        ("final", {"baselines": ["lp"]}, "final.baselines[0]", "did you mean 'lp_ft'?"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    section: str, settings: dict[str, Any], where: str, words: str
) -> None:
    assert words in problems({**MINIMAL, section: settings})[where]


def test_sections_that_are_unknown_or_no_mappings_are_refused() -> None:
    found = problems({**MINIMAL, "epochs": 3, "recipes": {}, "space": [1], "strategy": "tpe"})
    assert found["epochs"] == "epochs: is not a setting; did you mean 'recipe.epochs'?"
    assert found["recipes"] == "recipes: is not a setting; did you mean 'recipe'?"
    assert found["space"] == "space: must be a mapping, got a list"
    assert "write strategy: {name: greedy}" in found["strategy"]


def test_an_empty_document_says_what_a_search_needs() -> None:
    found = problems({})
    assert found["backbone"] == "backbone: is required; write backbone: {name: resnet50}"
    assert found["data"].startswith("data: is required; write data:")


def test_a_section_with_nothing_in_it_has_its_defaults() -> None:
    assert config_from({**MINIMAL, "space": None}).space == config_from(MINIMAL).space


def test_ranges_are_for_strategies_that_can_search_them() -> None:
    ranged = {**MINIMAL, "recipe": {"lr": {"low": 1e-4, "high": 1e-2, "log": True}}}
    assert "use --strategy tpe" in problems(ranged)["recipe.lr"]
    config = config_from({**ranged, "strategy": {"name": "tpe", "trials": 9}})
    assert list(config.recipe.searched) == ["lr"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("lr", {"low": 1e-2, "high": 1e-4}, "'low' must be below 'high', got 0.01 and 0.0001"),
        ("weight_decay", {"low": 0.0, "high": 1.0, "log": True}, "'low' must be above 0"),
        ("lr", {"low": -1.0, "high": 1.0}, "must be above 0, got -1"),
        ("momentum", {"choices": [0.9, 1.5]}, "below 1, got 1.5"),
        ("batch_size", {"low": 0, "high": 8}, "at least 1, got 0"),
        ("batch_size", {"low": 2, "high": 8, "log": True, "step": 2}, "'step' must be 1"),
    ],
)
def test_a_range_lies_within_what_the_number_can_be(
    field: str, value: dict[str, Any], words: str
) -> None:
    document = {
        **MINIMAL,
        "recipe": {field: value},
        "strategy": {"name": "tpe", "trials": 9},
    }
    assert words in problems(document)[f"recipe.{field}"]


def test_a_range_that_misses_an_end_is_named_by_its_field() -> None:
    found = problems({**MINIMAL, "recipe": {"lr": {"low": 1e-3, "hihg": 1e-2}}})
    assert found["recipe.lr.high"] == "recipe.lr.high: is required"
    assert "did you mean 'high'?" in found["recipe.lr.hihg"]


def test_sizes_durations_budgets_and_devices_are_read_as_people_write_them() -> None:
    execution = config_from(
        {
            **MINIMAL,
            "execution": {
                "device": "cuda:0,2",
                "budget": "1h30m 200epochs",
                "trial_timeout": "90s",
                "cache": {"device": "1.5GiB", "host": "4GB", "disk": 10},
            },
        }
    ).execution
    assert execution.device == ("cuda:0", "cuda:2")
    assert (execution.budget.seconds, execution.budget.epochs) == (5400, 200)
    assert execution.trial_timeout == 90
    assert execution.cache.device == 3 << 29
    assert (execution.cache.host, execution.cache.disk) == (4 * 10**9, 10)


def test_a_budget_is_an_end_for_a_sampler() -> None:
    config = config_from({**MINIMAL, "strategy": {"name": "gp"}, "execution": {"budget": "30m"}})
    assert isinstance(config.strategy, SamplerConfig)


def test_metrics_pruners_kinds_and_subsets_may_be_single_words() -> None:
    config = config_from(
        {
            **MINIMAL,
            "space": {"kinds": "norm"},
            "objective": {"metric": "macro_f1"},
            "strategy": {
                "enqueue": ["linear_probe", ["layer1.0", "layer2.0"]],
                "pruner": "median",
            },
        }
    )
    assert config.space.kinds == ("norm",)
    assert config.objective.metric == ("macro_f1",)
    assert config.strategy.enqueue == (("linear_probe",), ("layer1.0", "layer2.0"))
    assert config.strategy.pruner is not None
    assert config.strategy.pruner.name == "median"


def test_trials_with_several_values_cannot_be_pruned() -> None:
    found = problems(
        {
            **MINIMAL,
            "objective": {"metric": ["accuracy", "macro_f1"]},
            "strategy": {"name": "nsga2", "trials": 5, "pruner": "median"},
        }
    )
    assert "there are 2; leave it out" in found["strategy.pruner"]


def test_greedy_needs_one_value() -> None:
    found = problems({**MINIMAL, "objective": {"metric": ["accuracy", "macro_f1"]}})
    assert "'greedy' needs one order of subsets, got 2 values" in found["objective.metric"]
    assert "--strategy nsga2" in found["objective.metric"]


def test_an_object_that_returns_several_values_has_a_direction_for_each() -> None:
    config = config_from(
        {
            **MINIMAL,
            "objective": {"metric": "mine:score", "direction": ["maximize", "minimize"]},
            "strategy": {"name": "nsga2", "trials": 5},
        }
    )
    assert config.objective.values == 2


def test_data_and_weights_that_do_not_exist_are_reported_with_where_was_looked(
    tmp_path: Path,
) -> None:
    file = tmp_path / "search.yaml"
    file.write_text(
        "backbone: {name: resnet18, weights: no/such.pth}\ndata: {source: folder, path: nowhere}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    weights, data = sorted(map(str, caught.value.problems))
    assert weights.startswith("backbone.weights: 'no/such.pth' does not exist; looked from")
    assert str(tmp_path) in weights
    assert data.startswith("data.path: 'nowhere' does not exist")
    assert load_config(file, check_paths=False).data.path == "nowhere"


def test_relative_paths_are_looked_up_from_here_and_then_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "beside" / "images").mkdir(parents=True)
    file = tmp_path / "beside" / "s.yaml"
    file.write_text("backbone: {name: resnet18}\ndata: {source: folder, path: images}\n")
    monkeypatch.chdir(tmp_path / "here")
    assert load_config(file).find("images") == tmp_path / "beside" / "images"
    (tmp_path / "here" / "images").mkdir()
    assert load_config(file).find("images") == Path("images")


@pytest.mark.parametrize(
    ("file", "name"), [("digits.yaml", "digits"), ("my search!.yaml", "my-search"), ("é.yml", "é")]
)
def test_a_study_is_named_after_its_file(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).write_text("backbone: {name: resnet18}\ndata: {source: digits}\n")
    assert load_config(tmp_path / file).study_name == name


def test_objects_are_only_given_by_python_calls() -> None:
    named = {"backbone": {"name": GIVEN}, "data": {"source": GIVEN}}
    assert "reserved" in problems(named)["backbone.name"]
    config = config_from({"recipe": {"epochs": 2}}, given=("backbone", "data", "strategy"))
    assert (config.backbone.name, config.data.source) == (GIVEN, GIVEN)
    assert config.strategy.name == GIVEN


def test_resolved_holds_every_field_and_makes_the_same_search_again() -> None:
    document = {
        **MINIMAL,
        "recipe": {"lr": {"low": 1e-4, "high": 1e-2}, "batch_size": {"choices": [1, 2]}},
        "strategy": {"name": "tpe", "trials": 4, "enqueue": ["linear_probe"]},
        "execution": {"budget": "2h"},
        "objective": {"constraints": {"flops": {"max": 1e9}}},
    }
    resolved = config_from(document).resolved()
    assert resolved["recipe"]["epochs"] == 10
    assert resolved["study"]["name"] == "search"
    assert config_from(resolved).resolved() == resolved


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@db/studies",
        "postgresql+psycopg://me:a:hunter2/@b@db/studies",
        "mysql://db/studies?user=me&password=hunter2",
    ],
)
def test_no_password_leaves_in_a_resolved_description_or_a_message(url: str) -> None:
    config = config_from({**MINIMAL, "study": {"storage": url}})
    assert config.study.storage == url
    assert "hunter2" not in str(config.resolved())
    found = problems({**MINIMAL, "study": {"directory": 3, "join": url}})
    assert "hunter2" not in str(found)


words = st.text(max_size=8)
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
sections = sorted(config_from(MINIMAL).resolved())
settings = st.sampled_from(["name", "lr", "epochs", "stop", "budget", "cache", "units"])


def report(document: dict[str, Any]) -> ConfigError | None:
    """What is wrong with a document, if anything."""
    try:
        config_from(document, check_paths=False)
    except ConfigError as error:
        return error
    return None


@given(st.dictionaries(st.sampled_from(sections), values | st.dictionaries(settings, values)))
def test_whatever_the_document_only_a_config_or_one_report_comes_out(
    document: dict[str, Any],
) -> None:
    error = report(document)
    assert error is None or error.problems
    assert error is None or all(problem.where and problem.what for problem in error.problems)
