"""A network's forward pass as an fx graph, in eval mode.

Leaves of the trace are torch.nn's modules, modules without children and norms (so that a module's
own `training` switch, such as that of torchvision's StochasticDepth, stays alive), the head, and
every class of module whose forward pass cannot be traced: such a module stays whole, as one call.
What a larger module does only while it trains (dropout by a function) is not in the trace.
"""

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_IN_PLACE = {operator.setitem, operator.iadd, operator.isub, operator.imul, operator.itruediv}


class Untraceable(Exception):
    """The forward pass of the root cannot be traced; the text says why."""


@dataclass(frozen=True)
class Trace:
    """A forward pass as a graph with one placeholder, the images.

    `constants` are tensors that the graph refers to by name and that are not the network's own.
    """

    graph: fx.Graph
    constants: Mapping[str, Any]

    @contextmanager
    def constants_on(self, network: nn.Module) -> Iterator[None]:
        """For a while, the graph's own constants are attributes of the network."""
        for name, value in self.constants.items():
            setattr(network, name, value)
        try:
            yield
        finally:
            for name in self.constants:
                delattr(network, name)


def trace(network: nn.Module, *, head: str) -> Trace:
    """Traces `network.forward`.

    Args:
        network: in eval mode; left as it was found.
        head: path of the classifier, which becomes one node.

    Raises:
        Untraceable: with the reason.
    """
    opaque: set[type[nn.Module]] = set()
    while True:
        tracer = _Tracer(head=head, opaque=opaque)
        before = set(vars(network))
        try:
            graph = tracer.trace(network, concrete_args=_defaults(network))
        except Exception as error:  # a forward pass may object to a proxy in any way it likes
            culprit = tracer.innermost
            if culprit is None or culprit in opaque:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise Untraceable(reason) from error
            opaque.add(culprit)
        else:
            _drop_other_inputs(graph)
            return Trace(
                graph, {name: vars(network)[name] for name in vars(network).keys() - before}
            )
        finally:
            for name in set(vars(network)) - before:
                delattr(network, name)


class _Tracer(fx.Tracer):
    def __init__(self, *, head: str, opaque: set[type[nn.Module]]) -> None:
        super().__init__()
        self.head = head
        self.opaque = opaque
        self.innermost: type[nn.Module] | None = None  # class of the innermost module that failed

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name == self.head or type(m) in self.opaque:
            return True
        if isinstance(m, _CONTAINERS):
            return False
        if is_norm(m):
            return True
        return not any(m.children()) or type(m).__module__.startswith(("torch.nn", "torch.ao.nn"))

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        try:
            if type(m) is nn.TransformerEncoder and len(args) == 1 and not kwargs:
                return _encode(m, args[0])
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            if self.innermost is None:
                self.innermost = type(m)
            raise


def _encode(encoder: nn.TransformerEncoder, x: Any) -> Any:
    """What an encoder computes without masks; its own forward looks at shapes, which fx cannot."""
    for layer in encoder.layers:
        x = layer(x)
    return x if encoder.norm is None else encoder.norm(x)


def _defaults(network: nn.Module) -> dict[str, Any]:
    """Default values of the arguments of `forward` after the first."""
    parameters = list(inspect.signature(type(network).forward).parameters.values())
    return {
        parameter.name: parameter.default
        for parameter in parameters[2:]  # without self and the images
        if parameter.default is not inspect.Parameter.empty
    }


def _drop_other_inputs(graph: fx.Graph) -> None:
    """Leaves the first placeholder only; the others are used to check their default values."""
    others = [node for node in graph.nodes if node.op == "placeholder"][1:]
    doomed = set(others)
    for node in graph.nodes:
        if any(argument in doomed for argument in node.all_input_nodes):
            doomed.add(node)
    if any(node.op == "output" for node in doomed):
        raise Untraceable("its scores depend on arguments other than the images")
    for node in reversed(list(graph.nodes)):
        if node in doomed:
            graph.erase_node(node)


def is_norm(module: nn.Module) -> bool:
    """Whether the module normalises: by its type, or by its name if it has no children."""
    known = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)  # noqa: SLF001
    named = "norm" in type(module).__name__.lower() and not any(module.children())
    return isinstance(module, known) or named


def mutates(node: fx.Node) -> bool:
    """Whether the node, as far as its name tells, changes its first argument in place."""
    if node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        return (
            node.target in _IN_PLACE
            or node.kwargs.get("inplace") is True
            or "out" in node.kwargs
            or (name.endswith("_") and not name.endswith("__"))
        )
    if node.op == "call_method":
        name = str(node.target)
        return name.endswith("_") and not name.endswith("__")
    return False
