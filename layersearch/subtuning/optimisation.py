"""The optimizer of a training with its schedule, precision and clipping, behind one `step`."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from layersearch.subtuning.recipe import Precision, Recipe

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Mixed precision as the recipe asks for it; fp32 changes nothing."""
    dtype = _DTYPES.get(precision, torch.bfloat16)
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


class Optimisation:
    """AdamW or SGD over the tuned parameters, with a learning rate set before every step."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        recipe: Recipe,
        *,
        steps_per_epoch: int,
        device: torch.device,
        precision: Precision,
    ) -> None:
        self._parameters = list(parameters)
        self._recipe = recipe
        self._steps_per_epoch = steps_per_epoch
        self._steps = 0
        self._optimizer = _optimizer(self._parameters, recipe, device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def step(self, losses: Iterable[Tensor]) -> None:
        """One update by the gradient of the sum of the losses, scalars.

        Each is differentiated before the next is computed: a batch may come in parts, and memory
        holds one part's activations at a time.
        """
        factor = self._recipe.lr_factor(self._steps / self._steps_per_epoch)
        if self._steps == 0 and factor == 0.0:  # a warm-up's first step would be lost
            factor = self._recipe.lr_factor(0.5 / self._steps_per_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.lr * factor
        self._optimizer.zero_grad(set_to_none=True)
        for loss in losses:
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's
        if self._recipe.clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._parameters, self._recipe.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._steps += 1

    def tensors(self) -> dict[str, Tensor]:
        """What the optimizer remembers, by '<number of the parameter>.<name>'; not copied."""
        return {
            f"{index}.{name}": value
            for index, parameter in enumerate(self._parameters)
            for name, value in self._optimizer.state.get(parameter, {}).items()
            if torch.is_tensor(value)
        }

    def numbers(self) -> dict[str, Any]:
        """What else decides the next step, as JSON values."""
        return {"steps": self._steps, "scaler": self._scaler.state_dict()}

    def load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Goes on where `tensors` and `numbers` were taken."""
        for place, value in tensors.items():
            index, _, name = place.partition(".")
            parameter = self._parameters[int(index)]
            self._optimizer.state[parameter][name] = self._like_own(value, parameter, name)
        self._steps = numbers["steps"]
        if self._scaler.is_enabled() and numbers["scaler"]:
            self._scaler.load_state_dict(numbers["scaler"])

    def _like_own(self, value: Tensor, parameter: Tensor, name: str) -> Tensor:
        if name == "step":  # a count: beside the parameter for fused kernels only
            return value.to(parameter.device if self._optimizer.defaults["fused"] else "cpu")
        # Fused kernels go through memory in its order: moments are laid out as their parameter.
        return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _optimizer(
    parameters: list[nn.Parameter], recipe: Recipe, device: torch.device
) -> torch.optim.Optimizer:
    # One fused kernel for all parameters: a subset has many small tensors.
    fused = device.type in ("cpu", "cuda")
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=fused,
        )
    return torch.optim.AdamW(
        parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused
    )
