"""`layersearch.search` as a Python program calls it, with objects of its own."""

import os
import signal
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from torch.utils.data import TensorDataset

import layersearch
from layersearch.errors import ConfigError, DataError, LayersearchError, SearchError, SpaceError
from layersearch.space import History, Subset
from layersearch.strategies import Done
from layersearch.strategies.protocol import Progress
from tests.e2e.conftest import environment
from tests.e2e.small import UNITS, Heard, Images, Net, images, search, trained

X, Y = images()
X_TEST, Y_TEST = images(24, seed=1)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_users_module_comes_back_as_it_was() -> None:
    network = Net()
    network.train()
    network.first[0].weight.requires_grad_(False)
    before = deepcopy(network.state_dict())
    search("module", backbone=network)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.stride() == before[name].stride()  # the memory format
    assert all(module.training for module in network.modules())
    assert [p.requires_grad for p in network.parameters()][:3] == [False, True, True]
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        (X, Y, X_TEST, Y_TEST),
        (X.numpy(), Y.numpy()),
        Images(),
        (Images(), TensorDataset(X_TEST, Y_TEST)),
    ],
    ids=["tensors", "with a test split", "numpy", "a Dataset", "two Datasets"],
)
def test_data_comes_as_tensors_arrays_or_datasets(data: Any) -> None:
    result = search("data", data=data, strategy={"name": "greedy", "max_rounds": 1})
    assert result.test["chosen"]["mean"] is not None
    assert result.task_path is not None
    assert result.task_path.is_file()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((X, Y - 1), "from 0 up"),
        ((X, Y[:5]), "60 samples but 5 labels"),
        ((X,), "give (x, y)"),
        ((X.float() * float("nan"), Y), "NaN"),
        (3, "int is no Dataset"),
        ((X, Y * 0), "two classes"),
        ((X, Y * 2), "class '1'"),
        ((X, Y, X[:9], Y[:9]), "copies of training samples"),
    ],
)
def test_data_that_cannot_be_right_is_refused_before_any_training(data: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        search("data", data=data)
    assert words in str(caught.value)
    assert not Path("runs").exists()


def test_the_saved_task_reproduces_the_reported_predictions() -> None:
    network = Net()
    result = search("task", backbone=network, data=(X, Y, X_TEST, Y_TEST), strategy=_Second())
    backbone = layersearch.backbone_from_module(
        network, input_size=(16, 16), mean=(0, 0, 0), std=(1, 1, 1)
    )
    exported = layersearch.export(result.folder, "task.safetensors")
    predicted = layersearch.load_task(exported).attach(backbone).predict(X_TEST)
    right = torch.tensor([int(name) for name in predicted]) == Y_TEST
    assert right.float().mean().item() == pytest.approx(result.test["chosen"]["mean"])


def test_a_metric_of_the_users_own_decides() -> None:
    def share_wrong(outcome: Any) -> float:
        return float((outcome.logits.argmax(1) != outcome.targets).float().mean())

    own = search("own", metric=share_wrong, objective={"direction": "minimize"})
    named = search("named", metric="accuracy")
    assert own.score["mean"] == pytest.approx(1 - named.score["mean"])
    assert own.subset == named.subset


class _Second:
    """A strategy of a user's: one subset only."""

    def propose(self, history: History) -> Subset | Done:
        return Done("tried") if Subset(["second"]) in history.scores else Subset(["second"])

    def answer(self, history: History) -> Subset | None:
        return Subset(["second"]) if history.scores else None

    def explain(self, history: History) -> Progress:
        del history
        return Progress(phase="my own")


class _Wrong(_Second):
    def __init__(self, proposal: Any) -> None:
        self.proposal = proposal

    def propose(self, history: History) -> Any:
        del history
        return self.proposal


def test_a_strategy_of_the_users_own_proposes() -> None:
    result = search("own", strategy=_Second())
    assert trained(result) == [Subset(["second"])]
    assert result.values["ending"] == "tried"
    assert result.values["strategy"] == "_Second"


@pytest.mark.parametrize(
    ("proposal", "error", "words"),
    [
        (["second"], SearchError, "_Wrong.propose must give a Subset"),
        (Subset(["secnd"]), SpaceError, "did you mean 'second'"),
    ],
)
def test_a_strategy_that_proposes_no_subset_is_told_so(
    proposal: Any, error: type[LayersearchError], words: str
) -> None:
    with pytest.raises(error) as caught:
        search("wrong", strategy=_Wrong(proposal))
    assert words in str(caught.value)


def test_a_sampler_object_samples() -> None:
    result = search("sampler", strategy=optuna.samplers.TPESampler(seed=1), trials=4)
    assert len(set(trained(result))) == 4
    assert result.values["strategy"] == "TPESampler"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"strategy": optuna.samplers.TPESampler()}, "strategy.trials: a sampler has no end"),
        ({"strategy": optuna.samplers.TPESampler}, "give an object of it: TPESampler(…)"),
        (
            {"strategy": optuna.samplers.GridSampler({"first": [True]}), "trials": 3},
            "use the strategy exhaustive",
        ),
        ({"strategy": object()}, "got object"),
        ({"backbone": Net}, "the class Net"),
        ({"backbone": 3}, "backbone: must be a name"),
        ({"metric": 3}, "metric: must be a name"),
        ({"pruner": 3}, "pruner: must be a name"),
        ({"backbone": None}, "backbone: is required"),
        ({"data": None}, "data.source: is required"),
        ({"strategy": "tpe"}, "strategy.trials"),
        ({"recipe": {"epoch": 1}}, "recipe.epoch: is not a setting"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        search("wrong", **arguments)
    assert words in str(caught.value)
    assert not Path("runs").exists()


def test_an_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="no argument stragety"):
        search("wrong", stragety="tpe")


FILE: dict[str, Any] = {
    "backbone": {"name": "resnet50", "weights": "IMAGENET1K_V2"},
    "data": {"source": "folder", "path": "absent", "folds": 2},
    "strategy": {"name": "greedy", "stop": "paper", "z": 2.0},
    "objective": {"metric": "log_loss", "direction": "minimize"},
}


@pytest.mark.parametrize(
    ("strategy", "metric"),
    [("tpe", "accuracy"), (optuna.samplers.RandomSampler(seed=0), lambda outcome: 0.5)],
    ids=["names", "objects"],
)
def test_what_an_argument_replaces_in_a_file_is_set_aside(strategy: Any, metric: Any) -> None:
    heard = Heard()
    objective = {} if isinstance(metric, str) else {"direction": "maximize"}
    result = search(
        "file",
        config=FILE,
        strategy=strategy,
        metric=metric,
        objective=objective,
        trials=2,
        observers=[heard],
    )
    assert len(trained(result)) == 2
    assert result.values["metric"]["direction"] == "maximize"
    assert any("stop, z set aside: of 'greedy'" in text for text in heard.messages)
    assert FILE["strategy"]["stop"] == "paper"  # the caller's mapping is not changed


def test_observers_none_shows_progress(capsys: pytest.CaptureFixture[str]) -> None:
    search("shown", observers=None, strategy={"name": "greedy", "max_rounds": 1})
    assert "trial 0" in capsys.readouterr().err


def test_a_baseline_that_fails_does_not_cost_the_winner() -> None:
    def small_only(outcome: Any) -> float:
        if len(outcome.subset) == len(UNITS):
            raise ValueError("too large for me")
        return float((outcome.logits.argmax(1) == outcome.targets).float().mean())

    heard = Heard()
    objective = {"direction": "maximize"}
    result = search("large", metric=small_only, objective=objective, observers=[heard])
    assert set(result.test) == {"chosen", "linear_probe"}
    assert "too large for me" in result.values["failed_baselines"]["full_finetune"]
    assert any("too large for me" in text for text in heard.messages)


class _Interrupts(Heard):
    """Presses Ctrl-C when it hears a word."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.word = word

    def finished(self, proposal: Any, record: Any, value: float) -> None:
        del proposal, record, value
        self.message("finished")

    def message(self, text: str) -> None:
        super().message(text)
        if self.word in text:
            self.word = "\0"
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupted_search_says_so_and_the_next_call_ends_it_as_if_nothing_had_been() -> None:
    undisturbed = search("undisturbed")
    stopped = search("stopped", observers=[_Interrupts("finished")])
    assert stopped.interrupted
    assert "run the same command again" in stopped.values["ending"]
    assert not (stopped.folder / "result.json").exists()
    heard = Heard()
    resumed = search("stopped", observers=[heard])
    assert not resumed.interrupted
    assert resumed.subset == undisturbed.subset
    assert resumed.score == undisturbed.score
    assert len(trained(resumed)) == len(set(trained(resumed)))
    assert heard.started_trials < len(trained(resumed))


SCRIPT = """
import layersearch, torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 3)
    def forward(self, x):
        return self.fc(self.second(self.first(x).relu()).relu().mean((2, 3)))
class Images(torch.utils.data.Dataset):
    def __len__(self): return 60
    def __getitem__(self, i):
        return torch.randint(0, 256, (3, 8, 8), generator=torch.Generator().manual_seed(i)), i % 3
def metric(outcome):
    return float((outcome.logits.argmax(1) == outcome.targets).float().mean())
print("once")
result = layersearch.search(
    backbone=Net(), data=Images(), data_options={"train_samples": 30, "folds": 2}, metric=metric,
    objective={"direction": "maximize"}, recipe={"epochs": 1}, execution={"workers": 2},
    strategy="exhaustive", final={"seeds": 1}, study={"name": "script"})
print("trials", result.values["trials"]["complete"])
"""


@pytest.mark.slow  # two processes that import torch
def test_a_script_without_a_main_guard_and_with_its_own_classes_runs_two_workers() -> None:
    Path("script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["once", "trials", "4"]
