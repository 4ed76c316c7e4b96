"""How much memory training a subset takes at its peak, estimated before any training.

Notation: B: samples of a step; s: a stage; f: the first stage that is computed anew; h: the head's.
What lies in memory when a backward pass begins:

    the frozen backbone with its buffers
  + values, gradients and the optimizer's moments of tuned parameters and head
  + the values at cut f, for B samples
  + what autograd has saved in every stage from f on, which is more in tuned ones
  + two tensors of the largest size saved: the gradient that comes in and the one that goes out

What autograd saves is seen by a forward pass over two samples, and one over three, in which every
stage is frozen and then every stage is tuned: the difference is what a sample takes, the rest does
not depend on their number. Gradients and saved tensors are not all there at one moment, so that
the sum is rather too high. The feature cache, which has budgets of its own, and the libraries'
workspaces are not counted.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from layersearch.backbones import Chain, Values, new_head, parameter_names
from layersearch.space import Subset
from layersearch.space.cost_shape import CostShape
from layersearch.subtuning.network import TunedNetwork
from layersearch.subtuning.optimisation import autocast
from layersearch.subtuning.recipe import Precision, Recipe

_FLOAT = 4  # bytes; parameters are trained in float32 whatever the precision of the products


@dataclass(frozen=True)
class _Saved:
    """What autograd keeps of one stage, in bytes."""

    a_sample: int
    fixed: int
    largest: int  # tensor of one sample


def memory_shape(
    chain: Chain, recipe: Recipe, *, classes: int, precision: Precision, batch_size: int
) -> CostShape:
    """The peak of training as a cost of subsets, in bytes.

    Args:
        chain: the backbone, anywhere; it stays as it is.
        recipe: optimizer, norms and head.
        classes: of the new task.
        precision: of the products.
        batch_size: samples of a forward pass, B.
    """
    last = len(chain.stages) - 1
    head = new_head(
        chain.head_features, classes, depth=recipe.head.depth, kind=chain.head_kind, seed=0
    )
    head = head.to(next((p.device for p in chain.network.parameters()), torch.device("cpu")))
    frozen = _frozen_passes(chain, precision)
    tuned = _tuned_passes(chain, recipe, head, precision)
    a_parameter = _FLOAT * (2 + _moments(recipe))
    always = _bytes([*chain.network.parameters(), *chain.network.buffers()])
    always += a_parameter * sum(p.numel() for p in head.parameters())
    saved = tuned[last].a_sample * batch_size + tuned[last].fixed
    largest = tuned[last].largest
    first = [always + saved + batch_size * (_entering(chain, last) + 2 * largest)]
    for stage in reversed(range(last)):
        saved += frozen[stage].a_sample * batch_size + frozen[stage].fixed
        largest = max(largest, tuned[stage].largest)
        total = always + saved + batch_size * (_entering(chain, stage) + 2 * largest)
        first.append(max(total, first[-1]))  # going back further never takes less
    extra = [
        max(0, more.a_sample - less.a_sample) * batch_size + max(0, more.fixed - less.fixed)
        for more, less in zip(tuned[:last], frozen[:last], strict=True)
    ]
    return CostShape(
        first=tuple(reversed(first)),
        stages=(*extra, 0),
        units={unit.name: unit.numel * a_parameter for unit in chain.units},
        places=_places(chain),
    )


def _moments(recipe: Recipe) -> int:
    """Values that the optimizer remembers of each parameter."""
    if recipe.optimizer == "sgd":
        return 1 if recipe.momentum else 0
    return 2


def _places(chain: Chain) -> dict[str, tuple[int, ...]]:
    used = [frozenset(parameter_names(stage)) for stage in chain.stages]
    return {
        unit.name: tuple(s for s, names in enumerate(used) if names.intersection(unit.parameters))
        for unit in chain.units
    }


def _entering(chain: Chain, cut: int) -> int:
    """Bytes of a sample's values at a cut; of its image where they are not stored by sample."""
    if not chain.cacheable(cut):
        return _FLOAT * int(torch.Size(chain.input_shape).numel())
    return sum(value.bytes for value in chain.value_shapes(cut))


def _frozen_passes(chain: Chain, precision: Precision) -> list[_Saved]:
    """Of every stage, frozen, when something before it is tuned."""
    stages = [chain.folded(k) for k in range(len(chain.stages))]
    return _compared(
        lambda count: _kept(stages, (_images(chain, count).requires_grad_(),), precision)
    )


def _tuned_passes(
    chain: Chain, recipe: Recipe, head: nn.Module, precision: Precision
) -> list[_Saved]:
    """Of every stage, with all of its units tuned; nothing for those before the first unit."""
    everything = Subset(unit.name for unit in chain.units)
    network = TunedNetwork(
        chain, everything, head, recipe=replace(recipe, start="pretrained", siamese=False)
    )

    def kept(count: int) -> list[tuple[int, int]]:
        with torch.no_grad():
            values = chain.run((_images(chain, count),), 0, network.first)
        return _kept(network.stages, values, precision)

    return [_Saved(a_sample=0, fixed=0, largest=0)] * network.first + _compared(kept)


def _compared(kept: Callable[[int], list[tuple[int, int]]]) -> list[_Saved]:
    """By stage, from what is kept of two samples and of three."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        two, three = kept(2), kept(3)
    found = []
    for (few, _), (more, largest) in zip(two, three, strict=True):
        a_sample = max(0, more - few)
        found.append(_Saved(a_sample, max(0, few - 2 * a_sample), -(-largest // 3)))
    return found


def _kept(
    stages: Iterable[nn.Module], values: Values, precision: Precision
) -> list[tuple[int, int]]:
    """Bytes that autograd saves in each stage, and its largest tensor, parameters left out.

    What several operations save is counted once, where it is saved first.
    """
    stages = list(stages)
    known = {_place(t) for stage in stages for t in (*stage.parameters(), *stage.buffers())}
    known |= {_place(value) for value in values if torch.is_tensor(value)}
    device = next((v.device for v in values if torch.is_tensor(v)), torch.device("cpu"))
    alive: list[Tensor] = []  # so that no address is used twice
    found: list[tuple[int, int]] = []

    def see(tensor: Tensor) -> Tensor:
        if _place(tensor) not in known:
            known.add(_place(tensor))
            sizes.append(tensor.untyped_storage().nbytes())
            alive.append(tensor.detach())
        return tensor

    with autocast(device, "bf16" if precision == "fp16" and device.type == "cpu" else precision):
        for stage in stages:
            sizes: list[int] = []
            with torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
                values = stage(*values)
            found.append((sum(sizes), max(sizes, default=0)))
    return found


def _images(chain: Chain, count: int) -> Tensor:
    device = next((p.device for p in chain.network.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    return torch.randn((count, *chain.input_shape), generator=generator).to(device)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
