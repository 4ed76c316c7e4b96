"""Saved tasks: what a new task adds to a backbone, as one small file.

A task is the tuned parameters and norm statistics under the backbone's own names, the new head
under `head.*`, and a description. Attached to the backbone it was tuned on, it computes what was
computed when it was scored: on the same device, for the same batches, to the last bit.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layersearch.backbones import Backbone, new_head
from layersearch.backbones.weights import hash_weights
from layersearch.data import EVALUATION, Views
from layersearch.data.decoding import fit_tensor
from layersearch.errors import BackboneError, TaskError
from layersearch.serving.description import TaskDescription, is_channels_last
from layersearch.serving.sealed_file import read_sealed, write_sealed
from layersearch.serving.siamese import SiameseNetwork

HEAD = "head."  # prefix of the new head's tensors


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A description with its tensors, on the CPU; read by `load_task`."""

    description: TaskDescription
    tuned: Mapping[str, Tensor] = field(repr=False)  # by the backbone's names
    head: Mapping[str, Tensor] = field(repr=False)  # the state of the new head
    where: str = "task"  # the file, for messages

    @property
    def nbytes(self) -> int:
        """Of all tensors: what the task adds to the backbone."""
        return sum(
            t.numel() * t.element_size() for t in [*self.tuned.values(), *self.head.values()]
        )

    def attach(self, backbone: Backbone) -> "TaskNetwork":
        """The network of this task, on the backbone's device and in eval mode.

        Frozen parameters are shared with the backbone, which stays as it is; tuned units, the head
        and all buffers are the network's own (a Siamese one, which holds the original too, shares
        the frozen buffers as well). If the backbone is not in the memory format in which the task
        was tuned, nothing is shared: the copy is converted, for the same bits.

        Raises: TaskError: if the task was tuned on other weights or does not fit the network.
        """
        self.check(backbone)
        original, last = backbone.network, self.description.channels_last
        alike, siamese = is_channels_last(original) == last, self.description.head.siamese
        network = original
        if not (alike and siamese):
            network = copy.deepcopy(original, memo=self._frozen(original) if alike else {})
        if not alike:
            network.to(memory_format=torch.channels_last if last else torch.contiguous_format)
        head = self.new_head().to(_device(original))
        if siamese:
            return TaskNetwork(self._siamese(network, head), self.description)
        self._load_tuned(network)
        network.set_submodule(self.description.head_path, head)
        return TaskNetwork(network, self.description)

    def check(self, backbone: Backbone) -> None:
        """Raises TaskError: if the task was tuned on other weights or does not fit the network."""
        self._check_backbone(backbone)
        self._check_tuned(backbone.network)

    def new_head(self) -> nn.Module:
        """The task's head, a new one each time."""
        head = empty_head(self.description, where=self.where)
        head.load_state_dict(dict(self.head))  # load_task has checked names and shapes
        return head

    def _siamese(self, network: nn.Module, head: nn.Module) -> SiameseNetwork:
        preprocessing = self.description.preprocessing
        return SiameseNetwork(
            network,
            self.tuned,
            head,
            head_path=self.description.head_path,
            input_size=preprocessing.input_size,
            channels=len(preprocessing.mean),
            where=self.where,
        )

    def _check_backbone(self, backbone: Backbone) -> None:
        saved = self.description
        if saved.head_path not in dict(backbone.network.named_modules()):
            raise TaskError(
                f"{self.where}: was tuned on {saved.backbone}, whose classifier is "
                f"{saved.head_path!r}; {backbone.name} has no module of that name; load the "
                "backbone that it names"
            )
        # Of the weights as they are now: something may have trained them since they were loaded.
        found = hash_weights(backbone.network, head=saved.head_path)
        if found != saved.weights_hash:
            raise TaskError(
                f"{self.where}: was tuned on {saved.backbone} ({saved.weights}; hash "
                f"{saved.weights_hash:.12}), not on this {backbone.name} ({backbone.weights}; hash "
                f"{found:.12}); load the backbone that it names"
            )

    def _frozen(self, network: nn.Module) -> dict[int, Any]:
        """The parameters that the task leaves as they are, for `deepcopy` not to copy."""
        parameters = list(network.named_parameters(remove_duplicate=False))
        tuned = {id(parameter) for name, parameter in parameters if name in self.tuned}
        return {id(p): p for _, p in parameters if id(p) not in tuned}

    def _check_tuned(self, network: nn.Module) -> None:
        own = _tensors(network)
        for name, tensor in self.tuned.items():
            if name not in own:
                raise TaskError(f"{self.where}: the backbone has no parameter or buffer {name!r}")
            if own[name].shape != tensor.shape:
                raise TaskError(
                    f"{self.where}: {name!r} has shape {tuple(tensor.shape)}, the backbone's has "
                    f"{tuple(own[name].shape)}"
                )

    def _load_tuned(self, network: nn.Module) -> None:
        own = _tensors(network)
        with torch.no_grad():
            for name, tensor in self.tuned.items():
                own[name].copy_(tensor)  # in place: memory format and device stay the backbone's


class TaskNetwork(nn.Module):
    """A backbone with a task attached: preprocessed images to class scores, or images to answers.

    It stays in eval mode whatever anyone calls: its norms' statistics belong to its weights.
    """

    def __init__(self, network: nn.Module, description: TaskDescription) -> None:
        super().__init__()
        self.network = network
        self.description = description
        self.train(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Class scores (N, C) of preprocessed images (N, 3, H, W)."""
        scores: Tensor = self.network(inputs)
        return scores

    def train(self, mode: bool = True) -> "TaskNetwork":
        """Stays in eval mode."""
        del mode
        return super().train(False)

    @torch.inference_mode()
    def scores(self, images: Tensor, *, batch_size: int = 500) -> Tensor:
        """Class scores (N, C), float32 on the CPU, of images as they come from files.

        Args:
            images: uint8 (N, 3, h, w) of any size, brought to the task's canvas first; or
                floating-point features (N, ...), taken as they are.
            batch_size: of the forward passes; it may change the last bits of the scores.
        """
        if self.description.canvas is not None and images.dtype == torch.uint8:
            images = fit_tensor(images, canvas=self.description.canvas)
        device, views = _device(self.network), self._views()
        parts = []
        for start in range(0, len(images), batch_size):
            part = images[start : start + batch_size].to(device)
            samples = torch.arange(start, start + len(part), device=device)
            parts.append(self(views.batch(part, samples, EVALUATION)).float().cpu())
        return torch.cat(parts) if parts else torch.zeros(0, len(self.description.classes))

    def predict(self, images: Tensor, *, batch_size: int = 500) -> list[str]:
        """The name of the likeliest class of each of N images; arguments as of `scores`."""
        labels = self.scores(images, batch_size=batch_size).argmax(dim=1).tolist()
        return [self.description.classes[label] for label in labels]

    def _views(self) -> Views:
        preprocessing = self.description.preprocessing
        return Views(
            seed=0,  # nothing is random in the evaluation view
            mean=preprocessing.mean,
            std=preprocessing.std,
            input_size=preprocessing.input_size,
            centre=preprocessing.centre,
        )


def save_task(
    path: str | Path, *, tensors: Mapping[str, Tensor], description: TaskDescription
) -> Path:
    """Writes a task as one safetensors file, in one step.

    Args:
        path: of the file; its folder is made if there is none.
        tensors: tuned parameters and norm statistics by the backbone's names, the head's by
            `head.*`.
        description: what the task is.

    Returns: the path.
    Raises: TaskError: if the tensors do not make the head described, or the file cannot be written
        (one that was there is then as it was).
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    divide(whole, description, where=str(path))
    try:
        return write_sealed(path, whole, description.to_json())
    except (TypeError, ValueError) as error:  # of the JSON
        raise TaskError(f"{path}: the description is no JSON ({error})") from error


def load_task(path: str | Path) -> Task:
    """Reads a saved task.

    Raises: TaskError: if the file is missing, cut short, damaged in any byte, holds pickled code,
        is of an unknown version, or its description and tensors do not fit.
    """
    tensors, values = read_sealed(path)
    description = TaskDescription.from_json(values, where=str(path))
    tuned, head = divide(tensors, description, where=str(path))
    return Task(description=description, tuned=tuned, head=head, where=str(path))


def divide(
    tensors: Mapping[str, Tensor], description: TaskDescription, *, where: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tuned tensors and the state of the head, whose names and shapes are checked.

    A backbone may have modules below a path `head` too: the head's are those that it needs.
    """
    expected = empty_head(description, where=where).state_dict()
    head = {name: tensors[HEAD + name] for name in expected if HEAD + name in tensors}
    shapes = {name: tuple(tensor.shape) for name, tensor in head.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    if shapes != wanted:
        raise TaskError(f"{where}: the head described has {wanted}, the tensors are {shapes}")
    own = {HEAD + name for name in expected}
    return {name: tensor for name, tensor in tensors.items() if name not in own}, head


def empty_head(description: TaskDescription, *, where: str) -> nn.Module:
    """A head of the shape described, with any weights. Raises TaskError: it cannot be built."""
    head = description.head
    try:
        return new_head(
            head.features, len(description.classes), depth=head.depth, kind=head.kind, seed=0
        )
    except BackboneError as error:
        raise TaskError(f"{where}: its head cannot be built ({error})") from error


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by all of their names."""
    return {
        **dict(network.named_parameters(remove_duplicate=False)),
        **dict(network.named_buffers(remove_duplicate=False)),
    }


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))
