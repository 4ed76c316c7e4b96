"""A whole model as one safetensors file: the backbone and the task in it, and what it is.

The tensors of a plain task's model are the network's state dict, its new head in the classifier's
place: `network.load_state_dict(safetensors.torch.load_file(path))` reads it where layersearch is
not installed. A Siamese one holds the original's state, and the task's tensors under `siamese.`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layersearch.backbones import Backbone, load_backbone
from layersearch.errors import BackboneError, TaskError
from layersearch.serving.description import TaskDescription
from layersearch.serving.sealed_file import read_sealed, write_sealed
from layersearch.serving.task import HEAD, Task, TaskNetwork, divide, empty_head

KIND = "layersearch.model"
_SIAMESE = "siamese."
_SEEN = 2  # images whose scores are kept, to see later that a network computes them
_CLOSE = 1e-3  # of the largest score; other devices round otherwise


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A task merged into its backbone, on the CPU; made by `merge`, read by `load_model`."""

    description: TaskDescription
    state: Mapping[str, Tensor] = field(repr=False)
    scores: tuple[tuple[float, ...], ...]  # (2, C): of noise drawn with seed 0
    where: str = "model"  # the file, for messages

    def save(self, path: str | Path) -> Path:
        """Writes the file, in one step.

        Raises: TaskError: if it cannot be written; one that was there is then as it was.
        """
        description = {"task": self.description.to_json(), "scores": self.scores}
        return write_sealed(path, dict(self.state), description, kind=KIND)

    def build(self) -> TaskNetwork:
        """The model on a network made by the name that the backbone had.

        Raises: TaskError: as `fill`; or if that name does not say how the network is made.
        """
        saved = self.description
        if saved.source is None:
            raise TaskError(
                f"{self.where}: its backbone {saved.backbone} was a module of its owner's; make it "
                "in Python and fill it: load_model(file).fill(network)"
            )
        images = saved.preprocessing
        try:
            backbone = load_backbone(
                saved.backbone,
                weights=None,
                input_size=images.input_size,
                factory_args=saved.source.arguments,
                head=saved.head_path,
                mean=images.mean,
                std=images.std,
                centre=images.centre,
            )
        except BackboneError as error:
            raise TaskError(f"{self.where}: its backbone cannot be made ({error})") from error
        return self.fill(backbone.network)

    def fill(self, network: nn.Module) -> TaskNetwork:
        """The model on a network of the same architecture, which it changes.

        Args:
            network: with any weights and any classifier. It gets the model's: of a plain task it is
                then the whole model by itself.

        Raises: TaskError: if the tensors do not fit it, or it computes something else.
        """
        saved = self.description
        if saved.head_path not in dict(network.named_modules()):
            raise TaskError(
                f"{self.where}: {type(network).__name__} has no module {saved.head_path!r} to put "
                f"the classifier in; give the architecture of {saved.backbone}"
            )
        parts = {name for name in self.state if name.startswith(_SIAMESE)}
        state = {name: value for name, value in self.state.items() if name not in parts}
        head = nn.Identity() if saved.head.siamese else empty_head(saved, where=self.where)
        before = network.get_submodule(saved.head_path)
        network.set_submodule(saved.head_path, head)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            lines = " ".join(str(error).split())
            network.set_submodule(saved.head_path, before)
            raise TaskError(
                f"{self.where}: does not fit this {type(network).__name__} ({lines:.300}); give "
                f"the architecture of {saved.backbone}"
            ) from error
        network.requires_grad_(False)
        if saved.head.siamese:
            network.set_submodule(saved.head_path, before)
        filled = self._siamese(network) if saved.head.siamese else TaskNetwork(network, saved)
        self._check(filled)
        return filled

    def _siamese(self, network: nn.Module) -> TaskNetwork:
        tensors = {
            name.removeprefix(_SIAMESE): value
            for name, value in self.state.items()
            if name.startswith(_SIAMESE)
        }
        saved = self.description
        tuned, head = divide(tensors, saved, where=self.where)
        backbone = Backbone(
            name=saved.backbone,
            network=network.eval(),
            preprocessing=saved.preprocessing,
            weights=saved.weights,
            weights_hash=saved.weights_hash,
            head=saved.head_path,
        )
        return Task(description=saved, tuned=tuned, head=head, where=self.where).attach(backbone)

    def _check(self, network: TaskNetwork) -> None:
        """Weights may fit a network that does something else with them."""
        found, expected = noise_scores(network), torch.tensor(self.scores)
        error = (found - expected).abs().max().item()
        if not error <= _CLOSE * max(expected.abs().max().item(), 1e-6):
            raise TaskError(
                f"{self.where}: fits this {type(network.network).__name__}, which however computes "
                f"other scores (by {error:.2g}); make the network with the arguments it had"
            )


def merge(task: Task, backbone: Backbone) -> Model:
    """The task and its backbone as one model.

    Raises: TaskError: as `Task.attach`.
    """
    network = task.attach(backbone)
    saved = task.description
    if saved.head.siamese:
        head = f"{saved.head_path}."
        state = {
            name: value
            for name, value in backbone.network.state_dict().items()
            if not name.startswith(head)
        }
        state |= {f"{_SIAMESE}{name}": value for name, value in task.tuned.items()}
        state |= {f"{_SIAMESE}{HEAD}{name}": value for name, value in task.head.items()}
    else:
        state = network.network.state_dict()
    return Model(
        description=saved,
        # Copies: tied parameters share memory, which a file of tensors cannot.
        state={name: value.detach().cpu().contiguous().clone() for name, value in state.items()},
        scores=tuple(map(tuple, noise_scores(network).tolist())),
        where=task.where,
    )


def load_model(path: str | Path) -> Model:
    """Reads a merged model.

    Raises: TaskError: as `load_task`.
    """
    tensors, values = read_sealed(path, kind=KIND)
    description = TaskDescription.from_json(values.get("task"), where=str(path))
    return Model(
        description=description,
        state=tensors,
        scores=_scores(values.get("scores"), where=str(path)),
        where=str(path),
    )


@torch.inference_mode()
def noise_scores(network: TaskNetwork) -> Tensor:
    """Scores (2, C) of noise as it comes from seed 0, float32 on the CPU."""
    preprocessing = network.description.preprocessing
    shape = (_SEEN, len(preprocessing.mean), *preprocessing.input_size)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    scores: Tensor = network(inputs.to(device)).float().cpu()
    return scores


def _scores(values: Any, *, where: str) -> tuple[tuple[float, ...], ...]:
    try:
        return tuple(tuple(map(float, row)) for row in values)
    except (TypeError, ValueError) as error:
        raise TaskError(f"{where}: its description cannot be read ({error!r})") from error
