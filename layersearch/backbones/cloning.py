"""A trial's own copy of a stage: it shares everything with the original but what the trial changes.

Every module of the copy is a new object, so that its `training` switch is its own; parameters,
buffers and code are the originals unless replaced. That takes a few milliseconds, where a deep copy
would copy the weights and compile the graph again.
"""

import copy
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor, fx, nn

from layersearch.errors import BackboneError

_TIED = "_layersearch_ties"  # attribute of a stage: {its name of a parameter: the network's name}


def clone_stage(
    stage: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    *,
    buffers: Collection[str] = (),
    modules: Mapping[str, nn.Module] | None = None,
) -> nn.Module:
    """A copy of a stage with some parameters and modules replaced and some buffers of its own.

    Args:
        stage: of a chain; it stays as it is.
        parameters: by the network's name, whatever stage it is used in; names that this stage does
            not use are passed over. A tied parameter is replaced wherever it is used.
        buffers: names of those to copy (statistics of tuned norms); the others are shared.
        modules: whole modules by path, such as a new head.

    Raises:
        BackboneError: if a path of `modules` is not in the stage, or a shape differs.
    """
    memo: dict[int, Any] = {}
    for name, own in _named_parameters(stage):
        replacement = parameters.get(name)
        if replacement is not None and replacement.shape != own.shape:
            raise BackboneError(
                f"clone_stage: '{name}' has shape {tuple(own.shape)}, "
                f"its replacement {tuple(replacement.shape)}"
            )
        if replacement is not None or id(own) not in memo:
            memo[id(own)] = own if replacement is None else replacement
    wanted = frozenset(buffers)
    for name, buffer in stage.named_buffers(remove_duplicate=False):
        if id(buffer) not in memo or name in wanted:
            memo[id(buffer)] = buffer.clone() if name in wanted else buffer
    for path, module in (modules or {}).items():
        try:
            memo[id(stage.get_submodule(path))] = module
        except AttributeError:
            raise BackboneError(f"clone_stage: the stage has no module '{path}'") from None
    clone: nn.Module = _clone(stage, memo)
    return clone


def owners(stage: nn.Module, parameters: Iterable[str]) -> tuple[str, ...]:
    """Paths of the modules in a stage that directly own some of these parameters.

    These are the modules to put in train mode when the parameters are tuned; '' is the stage.
    """
    wanted = set(parameters)
    found = (
        name.rpartition(".")[0] for name, _ in _places(stage) if _canonical(stage, name) in wanted
    )
    return tuple(dict.fromkeys(found))


def parameter_names(stage: nn.Module) -> tuple[str, ...]:
    """The network's names of the parameters that a stage uses."""
    return tuple(dict.fromkeys(_canonical(stage, name) for name, _ in _places(stage)))


def remember_ties(stage: nn.Module, network: nn.Module) -> None:
    """Notes which parameters of a stage the network knows by another name: tied ones."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    ties = {
        name: names[id(parameter)]
        for name, parameter in _places(stage)
        if names[id(parameter)] != name
    }
    setattr(stage, _TIED, ties)


def uncut_stage(network: nn.Module) -> nn.Module:
    """The whole network as one stage: it shares all of the network's state, and gives a tuple."""
    stage: nn.Module = object.__new__(_uncut_class(type(network)))
    stage.__dict__ = network.__dict__
    return stage


def _uncut_class(network: type[nn.Module]) -> type[nn.Module]:
    def call(self: nn.Module, *values: Any) -> tuple[Any, ...]:
        return (network.__call__(self, *values),)

    return type(f"Uncut{network.__name__}", (network,), {"__call__": call})


def _places(stage: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    return stage.named_parameters(remove_duplicate=False)


def _canonical(stage: nn.Module, name: str) -> str:
    ties: Mapping[str, str] = getattr(stage, _TIED, {})
    return ties.get(name, name)


def _named_parameters(stage: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    for name, parameter in _places(stage):
        yield _canonical(stage, name), parameter


def _clone(module: nn.Module, memo: dict[int, Any]) -> Any:
    if id(module) in memo:
        return memo[id(module)]
    if not _is_plain(module):
        return copy.deepcopy(module, memo)
    clone = object.__new__(type(module))
    memo[id(module)] = clone
    state: dict[str, Any] = {}
    for key, value in module.__dict__.items():
        state[key] = copy.copy(value) if isinstance(value, dict | set) else value
        if isinstance(value, list):  # recurrent layers keep a list of their weights
            state[key] = [memo.get(id(i), i) if isinstance(i, Tensor) else i for i in value]
    for tensors in (state["_parameters"], state["_buffers"]):
        for name, tensor in tensors.items():
            tensors[name] = memo.get(id(tensor), tensor)
    for name, child in state["_modules"].items():
        state["_modules"][name] = None if child is None else _clone(child, memo)
    clone.__dict__ = state
    return clone


def _is_plain(module: nn.Module) -> bool:
    """Whether the module keeps nothing that refers to itself beside what nn.Module knows of."""
    return isinstance(module, fx.GraphModule) or type(module).__module__.startswith("torch.nn.")
