"""A task of a second: three units, thirty images to train on, one epoch."""

from pathlib import Path
from typing import Any

import optuna
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import layersearch
from layersearch.space import Subset

UNITS = ("first", "second", "third")


class Net(nn.Module):
    """Three blocks and a classifier; a user's own network."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.third = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.fc = nn.Linear(16, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (N, 7)."""
        return self.fc(self.third(self.second(self.first(x))).mean((2, 3)))


def images(count: int = 60, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noisy stripes (count, 3, 16, 16) uint8 of three classes, hard enough to be got wrong."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    noise = torch.randint(0, 200, (count, 3, 16, 16), generator=random)
    stripes = (torch.arange(16) // (labels + 1).view(-1, 1)) % 2  # (count, 16)
    return (noise + 55 * stripes.view(count, 1, 1, 16)).to(torch.uint8), labels


class Images(Dataset[tuple[Tensor, int]]):
    """The same as a Dataset."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        x, y = images()
        return x[index], int(y[index])


class Heard:
    """An observer that keeps what it hears; it leaves out what it does not care for."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.started_trials = 0

    def started(self, proposal: Any) -> None:
        """Counts trainings."""
        del proposal
        self.started_trials += 1

    def message(self, text: str) -> None:
        """Keeps the text."""
        self.messages.append(text)


def search(name: str, **arguments: Any) -> layersearch.Result:
    """A search in the current folder; arguments as those of `layersearch.search`."""
    recipe = {"epochs": 1, "batch_size": 15, "validate_every": 1, **arguments.pop("recipe", {})}
    options = {"train_samples": 30, "folds": 2, **arguments.pop("data_options", {})}
    execution = {"threads": 1, **arguments.pop("execution", {})}
    defaults = {
        "backbone": Net(),
        "data": images(),
        "observers": [],
        "study": {"name": name},
        "final": {"seeds": 1},
    }
    return layersearch.search(
        **{**defaults, **arguments}, recipe=recipe, data_options=options, execution=execution
    )


def trials(result: layersearch.Result) -> list[optuna.trial.FrozenTrial]:
    """The trials of a finished search, as anybody reads them."""
    return trials_of(result.folder)


def trials_of(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials of the study in a folder."""
    study = optuna.load_study(
        study_name=folder.name, storage=f"sqlite:///{folder.resolve()}/study.db"
    )
    return study.trials


def trained(result: layersearch.Result) -> list[Subset]:
    """The subsets that were trained, in the order of their trials."""
    done = [t for t in trials(result) if t.state.name == "COMPLETE"]
    return [Subset(trial.user_attrs["subset"]) for trial in done]
