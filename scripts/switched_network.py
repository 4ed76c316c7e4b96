"""A network whose units are pretrained or tuned, each by its own switch; for `rank_subsets.py`.

A subset of the units is switched on without training: n trained units give 2^n networks. Norms
keep the pretrained statistics (a subset has no statistics of its own without another pass over the
data). Bit u of a number stands for unit u of the chain.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from layersearch.backbones import Chain
from layersearch.space import Subset
from layersearch.subtuning import Recipe, TunedNetwork, Workplace
from layersearch.subtuning.optimisation import autocast
from layersearch.subtuning.training import EVALUATION_VIEW

AT_A_TIME = 500  # samples
Values = tuple[Tensor, ...]


class Switched(nn.Module):
    """A chain with a tuned copy of every unit.

    Args:
        chain: the backbone, left as it is.
        head: the classifier of all subsets, used as it is.
        recipe: of the training.
        seed: decides re-initialised units.

    Attributes:
        tuned: what a unit's parameters are while it is on, by the backbone's names.
        last: the stage of the head.
    """

    def __init__(self, chain: Chain, head: nn.Module, recipe: Recipe, *, seed: int = 0) -> None:
        super().__init__()
        self.chain = chain
        self.head = head
        self.last = len(chain.stages) - 1
        everything = Subset([unit.name for unit in chain.units])
        plain = replace(recipe, norms="eval", siamese=False)
        self.network = TunedNetwork(chain, everything, head, recipe=plain, seed=seed)
        self.tuned: dict[str, Tensor] = {
            name.removeprefix("units."): value
            for name, value in self.network.changing().items()
            if name.startswith("units.")
        }
        self._unit = {name: u for u, unit in enumerate(chain.units) for name in unit.parameters}
        self._used = [
            frozenset(
                self._unit[name] for name, _ in stage.named_parameters() if name in self._unit
            )
            for stage in chain.stages
        ]

    def first(self, bits: int) -> int:
        """The first stage that a subset computes anew."""
        depths = (unit.depth for u, unit in enumerate(self.chain.units) if bits >> u & 1)
        return min(depths, default=self.last)

    def forward(self, bits: int, *values: Tensor) -> Tensor:
        """Class scores (N, classes) of a subset, from the values at cut `first(bits)`."""
        for stage in range(self.first(bits), self.last + 1):
            values = self.run(stage, bits, values)
        return values[0]

    def run(self, stage: int, bits: int, values: Values) -> Values:
        """What a stage makes of its values (N, ...) with the switches of a subset."""
        off = {unit for unit in self._used[stage] if not bits >> unit & 1}
        if stage < self.last and len(off) == len(self._used[stage]):
            frozen: Values = self.chain.folded(stage)(*values)
            return frozen
        tuned = self.network.stages[stage - self.network.first]
        pretrained: dict[str, Tensor] = {
            name: value
            for name, value in self.chain.stages[stage].named_parameters()
            if self._unit.get(name) in off
        }
        found: Values = (
            torch.func.functional_call(tuned, pretrained, values) if pretrained else tuned(*values)
        )
        return found

    def up_to(self, bits: int, stage: int) -> int:
        """The switches of a subset that decide the values before a stage."""
        units = enumerate(self.chain.units)
        return bits & sum(1 << u for u, unit in units if unit.depth < stage)


def features(
    switched: Switched, workplace: Workplace, subsets: Iterable[int], samples: Tensor
) -> Iterator[tuple[int, Tensor, int]]:
    """What enters the head for each subset, in the evaluation view.

    Subsets that begin alike share what they begin with.

    Args:
        switched: the network.
        workplace: its device, precision and features of the frozen prefix.
        subsets: numbers.
        samples: (n,) indices.

    Yields:
        A subset, its features (n, F) in float32 on the CPU, and the multiply-adds spent since the
        last one was given.
    """
    switched.eval()
    spent = 0

    def descend(stage: int, group: list[int], values: Values) -> Iterator[tuple[int, Tensor, int]]:
        nonlocal spent
        if stage == switched.last:
            for bits in group:
                yield bits, values[0].flatten(1).float().cpu(), spent
                spent = 0
            return
        parts: dict[int, list[int]] = {}
        for bits in group:
            parts.setdefault(switched.up_to(bits, stage + 1), []).append(bits)
        for part in parts.values():
            spent += switched.chain.multiply_adds[stage] * len(samples)
            after = _in_pieces(switched, workplace, stage, part[0], values)
            yield from descend(stage + 1, part, after)

    start = workplace.features.values(0, samples, EVALUATION_VIEW)
    yield from descend(0, sorted(subsets), start)


@torch.no_grad()
def _in_pieces(
    switched: Switched, workplace: Workplace, stage: int, bits: int, values: Values
) -> Values:
    pieces = []
    for piece in zip(*(torch.split(value, AT_A_TIME) for value in values), strict=True):
        with autocast(workplace.device, workplace.precision):
            pieces.append(switched.run(stage, bits, piece))
    return tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))
