"""A traced network as a sequence of stages that share its parameters.

Stage k takes the values alive at cut k and gives those alive at cut k + 1. Fixed nodes (flow.py)
belong to the stage of their position; floating ones are copied into every stage that uses them;
numbers are written into the stage that uses them (crossing.py), as a multiple of the batch size of
what the stage is given, or as a constant.
"""

import operator
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any

import torch
from torch import fx, nn

from layersearch.backbones.crossing import Fixed, Group, Nature, Number, PerBatch, Place, Samples
from layersearch.backbones.flow import Flow


def candidates(flow: Flow, units: Sequence[Set[str]], *, head: fx.Node) -> list[list[int]]:
    """Positions at which each stage may start, best last, in order of depth.

    A stage starts before the first node that uses a parameter of a unit and after the last one that
    uses any other parameter. What comes before the first parameter belongs to the first stage, and
    the last starts exactly at the head.
    """
    last = flow.position[head]
    users = [index for index, node in enumerate(flow.fixed) if flow.uses[node]]
    firsts = {min(flow.first_use[name] for name in unit) for unit in units}
    ranges = [[0]]
    for first in sorted(first for first in firsts if users[0] < first < last):
        before = users[bisect_left(users, first) - 1]
        ranges.append(list(range(before + 1, first + 1)))
    return [*ranges, [last]] if last > 0 else ranges


def narrowest(
    flow: Flow, ranges: Sequence[Sequence[int]], natures: Mapping[fx.Node, Nature], *, head: fx.Node
) -> tuple[int, ...]:
    """Of the positions at which each stage may start, that where the fewest bytes cross.

    Equal ones: the latest, so that more is computed before the cut. Positions where only values
    that can be stored by sample cross go before others.
    """
    everywhere = Layout(flow, [start for starts in ranges for start in starts], head=head)
    crossing = dict(zip(everywhere.starts, everywhere.crossing(natures), strict=True))

    def cost(start: int) -> tuple[bool, int, int]:
        values = [natures[node] for node in crossing[start]]
        samples = [value for value in values if isinstance(value, Samples)]
        storable = len(samples) == len(values) and all(value.independent for value in samples)
        return not storable, sum(value.bytes for value in samples), -start

    return tuple(min(starts, key=cost) for starts in ranges)


class Layout:
    """Which values cross each cut.

    Args:
        starts: position of the first fixed node of each stage.
        head: the node whose first input comes first among the values of the last stage.
    """

    def __init__(self, flow: Flow, starts: Sequence[int], *, head: fx.Node) -> None:
        self.flow = flow
        self.starts = tuple(starts)
        self.stages = len(self.starts)
        (self.output,) = (node for node in flow.graph.nodes if node.op == "output")
        (self.input,) = (node for node in flow.graph.nodes if node.op == "placeholder")
        self._head_inputs = head.all_input_nodes[:1]
        self._order = {node: index for index, node in enumerate(flow.graph.nodes)}
        self._uses = [self._used_in(stage) for stage in range(self.stages)]

    def stage_of(self, node: fx.Node) -> int:
        """The stage that computes a fixed node; -1 for the images."""
        if node is self.input:
            return -1
        return bisect_right(self.starts, self.flow.position[node]) - 1

    def candidates(self) -> set[fx.Node]:
        """All nodes used in a later stage than their own."""
        return set().union(*self._uses)

    def crossing(self, natures: Mapping[fx.Node, Nature]) -> tuple[tuple[fx.Node, ...], ...]:
        """For each stage the nodes whose values enter it, in the order of their computation."""
        carried = {
            node for node in self.candidates() if not isinstance(natures[node], _WRITTEN)
        } | {self.input}
        while True:
            alive = self._alive(carried)
            stranded = {
                node
                for stage, entering in enumerate(alive)
                if not any(isinstance(natures[other], Samples) for other in entering)
                for node in self._uses[stage]
                if node not in carried and not isinstance(natures[node], Fixed)
            }
            if not stranded:
                return tuple(self._sorted(nodes, stage) for stage, nodes in enumerate(alive))
            carried |= stranded

    def nodes(self, stage: int) -> tuple[fx.Node, ...]:
        """The fixed nodes of a stage, in order."""
        ends = (*self.starts[1:], len(self.flow.fixed))
        return self.flow.fixed[self.starts[stage] : ends[stage]]

    def _used_in(self, stage: int) -> set[fx.Node]:
        users = list(self.nodes(stage))
        if stage == self.stages - 1:
            users.append(self.output)
        return {
            source
            for node in users
            for source in node.all_input_nodes
            if source not in self.flow.floating and self.stage_of(source) < stage
        }

    def _alive(self, carried: Set[fx.Node]) -> list[set[fx.Node]]:
        alive: list[set[fx.Node]] = [set() for _ in range(self.stages)]
        later: set[fx.Node] = set()
        for stage in reversed(range(self.stages)):
            later |= self._uses[stage] & carried
            later = {node for node in later if self.stage_of(node) < stage}
            alive[stage] = set(later)
        alive[0] = {self.input}
        return alive

    def _sorted(self, nodes: Collection[fx.Node], stage: int) -> tuple[fx.Node, ...]:
        ordered = sorted(nodes, key=self._order.__getitem__)
        if stage == self.stages - 1:
            ordered.sort(key=lambda node: node not in self._head_inputs)
        return tuple(ordered)


_WRITTEN = (Fixed, PerBatch, Group, Place)


class StageWriter:
    """Writes one stage as a graph of its own.

    Args:
        entering: nodes whose values the stage is given.
        leaving: nodes whose values it gives, or the network's output node alone.
        copied: nodes among `entering` that the stage changes in place; it works on copies, since
            what it is given may be stored.
    """

    def __init__(
        self,
        layout: Layout,
        natures: Mapping[fx.Node, Nature],
        *,
        stage: int,
        entering: Sequence[fx.Node],
        leaving: Sequence[fx.Node],
        copied: Collection[fx.Node] = (),
    ) -> None:
        self.natures = natures
        self.graph = fx.Graph()
        self.floating = layout.flow.floating
        self.baked = False  # whether a number that depends on the image size was written in
        self._values: dict[fx.Node, Any] = {}
        self._samples: fx.Node | None = None  # an input of the stage with samples first
        for node in entering:
            self._enter(node, copy=node in copied)
        for node in layout.nodes(stage):
            self._values[node] = self.graph.node_copy(node, self._resolve)
        if stage == layout.stages - 1:
            self.graph.output((self._resolve(layout.output.args[0]),))
        else:
            self.graph.output(tuple(self._leave(node) for node in leaving))

    def module(self, network: nn.Module, *, name: str) -> fx.GraphModule:
        """The stage as a module in eval mode that shares the modules of the network."""
        module = fx.GraphModule(network, self.graph, class_name=name)
        return module.eval()

    def _enter(self, node: fx.Node, *, copy: bool) -> None:
        value = self.graph.placeholder(node.name)
        nature = self.natures[node]
        if isinstance(nature, Samples):
            self._samples = self._samples or value
            if nature.dim:
                value = self.graph.call_method("movedim", (value, 0, nature.dim))
            if nature.rows != 1:
                value = self.graph.call_method("flatten", (value, nature.dim, nature.dim + 1))
        self._values[node] = self.graph.call_method("clone", (value,)) if copy else value

    def _leave(self, node: fx.Node) -> Any:
        value = self._resolve(node)
        nature = self.natures[node]
        if isinstance(nature, Samples):
            if nature.rows != 1:
                shape = (-1, nature.rows)
                value = self.graph.call_method("unflatten", (value, nature.dim, shape))
            if nature.dim:
                value = self.graph.call_method("movedim", (value, nature.dim, 0))
        return value

    def _resolve(self, node: fx.Node) -> Any:
        if node not in self._values:
            if node in self.floating:
                self._values[node] = self.graph.node_copy(node, self._resolve)
            else:
                nature = self.natures[node]
                assert not isinstance(nature, Samples)
                self._values[node] = self._write(nature)
        return self._values[node]

    def _write(self, number: Number) -> Any:
        if isinstance(number, Group):
            items = [self._write(item) for item in number.items]
            if number.kind is torch.Size:
                return self.graph.call_function(torch.Size, (items,))
            return tuple(items) if number.kind is tuple else items
        if isinstance(number, Fixed):
            self.baked |= isinstance(number.value, int | float | slice)
            return number.value
        if isinstance(number, Place):
            return self.graph.call_function(getattr, (self._samples, number.attribute))
        assert isinstance(number, PerBatch)
        batch = self.graph.call_method("size", (self._samples, 0))
        if number.times == 1:
            return batch
        return self.graph.call_function(operator.mul, (batch, number.times))
