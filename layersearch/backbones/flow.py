"""Which parameters each node of a traced network uses.

Nodes that do not depend on the images (parameters, tables computed from them) float: they have no
place of their own and are computed in every stage that uses them, so that a parameter never crosses
a cut as data. Every other node is fixed in its place.
"""

from collections.abc import Iterator

from torch import fx, nn

from layersearch.backbones.tracing import mutates


class Flow:
    """The fixed nodes of a graph in order, and the parameters that each of them uses.

    Args:
        graph: with one placeholder.
        network: that the graph was traced from. Of tied parameters the first name counts.
    """

    def __init__(self, graph: fx.Graph, network: nn.Module) -> None:
        self.graph = graph
        self._network = network
        self._names = {id(p): name for name, p in network.named_parameters()}
        self.floating = _floating(graph)
        self.fixed = tuple(
            node
            for node in graph.nodes
            if node.op not in ("placeholder", "output") and node not in self.floating
        )
        self.position = {node: index for index, node in enumerate(self.fixed)}
        self.uses = {node: frozenset(self._parameters(node)) for node in self.fixed}
        self.first_use: dict[str, int] = {}  # position of the first node that uses a parameter
        for index, node in enumerate(self.fixed):
            for name in self.uses[node]:
                self.first_use.setdefault(name, index)

    def call_of(self, path: str) -> fx.Node | None:
        """The first call of the module at a path."""
        module = self._network.get_submodule(path)
        calls = (node for node in self.fixed if node.op == "call_module")
        return next(
            (n for n in calls if self._network.get_submodule(str(n.target)) is module), None
        )

    def _parameters(self, node: fx.Node) -> Iterator[str]:
        for source in (node, *self._floating_inputs(node)):
            if source.op == "call_module":
                for parameter in self._network.get_submodule(str(source.target)).parameters():
                    yield self._names[id(parameter)]
            elif source.op == "get_attr":
                value = _attribute(self._network, str(source.target))
                if id(value) in self._names:
                    yield self._names[id(value)]

    def _floating_inputs(self, node: fx.Node) -> set[fx.Node]:
        found: set[fx.Node] = set()
        waiting = [node]
        while waiting:
            for source in waiting.pop().all_input_nodes:
                if source in self.floating and source not in found:
                    found.add(source)
                    waiting.append(source)
        return found


def _floating(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that depend on no image, without those that are changed in place or feed one such."""
    pinned: set[fx.Node] = set()
    for node in graph.nodes:
        if mutates(node):
            waiting = [node]
            while waiting:
                current = waiting.pop()
                if current not in pinned and current.op not in ("get_attr", "placeholder"):
                    pinned.add(current)
                    waiting.extend(current.all_input_nodes)
    floating: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op in ("placeholder", "output") or node in pinned:
            continue
        inputs = node.all_input_nodes
        if node.op == "get_attr" or (inputs and all(source in floating for source in inputs)):
            floating.add(node)
    return floating


def _attribute(module: nn.Module, path: str) -> object:
    value: object = module
    for name in path.split("."):
        value = getattr(value, name, None)
    return value
