"""Bad input, as the command meets it: one message with its place, before any training."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from layersearch import load_backbone
from layersearch.cli import main
from tests.e2e.conftest import ROOT
from tests.e2e.small import trials_of

DIGITS = str(ROOT / "search_spaces" / "digits.yaml")
TINY = (
    "data.train_samples=40",
    "data.test_samples=100",
    "data.folds=2",
    "space.never=[layer1.0, layer1.1, layer2.0, layer2.1, layer3.0]",
    "recipe.epochs=1",
    "recipe.batch_size=20",
    "strategy.enqueue=[linear_probe]",
    "execution.threads=1",
    "execution.workers=1",
    "final.seeds=1",
    "final.baselines=[linear_probe]",
)
Said = tuple[int, str, str]  # exit code, stdout, stderr
Run = Callable[..., Said]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`layersearch search FILE -o …`, in an empty folder and in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def call(*settings: str, file: str = DIGITS, tiny: bool = True) -> Said:
        words = [part for s in (*(TINY if tiny else ()), *settings) for part in ("-o", s)]
        capsys.readouterr()
        code = main(["search", file, *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def refused(said: Said, *words: str) -> None:
    """Whether it ended with one message that has the words, and no trial was begun."""
    code, out, err = said
    assert code == 1, err
    assert out == ""
    for word in words:
        assert word in err
    assert "Traceback" not in err
    assert not list(Path("runs").glob("*/study.db"))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("recpie.lr=1", "recpie: is not a setting; did you mean 'recipe'?"),
        *((f"{name}.nmae=3", f"{name}.nmae: is not a setting") for name in
          ("backbone", "data", "space", "recipe", "objective", "strategy", "execution", "study",
           "final")),
        ("backbone=3", "backbone: must be a mapping"),
        ("backbone.head=nope", "backbone.head: CifarResNet has no module 'nope'"),
        ("backbone.weights=nofile.pth", "backbone.weights: 'nofile.pth' does not exist"),
        ("backbone.name=nopkg:make", "backbone.name: cannot import 'nopkg:make'"),
        ("data.source=digit", "did you mean 'digits'?"),
        ("data.source=nopkg:make", "data.source: 'nopkg' cannot be imported"),
        ("data.folds=30", "30 folds, but class '0' has 4"),
        ("data.train_samples=100000", "data.train_samples: must be from 10"),
        ("data.test_samples=99999", "data.test_samples: 99999 asked for"),
        ("data.holdout=0.2", "data.holdout: and data.folds are both given"),
        ("space.granularity=blok", "did you mean 'block'?"),
        ("space.units={a: [nothing.*]}", "space.units.a[0]: 'nothing.*' matches no parameter"),
        ("space.exclude=[nope]", "space.exclude[0]: 'nope' matches"),
        ("space.never=[layer9]", "space.never[0]: 'layer9' is not a unit"),
        ("space.always=[layre3.1]", "did you mean 'layer3.1'"),
        ("space.contiguous=9", "space.contiguous: a run of 9 is longer than the 2 units"),
        ("space.min_units=3", "space.min_units: 3 units are more than the 2"),
        ("strategy.enqueue=[stem, [layer31]]", "strategy.enqueue[1]: 'layer31' is no unit"),
        ("strategy.enqueue=[linear_prob]", "did you mean 'linear_probe'?"),
        ("strategy.name=gredy", "did you mean 'greedy'?"),
        ("strategy.name=nopkg:Make", "strategy.name: 'nopkg:Make' cannot be imported"),
        ("strategy.name=tpe", "strategy.trials: 'tpe' has no end of its own"),
        ("strategy.pruner=meedian", "did you mean 'median'?"),
        ("recipe.lr=-1", "recipe.lr: must be above 0"),
        ("recipe.lr={low: 1e-4, high: 1e-2}", "use --strategy tpe"),
        ("recipe.precision=fp16", "recipe.precision: fp16 needs a GPU"),
        ("objective.metric=acc", "did you mean 'accuracy'"),
        ("objective.constraints.parameters.max=3", "'trainable_parameters'"),
        ("objective.constraints.trainable_parameters.max=100", "{stem}, has trainable_parameters"),
        ("execution.device=cuda:63", "execution.device: cuda:63 is not on this machine"),
        ("execution.runner=slurm", "execution.runner: must be one of"),
        ("execution.budget=5x", "write '30m'"),
        ("study.name=../../evil", "study.name: must be the name of a folder"),
        ("study.name=..", "study.name: must be the name of a folder"),
        ('study.name="a\\nb"', "study.name: must be the name of a folder"),
        ("study.storage=nonsense", "study.storage: 'nonsense' is neither a URL"),
        ("data.source=!!python/name:os.system", "is refused: a description holds plain values"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_right_is_refused_by_its_name(
    run: Run, setting: str, words: str
) -> None:
    refused(run(setting), words)


def test_all_problems_come_in_one_report(run: Run) -> None:
    said = run("recipe.lr=-1", "data.folds=1", "strategy.name=gredy", "final.seeds=0")
    refused(said, "4 problems", "recipe.lr", "data.folds", "strategy.name", "final.seeds")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"backbone: !!python/object/apply:os.system ['touch pwned']\n", "is refused"),
        (b"seed: 1\nseed: 2\n", "the key 'seed' is already in line 1"),
        (b"", "is empty"),
        (b"- a", "must be a mapping"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        (b"seed: 1\n", "data: is required"),
    ],
)
def test_a_file_that_describes_no_search_is_refused(run: Run, text: bytes, words: str) -> None:
    Path("search.yaml").write_bytes(text)
    refused(run(file="search.yaml", tiny=False), words)
    assert not Path("pwned").exists()


# --- Data -----------------------------------------------------------------------------------------

FOLDER = ("data.source=folder", "data.path=images", "data.train_samples=null",
          "data.test_samples=null")  # fmt: skip


def draw_folders(classes: int = 2) -> None:
    """A train and a test folder of eight tiny images a class."""
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        for number in range(classes):
            place = Path("images", part, f"class{number}")
            place.mkdir(parents=True)
            for name in range(8):
                pixels = random.integers(0, 120, (32, 32, 3)) + 100 * number
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{name}.png")


def _cut(path: str) -> None:
    Path(path).write_bytes(Path(path).read_bytes()[:200])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda: _cut("images/train/class1/3.png"), ["train/class1/3.png"]),
        (lambda: _cut("images/test/class0/1.png"), ["test/class0/1.png"]),
        (lambda: Path("images/train/class0/2.png").write_text("hello"), ["train/class0/2.png"]),
        (lambda: Path("images/train/class9").mkdir(), ["class9", "holds no image"]),
        (
            lambda: shutil.copy("images/train/class0/1.png", "images/test/class0/x.png"),
            ["copies of training samples", "test/class0/x.png", "train/class0/1.png"],
        ),
        (lambda: shutil.rmtree("images/test/class1"), ["different classes"]),
        (lambda: shutil.rmtree("images/test"), ["no test split"]),
        (lambda: shutil.rmtree("images/train/class1"), ["class1"]),
    ],
)
def test_an_image_folder_with_a_fault_is_refused_by_file_name(
    run: Run, damage: Callable[[], object], words: list[str]
) -> None:
    draw_folders()
    damage()
    refused(run(*FOLDER), *words)


def test_one_class_is_no_task(run: Run) -> None:
    draw_folders(classes=1)
    refused(run(*FOLDER), "two classes or more")


def test_an_image_folder_without_a_fault_is_searched(run: Run) -> None:
    draw_folders()
    code, out, err = run(*FOLDER)
    assert code == 0, err
    assert "Tune" in out


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": np.zeros((8, 3, 8, 8), np.uint8), "y_train": np.arange(8) - 1}, "from 0 up"),
        ({"a": np.zeros(1)}, "has no 'x'"),
        ({"x_train": np.array([{}]), "y_train": np.arange(1)}, "holds pickled objects"),
    ],
)
def test_arrays_that_cannot_be_right_are_refused(
    run: Run, arrays: dict[str, np.ndarray], words: str
) -> None:
    np.savez("data.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub has a keyword too
    refused(run("data.source=arrays", "data.path=data.npz"), words)


# --- Weights --------------------------------------------------------------------------------------


class _Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch pwned",)


def _saved(change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_backbone("layersearch/cifar_resnet14").network.state_dict()
    change(state)
    save_file(state, "weights.safetensors")


def _truncated() -> None:
    _saved(lambda state: None)
    path = Path("weights.safetensors")
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: _saved(lambda s: s.pop("bn1.weight")), "1 missing ('bn1.weight')"),
        (lambda: _saved(lambda s: s.update(a=torch.zeros(1))), "1 unexpected ('a')"),
        (lambda: _saved(lambda s: s.update({"bn1.weight": torch.zeros(7)})), "(7,) instead of"),
        (_truncated, "damaged or cut short"),
        (lambda: Path("weights.safetensors").touch(), "damaged or cut short"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    run: Run, make: Callable[[], object], words: str
) -> None:
    make()
    refused(run("backbone.name=cifar_resnet14", "backbone.weights=weights.safetensors"), words)


@pytest.mark.parametrize("save", [torch.save, lambda o, p: Path(p).write_bytes(pickle.dumps(o))])
def test_weights_that_hold_code_are_refused_and_not_run(
    run: Run, save: Callable[[object, str], object]
) -> None:
    save({"state_dict": _Evil()}, "weights.pt")
    refused(run("backbone.name=cifar_resnet14", "backbone.weights=weights.pt"), "weights.pt")
    assert not Path("pwned").exists()


# --- Metrics --------------------------------------------------------------------------------------

METRICS = """
def raises(outcome): raise RuntimeError("my metric is broken")
def nan(outcome): return float("nan")
def infinite(outcome): return float("inf")
def none(outcome): return None
def text(outcome): return "0.9"
def sometimes(outcome): return None if "stem" in outcome.subset else 0.5
"""


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("raises", "my metric is broken"),
        ("nan", "must be finite (got nan)"),
        ("infinite", "must be finite (got inf)"),
        ("none", "got None"),
        ("text", "got '0.9'"),
    ],
)
def test_a_metric_that_fails_every_time_ends_the_search_with_the_first_traceback(
    run: Run, metric: str, words: str
) -> None:
    Path("own.py").write_text(METRICS)
    code, out, err = run(
        f"objective.metric=own:{metric}",
        "objective.direction=maximize",
        "strategy.name=exhaustive",
        "execution.max_failures=2",
    )
    assert code == 1
    assert out == ""
    assert "2 subsets failed one after another (execution.max_failures)" in err
    assert err.count("Traceback") == 1
    assert words in err
    trials = trials_of(Path("runs/digits"))
    assert {trial.state.name for trial in trials} == {"FAIL"}
    assert len({tuple(trial.user_attrs["subset"]) for trial in trials}) == 2
    assert all(words in str(trial.user_attrs) for trial in trials)


def test_a_metric_that_fails_for_some_subsets_costs_only_these(run: Run) -> None:
    Path("own.py").write_text(METRICS)
    code, out, err = run("objective.metric=own:sometimes", "objective.direction=maximize",
                         "strategy.name=exhaustive", "final.baselines=[full_finetune]")  # fmt: skip
    assert code == 0, err
    states = {
        tuple(trial.user_attrs["subset"]): trial.state.name
        for trial in trials_of(Path("runs/digits"))
    }
    assert states[()] == states["layer3.1",] == "COMPLETE"
    assert states["stem",] == states["stem", "layer3.1"] == "FAIL"
    assert "could not be compared with full finetuning" in " ".join(out.split())


# --- Going on with something else -----------------------------------------------------------------


def test_a_study_is_not_gone_on_with_when_its_search_has_changed(run: Run) -> None:
    assert run("strategy.name=random", "strategy.trials=1")[0] == 0
    before = trials_of(Path("runs/digits"))
    for setting, field in {
        "recipe.lr=0.5": "recipe.lr: was 0.001, is now 0.5",
        "recipe.augmentation.flip=true": "recipe.augmentation.flip",
        "data.train_samples=50": "data.train.count: was 40, is now 50",
        "data.folds=3": "data.folds.count: was 2, is now 3",
        "space.max_units=1": "space.bounds.max_units: was null, is now 1",
        "backbone.weights=none": "backbone.weights_hash",
        "backbone.mean=[0.1, 0.1, 0.1]": "backbone.preprocessing.mean",
        "objective.metric=macro_f1": 'objective.metric: was "accuracy", is now "macro_f1"',
        "objective.constraints.trainable_parameters.max=90000": "objective.constraints",
        "seed=1": "seed: was 0, is now 1",
    }.items():
        code, out, err = run("strategy.name=random", "strategy.trials=1", setting)
        assert code == 1, setting
        assert field in err
        assert "study.name" in err  # the remedy
        assert out == ""
    assert trials_of(Path("runs/digits")) == before


def test_a_folder_that_cannot_be_written_is_refused(run: Run) -> None:
    Path("taken").touch()
    refused(run("study.directory=taken/runs"), "taken/runs")
