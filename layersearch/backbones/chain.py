"""Chain: a backbone cut at its units, stem -> unit 1 -> ... -> unit n -> head.

Exactness: running stages k, k + 1, ... on what the earlier ones gave equals the network to the
last bit in eval mode, because the stages replay the network's own operations in their own order on
the network's own parameters. A trace cannot be taken on trust (Python code may do anything), so
every chain is compared with its network on random images when it is made; one that differs is not
cut.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from layersearch.backbones.assembling import ValueShape, complete_units, cut_network, uncut_network
from layersearch.backbones.backbone import Backbone
from layersearch.backbones.folding import fold_norms
from layersearch.backbones.heads import HeadKind, head_kind
from layersearch.backbones.survey import Survey, survey, warn_uncut
from layersearch.backbones.tracing import Untraceable
from layersearch.backbones.units import UnitSpec, discover
from layersearch.errors import BackboneError, SpaceError
from layersearch.space.unit import Unit

Values = tuple[Any, ...]  # what crosses a cut: tensors with samples first, rarely anything else


class Chain:
    """A network as a sequence of stages that share its parameters.

    Attributes:
        network: the original, in eval mode and frozen.
        stages: `stages[k](*values)` gives the values at cut k + 1 as a tuple. Parameters and
            buffers in it have the names that they have in the network.
        units: by depth; the depth of a unit is the first stage that uses it.
        head: path of the classifier, with which the last stage starts: the first value at the last
            cut is what enters it.
        head_features: size of what enters the head.
        head_kind: 'linear', or 'conv' for a 1x1 convolution of maps.
        traced: False: there is one stage, the whole network, and all units have depth 0.
        multiply_adds: of each stage, forward, one sample.
    """

    def __init__(self, found: Survey, units: Sequence[UnitSpec]) -> None:
        self.network = found.network
        self.head = found.head
        self.head_kind: HeadKind = head_kind(found.network, found.head)
        self.head_features = found.head_input[0 if self.head_kind == "conv" else -1]
        self.input_shape = tuple(found.images.shape[1:])
        reason, cut = found.untraceable, None
        if found.trace is not None:
            try:
                cut = cut_network(found, units)
            except Untraceable as error:
                reason = str(error)
        if cut is None:
            warn_uncut(found.network, reason)
            cut = uncut_network(found)
        self.traced = cut.traced
        self.stages = cut.modules
        self.multiply_adds = cut.multiply_adds
        self._cacheable = cut.cacheable
        self._shapes = cut.shapes
        self._sized = cut.sized
        self.units = complete_units(units, cut, found)
        self._folded: dict[int, nn.Module] = {}  # stages, as far as they were asked for

    def __call__(self, x: Tensor) -> Tensor:
        """Scores (N, classes) of the original network for images (N, C, H, W)."""
        scores: Tensor = self.run((x,))[0]
        return scores

    def run(self, values: Values, start: int = 0, stop: int | None = None) -> Values:
        """The values at cut `stop`, given those at cut `start` (at cut 0: the images alone).

        Raises:
            BackboneError: if images have another size than the chain was made for, and it matters.
        """
        if start == 0 and self._sized and tuple(values[0].shape[1:]) != self.input_shape:
            raise BackboneError(
                f"chain: made for images {self.input_shape}, got {tuple(values[0].shape[1:])}; "
                "make a chain with that input_size"
            )
        for stage in self.stages[start:stop]:
            values = stage(*values)
        return values

    def cacheable(self, k: int) -> bool:
        """Whether the values at cut k can be stored by sample.

        They are tensors with samples first, and those of one sample do not depend on the others of
        its batch (checked with random images when the chain was made).
        """
        return self._cacheable[k]

    def value_shapes(self, k: int) -> tuple[ValueShape, ...]:
        """Shapes and types of the tensors at cut k, for one sample.

        Raises:
            BackboneError: if the cut is not cacheable.
        """
        if not self._cacheable[k]:
            raise BackboneError(f"chain: the values at cut {k} cannot be stored by sample")
        return self._shapes[k]

    def features(self, x: Tensor) -> Tensor:
        """What enters the head, for images (N, C, H, W); also for a network that is not cut."""
        if self.traced:
            features: Tensor = self.run((x,), 0, len(self.stages) - 1)[0]
            return features
        return head_inputs(self.stages[0], self.head, (x,))

    def folded(self, k: int) -> nn.Module:
        """Stage k with its norms folded into its convolutions: quicker, equal within rounding.

        The weights are those of now; what is trained later is not seen.
        """
        if k not in self._folded:
            self._folded[k] = fold_norms(self.stages[k])
        return self._folded[k]

    def to(self, device: torch.device | str) -> "Chain":
        """Moves the network and all stages, in place."""
        self._folded.clear()
        self.network.to(device)
        for stage in self.stages:  # buffers that a stage uses directly are not the network's own
            stage.to(device)
        return self

    def unit(self, name: str) -> Unit:
        """The unit of that name. Raises KeyError: if there is none."""
        return {unit.name: unit for unit in self.units}[name]


def build_chain(
    backbone: Backbone,
    *,
    granularity: str = "block",
    kinds: Sequence[str] = (),
    patterns: Mapping[str, Sequence[str]] | None = None,
    exclude: Sequence[str] = (),
) -> Chain:
    """Finds a backbone's units and cuts it there.

    Args:
        backbone: its network stays as it is, in eval mode and frozen.
        granularity: 'stage', 'block' or 'layer'.
        kinds: splits every unit by the kind of its parameters: 'norm', 'bias', 'weight'; kinds that
            are not named are in no unit.
        patterns: unit names with globs over names of parameters, instead of the granularity.
        exclude: globs over names of units or parameters to leave out.

    Raises:
        BackboneError: if the network does not run or has no classifier.
        SpaceError: if a pattern matches nothing, or no unit is left.
    """
    found = survey(
        backbone.network,
        input_size=backbone.preprocessing.input_size,
        channels=len(backbone.preprocessing.mean),
        head=backbone.head,
        check_head=False,  # done when the backbone was loaded
    )
    specs = discover(
        found, granularity=granularity, kinds=kinds, patterns=patterns, exclude=exclude
    )
    return Chain(found, specs)


def cut(
    network: nn.Module,
    units: Sequence[UnitSpec | Unit],
    *,
    head: str | None = None,
    input_size: tuple[int, int],
    channels: int = 3,
) -> Chain:
    """Cuts a network at units of the caller's own.

    Raises:
        BackboneError: if the network does not run or has no such classifier.
        SpaceError: if a unit holds a parameter that the network does not use.
    """
    found = survey(network, input_size=input_size, channels=channels, head=head)
    specs = [UnitSpec(unit.name, tuple(unit.parameters), tuple(unit.buffers)) for unit in units]
    for spec in specs:
        for name in spec.parameters:
            if name not in found.rank:
                raise SpaceError(
                    f"units: '{spec.name}' holds '{name}', which the network does not use"
                )
    return Chain(found, specs)


def head_inputs(stage: nn.Module, head: str, values: Values) -> Tensor:
    """What enters the module at `head` when the stage runs."""
    seen: list[Tensor] = []
    module = stage.get_submodule(head)
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        stage(*values)
    finally:
        handle.remove()
    return seen[-1]
