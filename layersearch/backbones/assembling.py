"""Makes the stages of a chain, runs them once on real images and compares them with the network."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from layersearch.backbones.cloning import parameter_names, remember_ties, uncut_stage
from layersearch.backbones.counting import multiply_adds
from layersearch.backbones.crossing import Nature, Samples, close, natures
from layersearch.backbones.cutting import Layout, StageWriter, candidates, narrowest
from layersearch.backbones.survey import Survey
from layersearch.backbones.tracing import Untraceable
from layersearch.backbones.units import UnitSpec
from layersearch.space.unit import Unit


@dataclass(frozen=True, kw_only=True)
class ValueShape:
    """One of the values at a cut, for one sample."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Memory that it takes for one sample."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True)
class Stages:
    """The stages of a chain and what was seen of them."""

    modules: tuple[nn.Module, ...]
    traced: bool
    multiply_adds: tuple[int, ...]  # of each stage, one sample
    cacheable: tuple[bool, ...]  # of the values that enter each stage
    shapes: tuple[tuple[ValueShape, ...], ...]  # of the values that enter each stage
    outputs: tuple[tuple[int, ...], ...]  # shape of the newest value that each stage gives
    sized: bool  # whether numbers that depend on the image size are written into them


def uncut_network(found: Survey) -> Stages:
    """The whole network as one stage."""
    stage = uncut_stage(found.network)
    remember_ties(stage, found.network)
    with torch.no_grad():
        (scores,), count = multiply_adds(lambda: stage(found.images[:1]))
    image = ValueShape(shape=tuple(found.images.shape[1:]), dtype=found.images.dtype)
    return Stages(
        modules=(stage,),
        traced=False,
        multiply_adds=(count,),
        cacheable=(True,),
        shapes=((image,),),
        outputs=(tuple(scores.shape[1:]),),
        sized=False,
    )


def cut_network(found: Survey, units: Sequence[UnitSpec]) -> Stages:
    """The network cut at the first use of each unit.

    Raises:
        Untraceable: if the stages do not do what the network does.
    """
    flow, trace = found.flow, found.trace
    assert flow is not None
    assert trace is not None
    head = flow.call_of(found.head)
    if head is None:
        raise Untraceable(f"its trace does not call '{found.head}'")
    ranges = candidates(flow, [set(unit.parameters) for unit in units], head=head)
    everywhere = Layout(flow, [start for starts in ranges for start in starts], head=head)
    try:
        with trace.constants_on(found.network), torch.no_grad():
            known = natures(
                found.network, flow.graph, found.images, compare=everywhere.candidates()
            )
            starts = narrowest(flow, ranges, known, head=head)
            return _Assembly(found, Layout(flow, starts, head=head), known).run()
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise Untraceable(f"its stages do not run: {error}") from error


def complete_units(specs: Sequence[UnitSpec], stages: Stages, found: Survey) -> tuple[Unit, ...]:
    """The units in order of depth, with their sizes and what their stages compute."""
    parameters = dict(found.network.named_parameters())
    depth_of: dict[str, int] = {}
    for depth, stage in enumerate(stages.modules):
        for name in parameter_names(stage):
            depth_of.setdefault(name, depth)
    units = []
    for spec in sorted(specs, key=lambda spec: min(found.rank[name] for name in spec.parameters)):
        depth = min(depth_of[name] for name in spec.parameters)
        units.append(
            Unit(
                name=spec.name,
                depth=depth,
                parameters=spec.parameters,
                buffers=spec.buffers,
                numel=sum(parameters[name].numel() for name in spec.parameters),
                multiply_adds=stages.multiply_adds[depth],
                output_shape=stages.outputs[depth],
            )
        )
    return tuple(sorted(units, key=lambda unit: unit.depth))  # stable: ties stay in order of use


class _Assembly:
    """Writes the stages one after the other, each run on what those before it gave."""

    def __init__(self, found: Survey, layout: Layout, known: dict[fx.Node, Nature]) -> None:
        self.found = found
        self.layout = layout
        self.known = known
        self.crossing = (*layout.crossing(known), (layout.output,))
        self.sized = False

    def run(self) -> Stages:
        values: tuple[Any, ...] = (self.found.images[:2],)
        modules, counts, shapes, outputs = [], [], [], []
        for stage in range(self.layout.stages):
            shapes.append(tuple(_value_shape(value) for value in values))
            module = self._write(stage)
            given = tuple(_copy(value) for value in values)
            result, count = multiply_adds(partial(module, *given))
            changed = [i for i, value in enumerate(given) if _changed(value)]
            if changed:
                copied = [self.crossing[stage][index] for index in changed]
                module = self._write(stage, copied=copied)
                result = module(*values)
            remember_ties(module, self.found.network)
            values = result
            modules.append(module)
            counts.append(count // 2)  # two images
            outputs.append(self._output(stage, values))
        if not close(self.found.scores, values[0]):
            raise Untraceable("its trace gives other scores than the network")
        return Stages(
            modules=tuple(modules),
            traced=True,
            multiply_adds=tuple(counts),
            cacheable=tuple(self._cacheable(stage) for stage in range(len(modules))),
            shapes=tuple(tuple(s for s in at if s is not None) for at in shapes),
            outputs=tuple(outputs),
            sized=self.sized,
        )

    def _write(self, stage: int, *, copied: Sequence[fx.Node] = ()) -> nn.Module:
        writer = StageWriter(
            self.layout,
            self.known,
            stage=stage,
            entering=self.crossing[stage],
            leaving=self.crossing[stage + 1],
            copied=copied,
        )
        self.sized |= writer.baked
        return writer.module(self.found.network, name=f"Stage{stage}")

    def _cacheable(self, stage: int) -> bool:
        natures_here = [self.known[node] for node in self.crossing[stage]]
        return stage == 0 or all(isinstance(n, Samples) and n.independent for n in natures_here)

    def _output(self, stage: int, values: tuple[Any, ...]) -> tuple[int, ...]:
        """Shape of the value that was computed last; before the head, of what enters it."""
        before_head = stage == self.layout.stages - 2
        tensors = [value for value in values if isinstance(value, Tensor)]
        newest = tensors[0 if before_head else -1] if tensors else None
        return () if newest is None else tuple(newest.shape[1:])


def _value_shape(value: Any) -> ValueShape | None:
    if not isinstance(value, Tensor):
        return None
    return ValueShape(shape=tuple(value.shape[1:]), dtype=value.dtype)


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _changed(value: Any) -> bool:
    # PyTorch counts changes in place; autograd relies on the count, and it has no public name.
    return isinstance(value, Tensor) and value._version > 0  # noqa: SLF001
