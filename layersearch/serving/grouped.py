"""The same tuned stage of several branches as one: grouped convolutions and batched products.

The paper runs a tuned layer beside the original as one grouped convolution (section 4).
`torch.func.vmap` does that for whole stages: over stacked weights a convolution becomes a grouped
one and a linear layer a batched product. It pays where starting kernels takes longer than running
them. On a CPU it was slower (one core, one image: block layer4.2 of ResNet-50 for 8 branches 88 ms
against 66, a block of ViT-B/16 for 4 branches 120 against 110, a block of ResNet-20 for 8 branches
2.4 against 2.2), so it is used only where `faster_grouped` has measured it to be faster.
"""

import statistics
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from layersearch.backbones import Chain, Values, clone_stage
from layersearch.backbones.crossing import close
from layersearch.serving.branch import BranchNetwork

_GAIN = 0.9  # of the time one by one that grouped must not exceed
_REPEATS = 7


class GroupedStage(nn.Module):
    """Rows of several branches, one branch's after the other's, through their own stages at once.

    Args:
        stages: of the branches, alike but for the weights that are tuned. Those of one name are
            stacked and become views of the stack, so that nothing is held twice; what is shared
            stays shared.
        members: the branches' numbers.
    """

    def __init__(self, stages: Sequence[nn.Module], members: tuple[int, ...]) -> None:
        super().__init__()
        self.members = members
        self._names: list[str] = []
        for name, first in _state(stages[0]).items():
            tensors = [_state(stage)[name] for stage in stages]
            if all(tensor is first for tensor in tensors):
                continue
            stack = torch.stack([tensor.detach() for tensor in tensors])
            for tensor, view in zip(tensors, stack, strict=True):
                tensor.data = view
            self.register_buffer(f"stack{len(self._names)}", stack, persistent=False)
            self._names.append(name)
        # `functional_call` puts the stacks into the modules while it runs: into some of its own.
        self.stage = clone_stage(stages[0], {})
        self._lock = threading.Lock()

    def forward(self, *values: Tensor) -> Values:
        """What the stages give for values of T x N rows, in the same order."""
        stacks = dict(zip(self._names, self.buffers(recurse=False), strict=True))
        count = len(self.members)
        given = tuple(
            value.reshape(count, len(value) // count, *value.shape[1:]) for value in values
        )

        def one(tuned: dict[str, Tensor], *entering: Tensor) -> Values:
            found: Values = functional_call(self.stage, tuned, entering)
            return found

        with self._lock:
            left = vmap(one)(stacks, *given)
        return tuple(value.flatten(0, 1) for value in left)


def group(
    branches: Sequence[BranchNetwork], stages: Sequence[int]
) -> dict[int, tuple[GroupedStage, ...]]:
    """For each of the stages the groups of branches that tune the same tensors in it."""
    return {
        stage: tuple(
            GroupedStage([branches[number].own[stage] for number in members], members)
            for members in _alike(branches, stage)
        )
        for stage in stages
    }


def faster_grouped(
    chain: Chain, branches: Sequence[BranchNetwork], images: Tensor
) -> tuple[int, ...]:
    """The stages that are faster grouped than one by one, for images like these.

    Both ways are measured in turns; a stage that cannot be grouped, or gives other values when it
    is, is none of them.

    Args:
        chain: of the branches.
        branches: any number.
        images: preprocessed (N, C, H, W), on the device.
    """
    found = []
    values: Values = (images,)
    last = len(chain.stages) - 1
    for stage in range(last if chain.traced else 0):
        members = max(_alike(branches, stage), key=len, default=())
        if members and chain.cacheable(stage) and chain.cacheable(stage + 1):
            own = [branches[number].own[stage] for number in members]
            if _is_faster(GroupedStage(own, members), own, values):
                found.append(stage)
        values = chain.stages[stage](*values)
    return tuple(found)


def _is_faster(grouped: GroupedStage, own: Sequence[nn.Module], values: Values) -> bool:
    joined = tuple(torch.cat([value] * len(own)) for value in values)

    def together() -> Values:
        return grouped(*joined)  # type: ignore[no-any-return]  # nn.Module's is Any

    def apart() -> Values:
        return tuple(torch.cat(parts) for parts in zip(*(s(*values) for s in own), strict=True))

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            alike = all(close(a, b) for a, b in zip(apart(), together(), strict=True))
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return False  # an operation that vmap does not know
    # Some operations vmap runs one by one after all, and warns each time.
    if not alike or any("batching rule" in str(warning.message) for warning in said):
        return False
    times: dict[Any, list[float]] = {together: [], apart: []}
    for _ in range(_REPEATS):
        for way, spent in times.items():
            spent.append(_seconds(way, values[0].device))
    ratios = [a / b for a, b in zip(times[together], times[apart], strict=True)]
    return statistics.median(ratios) <= _GAIN


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    accelerator = device.type != "cpu"
    if accelerator:
        torch.accelerator.synchronize(device)
    began = time.perf_counter()
    run()
    if accelerator:
        torch.accelerator.synchronize(device)
    return time.perf_counter() - began


def _alike(branches: Sequence[BranchNetwork], stage: int) -> Iterator[tuple[int, ...]]:
    """Numbers of branches, two or more, that tune the same tensors in a stage."""
    found: dict[frozenset[str], list[int]] = {}
    for number, branch in enumerate(branches):
        if stage in branch.own:
            found.setdefault(branch.tuned_names[stage], []).append(number)
    return (tuple(members) for members in found.values() if len(members) > 1)


def _state(stage: nn.Module) -> dict[str, Tensor]:
    return {**dict(stage.named_parameters()), **dict(stage.named_buffers())}
