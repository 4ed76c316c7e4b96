"""The command line: what it hands on, what it prints, how it ends."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from layersearch.cli import main
from layersearch.cli.place import find_study
from layersearch.cli.settings import add_settings
from layersearch.config import SearchConfig
from layersearch.errors import StudyError
from layersearch.report import write_result
from layersearch.space import Unit

RESULT: dict[str, Any] = {
    "format": 1,
    "study": "mine",
    "strategy": "greedy",
    "metric": {"name": "accuracy", "direction": "maximize"},
    "subset": ["layer1.0"],
    "score": {"mean": 0.9, "stderr": 0.01},
    "cost": {"trainings": 5, "epochs": 50, "flops": 1e9, "seconds": 3.0},
    "parameters": {"tuned": 10, "total": 100},
}


@dataclass
class FakeResult:
    """What a search gives back."""

    values: dict[str, Any]
    folder: Path = Path("runs/mine")
    interrupted: bool = False


@dataclass(kw_only=True)
class FakeListing:
    """The units of a backbone."""

    backbone: str = "tiny"
    head: str = "fc"
    parameters: int = 2000
    input_size: tuple[int, int] = (32, 32)
    units: tuple[Unit, ...] = (
        Unit(name="stem", depth=0, parameters=("a",), numel=500, multiply_adds=12_300_000),
        Unit(name="layer1.0", depth=1, parameters=("b",), numel=1000, output_shape=(16, 8, 8)),
    )


@dataclass
class FakeBuild:
    """Stands for layersearch.build: remembers what it is asked, and answers as told."""

    configs: list[SearchConfig] = field(default_factory=list)
    answer: Callable[[], FakeResult] = lambda: FakeResult(RESULT)
    exported: dict[str, Any] = field(default_factory=dict)

    def run_search(self, config: SearchConfig, *, observers: list[Any]) -> FakeResult:
        assert observers
        self.configs.append(config)
        return self.answer()

    run_profile = run_search

    def describe_units(self, config: SearchConfig) -> FakeListing:
        self.configs.append(config)
        return FakeListing()

    def export(self, folder: Path, output: Path, **options: Any) -> Path:
        self.exported = options
        output.write_text(str(folder))
        return output


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> FakeBuild:
    """The fake in place of the real one."""
    fake, module = FakeBuild(), ModuleType("layersearch.build")
    for name in ("run_search", "run_profile", "describe_units", "export"):
        setattr(module, name, getattr(fake, name))
    monkeypatch.setitem(sys.modules, "layersearch.build", module)
    return fake


@pytest.fixture
def yaml(tmp_path: Path) -> str:
    """A small description."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        "backbone: {name: resnet18}\ndata: {source: digits}\n"
        "strategy: {name: greedy, stop: paper}\n"
    )
    return str(file)


def test_search_hands_on_the_description_and_prints_the_summary(
    build: FakeBuild, yaml: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", yaml]) == 0
    assert build.configs[0].study_name == "mine"
    out = capsys.readouterr().out
    assert "layer1.0" in out
    assert "In runs/mine: result.json" in out


def test_options_are_settings_and_the_last_one_wins(
    build: FakeBuild, yaml: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--workers", "4", "-o", "recipe.epochs=3", "--trials", "9", "-o", "strategy.trials=8"]
    assert main(["search", yaml, "--strategy", "tpe", *words]) == 0
    config = build.configs[0]
    assert (config.strategy.name, config.strategy.trials) == ("tpe", 8)
    assert (config.execution.workers, config.recipe.epochs) == (4, 3)
    assert "strategy: stop set aside: of 'greedy', not of 'tpe'" in capsys.readouterr().err


def test_profile_is_a_strategy_and_shows_every_unit(
    build: FakeBuild, yaml: str, capsys: pytest.CaptureFixture[str]
) -> None:
    points = [
        {"subset": [], "mean": 0.8, "stderr": 0.01, "trainable_parameters": 0},
        {"subset": ["layer1.0"], "mean": 0.9, "stderr": 0.01, "trainable_parameters": 1000},
    ]
    build.answer = lambda: FakeResult({**RESULT, "profile": points})
    assert main(["profile", yaml, "-o", "strategy.parts=[single]"]) == 0
    assert build.configs[0].strategy.name == "profile"
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "head alone 0 80.0 ± 1.0% ━" in lines
    assert f"layer1.0 1,000 90.0 ± 1.0% {'━' * 30}" in lines


def test_every_problem_is_one_message_without_a_traceback(
    build: FakeBuild, yaml: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--workers",
        "two",
        "--strategy",
        "gready",
        "--runner",
        "slurm",
        "-o",
        "recipe.epochs=0",
    ]
    assert main(["search", yaml, *words]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"layersearch: {yaml}: 4 problems\n")
    for line in (
        "execution.workers: must be a whole number, got 'two'",
        "strategy.name: must be the name of a strategy, got 'gready'; did you mean 'greedy'?",
        "execution.runner: must be one of",
        "recipe.epochs: must be at least 1, got 0",
    ):
        assert line in captured.err
    assert "Traceback" not in captured.err
    assert not build.configs


def test_an_address_needs_the_ray_runner(
    build: FakeBuild, yaml: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", yaml, "--address", "auto"]) == 1
    assert "execution.address: is the address of a Ray cluster" in capsys.readouterr().err


def test_a_traceback_is_shown_when_asked_for(
    build: FakeBuild, yaml: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> FakeResult:
        raise StudyError("study.name: 'mine' is held by somebody else")

    build.answer = fail
    assert main(["search", yaml]) == 1
    assert capsys.readouterr().err == "layersearch: study.name: 'mine' is held by somebody else\n"
    assert main(["search", yaml, "--traceback"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_full_disk_is_one_message(
    build: FakeBuild, yaml: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> FakeResult:
        raise OSError(28, "No space left on device", "runs/mine")

    build.answer = fail
    assert main(["search", yaml]) == 1
    assert "No space left on device: 'runs/mine'" in capsys.readouterr().err


def test_a_mistake_in_the_code_is_not_hidden(build: FakeBuild, yaml: str) -> None:
    def fail() -> FakeResult:
        raise ZeroDivisionError

    build.answer = fail
    with pytest.raises(ZeroDivisionError):
        main(["search", yaml])


def test_an_interrupted_search_says_how_to_go_on_and_exits_130(
    build: FakeBuild, yaml: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {**RESULT, "ending": "interrupted; the same command goes on"}
    build.answer = lambda: FakeResult(values, interrupted=True)
    assert main(["search", yaml]) == 130
    assert capsys.readouterr().err == "layersearch: interrupted; the same command goes on\n"


def test_a_second_interrupt_exits_130(
    build: FakeBuild, yaml: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> FakeResult:
        raise KeyboardInterrupt

    build.answer = interrupt
    assert main(["search", yaml]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_units_lists_parameters_shares_and_costs(
    build: FakeBuild, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["units", "tiny", "--granularity", "layer", "--kinds", "norm,bias"]) == 0
    config = build.configs[0]
    assert (config.backbone.name, config.backbone.weights) == ("tiny", None)
    assert (config.space.granularity, config.space.kinds) == ("layer", ("norm", "bias"))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["stem", "500", "25.0%", "12.3", "M"] in lines
    assert ["layer1.0", "1,000", "50.0%", "0", "16x8x8"] in lines
    assert ["2", "units", "1,500", "75.0%", "12.3", "M"] in lines


def test_units_can_be_read_by_programs(
    build: FakeBuild, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["units", "tiny", "--json", "--input-size", "64"]) == 0
    assert build.configs[0].backbone.input_size == 64
    listing = json.loads(capsys.readouterr().out)
    assert [unit["name"] for unit in listing["units"]] == ["stem", "layer1.0"]


def test_units_of_a_search_are_as_the_search_sees_them(build: FakeBuild, yaml: str) -> None:
    assert main(["units", yaml, "--granularity", "stage"]) == 0
    assert build.configs[0].space.granularity == "stage"


def test_units_names_what_is_wrong(build: FakeBuild, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["units", "tiny", "--granularity", "blok"]) == 1
    assert "did you mean 'block'?" in capsys.readouterr().err


def test_export_writes_the_file_and_names_it(
    build: FakeBuild, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "task.safetensors"
    assert main(["export", "mine", str(output)]) == 0
    assert output.read_text() == "runs/mine"
    assert capsys.readouterr().out.strip() == str(output)
    assert build.exported["form"] is None
    assert build.exported["weights"] is None


@pytest.mark.parametrize(
    ("words", "form"),
    [
        (["--merged"], "merged"),
        (["--format", "onnx"], "onnx"),
        (["--format", "torch-export"], "torch-export"),
    ],
)
def test_export_passes_on_what_to_write_and_where_the_backbone_is(
    build: FakeBuild, tmp_path: Path, words: list[str], form: str
) -> None:
    task, output = tmp_path / "task.safetensors", tmp_path / "out"
    words = [*words, "--backbone", "resnet18", "--weights", "w.pth", "--normalised"]
    assert main(["export", str(task), str(output), *words]) == 0
    assert output.read_text() == str(task)
    told = {name: build.exported[name] for name in ("form", "backbone", "weights", "normalise")}
    assert told == {"form": form, "backbone": "resnet18", "weights": "w.pth", "normalise": False}


def test_report_shows_a_result_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(RESULT))
    assert main(["report", "mine", "--directory", str(tmp_path)]) == 0
    assert "layer1.0" in capsys.readouterr().out
    assert main(["report", str(folder)]) == 0
    assert "layer1.0" in capsys.readouterr().out


def test_report_of_a_profile_shows_the_profile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    point = {"subset": ["stem"], "mean": 0.5, "stderr": 0.1, "trainable_parameters": 9}
    values = {
        "study": "p",
        "strategy": "profile",
        "metric": {"name": "accuracy", "direction": "maximize"},
        "subset": ["stem"],
        "score": {"mean": 0.5, "stderr": 0.1},
        "cost": {},
        "profile": [point],
    }
    (tmp_path / "p").mkdir()
    write_result(tmp_path / "p" / "profile.json", values)
    assert main(["report", str(tmp_path / "p")]) == 0
    assert "the finetuning profile" in capsys.readouterr().out


def test_report_of_no_study_names_those_that_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "result.json").write_text("{}")
    assert main(["report", "yours", "--directory", str(tmp_path)]) == 1
    assert "those that have: mine" in capsys.readouterr().err


def test_dashboard_of_no_study_is_refused_before_it_listens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna_dashboard")
    assert main(["dashboard", "nothing", "--directory", str(tmp_path)]) == 1
    assert "nothing" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()


def test_a_study_is_a_name_a_folder_or_a_description(yaml: str) -> None:
    assert find_study("mine").folder == Path("runs/mine")
    assert find_study("a/b/mine").folder == Path("a/b/mine")
    assert find_study(yaml).name == "mine"
    assert find_study("mine", storage="sqlite:///x.db").storage == "sqlite:///x.db"


@pytest.mark.parametrize("command", ["search", "profile", "units", "report", "export", "dashboard"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "--traceback" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [[], ["serch"], ["search"], ["search", "x.yaml", "--trails", "5"]]
)
def test_a_wrong_command_line_exits_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: layersearch" in capsys.readouterr().err


def python(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_and_mistakes_load_no_heavy_library(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("backbone: {}\n")
    code = (
        "import sys\nfrom layersearch.cli import main\n"
        f"assert main(['search', {str(tmp_path / 'bad.yaml')!r}]) == 1\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'optuna', 'ray', 'numpy', 'rich') if m in sys.modules])"
    )
    done = python("-c", code)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_package_runs_as_a_module() -> None:
    done = python("-m", "layersearch", "--version")
    assert done.returncode == 0
    assert done.stdout.startswith("layersearch ")


def test_a_closed_pipe_ends_quietly() -> None:
    code = (
        "import sys; from layersearch.cli import main; import layersearch.cli.studies as s\n"
        "def fail(arguments): raise BrokenPipeError\n"
        "s._report = fail\n"
        "sys.exit(main(['report', 'x']))"
    )
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_budgets_of_several_options_add_up_to_one() -> None:
    parser = argparse.ArgumentParser()
    add_settings(parser)
    said = parser.parse_args(["--budget", "30m", "--budget", "200epochs"]).overrides
    assert said[-1] == 'execution.budget="30m 200epochs"'
