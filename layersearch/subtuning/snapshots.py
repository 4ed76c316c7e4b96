"""Snapshots: all that a trial needs to go on after an epoch as if nothing had happened.

A snapshot is a safetensors file in memory, with JSON in its metadata and no pickle. It holds what
the trial has found (curves, class scores of finished folds) and, in the middle of a fold, what its
training consists of: tuned units, norm statistics, head, optimizer, gradient scaler, random states.
Batches, views, learning rates and the head's start follow from seeds and need not be kept.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from layersearch.errors import SnapshotError
from layersearch.subtuning.network import TunedNetwork
from layersearch.subtuning.optimisation import Optimisation

FORMAT = "layersearch.snapshot"
VERSION = "1"
_LENGTH = 8  # bytes that hold the length of a safetensors header, little-endian


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingState:
    """A training between two of its epochs."""

    epochs: int  # that are done
    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, Any]  # JSON values


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A trial after one of its epochs; C: classes, n: validation samples of a fold."""

    trial: Mapping[str, Any]  # what it is the state of, as JSON: subset, recipe, seed …
    curves: tuple[tuple[float, ...], ...]  # one a fold that has begun
    logits: tuple[Tensor, ...] = ()  # (n, C), one a fold that has ended
    training: TrainingState | None = field(default=None)  # of the fold that has not ended


def capture(
    network: TunedNetwork, optimisation: Optimisation, device: torch.device, *, epochs: int
) -> TrainingState:
    """The state of a training after `epochs` epochs; its tensors are those of the training."""
    tensors = {f"network.{name}": value for name, value in network.changing().items()}
    tensors |= {f"optimizer.{name}": value for name, value in optimisation.tensors().items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    return TrainingState(epochs=epochs, tensors=tensors, numbers=optimisation.numbers())


def restore(
    state: TrainingState, network: TunedNetwork, optimisation: Optimisation, device: torch.device
) -> None:
    """Puts a state into a training that was set up like the one it was captured from.

    Raises:
        SnapshotError: it was not.
    """
    own = network.changing()
    kept = _part(state, "network.")
    if {name: value.shape for name, value in own.items()} != {
        name: value.shape for name, value in kept.items()
    }:
        raise SnapshotError("the snapshot is of another network")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(kept[name])
    optimisation.load(_part(state, "optimizer."), state.numbers)
    torch.set_rng_state(state.tensors["random.cpu"])
    if device.type == "cuda" and "random.cuda" in state.tensors:
        torch.cuda.set_rng_state(state.tensors["random.cuda"], device)


def pack(snapshot: Snapshot) -> bytes:
    """The snapshot as bytes."""
    training = snapshot.training
    tensors = {f"logits.{fold}": scores for fold, scores in enumerate(snapshot.logits)}
    if training is not None:
        tensors |= {f"training.{name}": value for name, value in training.tensors.items()}
    state = {
        "trial": snapshot.trial,
        "curves": snapshot.curves,
        "epochs": None if training is None else training.epochs,
        "numbers": None if training is None else training.numbers,
    }
    return save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        {"format": FORMAT, "version": VERSION, "state": json.dumps(state)},
    )


def unpack(content: bytes, trial: Mapping[str, Any]) -> Snapshot:
    """The snapshot in `content`, which must be of this trial.

    Raises:
        SnapshotError: it is no snapshot, of another version, or of another trial.
    """
    try:
        end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
        metadata = json.loads(content[_LENGTH:end]).get("__metadata__", {})
        if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
            raise SnapshotError(f"the state is no snapshot of format {VERSION}")
        state = json.loads(metadata["state"])
        if state["trial"] != json.loads(json.dumps(trial)):
            raise SnapshotError("the snapshot is of another trial")
        tensors = load(content)
        training = None
        if state["epochs"] is not None:
            training = TrainingState(
                epochs=state["epochs"],
                tensors={
                    name.removeprefix("training."): value
                    for name, value in tensors.items()
                    if name.startswith("training.")
                },
                numbers=state["numbers"],
            )
        curves = tuple(map(tuple, state["curves"]))
        ended = len(curves) - (training is not None)
        return Snapshot(
            trial=state["trial"],
            curves=curves,
            logits=tuple(tensors[f"logits.{fold}"] for fold in range(ended)),
            training=training,
        )
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SnapshotError(f"the state is no snapshot, or is damaged ({error})") from error


def _part(state: TrainingState, prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in state.tensors.items()
        if name.startswith(prefix)
    }
