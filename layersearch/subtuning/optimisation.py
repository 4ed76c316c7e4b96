"""The optimizer of a training with its schedule, precision and clipping, behind one `step`."""

from collections.abc import Iterable
from contextlib import AbstractContextManager

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

    def step(self, loss: Tensor) -> None:
        """One update by the gradient of the loss, a scalar."""
        factor = self._recipe.lr_factor(self._steps / self._steps_per_epoch)
        if self._steps == 0 and factor == 0.0:  # a warm-up's first step would be lost
            factor = self._recipe.lr_factor(0.5 / self._steps_per_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.lr * factor
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's is untyped
        if self._recipe.clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._parameters, self._recipe.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._steps += 1


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
