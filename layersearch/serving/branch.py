"""A branch: what one task runs beside the backbone, from its fork on.

A branch forks at the first stage that uses one of its tuned tensors. From there on it runs stages
of its own where something is tuned, the backbone's own stages where nothing is, and a last stage
with its own head (paper, section 4).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from layersearch.backbones import Chain, clone_stage, new_head, parameter_names
from layersearch.errors import TaskError
from layersearch.space import Subset


@dataclass(frozen=True, kw_only=True, eq=False)
class Branch:
    """The tuned tensors and the head of a task, wherever they come from."""

    tuned: Mapping[str, Tensor] = field(repr=False)  # parameters and buffers, the backbone's names
    head: nn.Module = field(repr=False)  # used as it is, not copied
    name: str = "task"
    siamese: bool = False  # whether the head sees the original's features before the tuned ones


def random_branch(
    chain: Chain,
    subset: Subset,
    *,
    classes: int = 10,
    name: str = "task",
    siamese: bool = False,
    seed: int = 0,
) -> Branch:
    """A branch that tunes a subset, with weights a little off the backbone's: to measure with.

    Raises: TaskError: if the chain has no such unit.
    """
    known = {unit.name: unit for unit in chain.units}
    for wanted in subset:
        if wanted not in known:
            raise TaskError(f"{name}: the backbone has no unit {wanted!r}")
    units = [known[wanted] for wanted in subset]
    names = {tensor for unit in units for tensor in (*unit.parameters, *unit.buffers)}
    generator = torch.Generator().manual_seed(seed)
    tuned = {
        path: _shaken(tensor, generator)
        for path, tensor in _state(chain.network).items()
        if path in names
    }
    head = new_head(
        chain.head_features * (2 if siamese else 1), classes, kind=chain.head_kind, seed=seed
    )
    return Branch(tuned=tuned, head=head, name=name, siamese=siamese)


class BranchNetwork(nn.Module):
    """The stages of a branch; those in which nothing is tuned are the chain's own.

    Only tuned tensors and the head are copied; all others are shared with the chain.

    Attributes:
        fork: the first stage that the branch runs for itself; the head's if nothing is tuned.
        own: the stages of its own, by their place in the chain; the last stage is always one.
        tuned_names: what is tuned in each of them.
        siamese: whether the last stage wants the original's features before the branch's.

    Raises: TaskError: if a tuned tensor does not fit the chain's network.
    """

    def __init__(self, chain: Chain, branch: Branch) -> None:
        super().__init__()
        self.name = branch.name
        self.siamese = branch.siamese
        if branch.siamese and not chain.traced:
            raise TaskError(
                f"{branch.name}: its head is Siamese, and {type(chain.network).__name__} cannot be "
                "cut into stages here, as it was when the task was tuned; load the same network"
            )
        parameters, buffers = _copies(chain.network, branch)
        head = branch.head.to(_device(chain.network)).requires_grad_(False)
        last = len(chain.stages) - 1
        self.own: dict[int, nn.Module] = {}
        self.tuned_names: dict[int, frozenset[str]] = {}
        for index, stage in enumerate(chain.stages):
            statistics = [name for name, _ in stage.named_buffers() if name in buffers]
            if (
                index < last
                and not statistics
                and parameters.keys().isdisjoint(parameter_names(stage))
            ):
                continue
            modules = {chain.head: head} if index == last else {}
            own = clone_stage(stage, parameters, buffers=statistics, modules=modules)
            _load(own, buffers, statistics)
            self.own[index] = own.eval()
            names = parameters.keys() & set(parameter_names(stage))
            self.tuned_names[index] = frozenset(names | set(statistics))
        self.fork = min(self.own)
        self.stages = nn.ModuleList(self.own.values())
        self.tuned_bytes = _bytes([*parameters.values(), *buffers.values(), *head.parameters()])

    def train(self, mode: bool = True) -> "BranchNetwork":
        """Stays in eval mode: norms' statistics belong to the weights."""
        del mode
        return super().train(False)


def _copies(
    network: nn.Module, branch: Branch
) -> tuple[dict[str, nn.Parameter], dict[str, Tensor]]:
    """The branch's parameters and buffers as the network keeps its own: type, device, format."""
    canonical = {id(parameter): name for name, parameter in network.named_parameters()}
    found = dict(network.named_parameters(remove_duplicate=False))
    state = _state(network)
    parameters: dict[str, nn.Parameter] = {}
    buffers: dict[str, Tensor] = {}
    for name, tensor in branch.tuned.items():
        if name not in state:
            raise TaskError(f"{branch.name}: the backbone has no parameter or buffer {name!r}")
        if state[name].shape != tensor.shape:
            raise TaskError(
                f"{branch.name}: {name!r} has shape {tuple(tensor.shape)}, the backbone's has "
                f"{tuple(state[name].shape)}"
            )
        copy = torch.empty_like(state[name]).copy_(tensor)  # keeps the memory format
        if name in found:
            parameters[canonical[id(found[name])]] = nn.Parameter(copy, requires_grad=False)
        else:
            buffers[name] = copy
    return parameters, buffers


def _load(stage: nn.Module, buffers: Mapping[str, Tensor], names: list[str]) -> None:
    own = dict(stage.named_buffers(remove_duplicate=False))
    with torch.no_grad():
        for name in names:
            own[name].copy_(buffers[name])


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {
        **dict(network.named_parameters(remove_duplicate=False)),
        **dict(network.named_buffers(remove_duplicate=False)),
    }


def _shaken(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Within 5% of the original values, so that variances stay positive and scores sensible."""
    values = tensor.detach().cpu()
    if not values.is_floating_point():
        return values.clone()
    return values * (1 + 0.05 * (2 * torch.rand(values.shape, generator=generator) - 1))


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def _bytes(tensors: list[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
