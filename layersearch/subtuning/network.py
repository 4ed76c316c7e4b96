"""The network of one trial: the stages from the first tuned unit on, with its own units and head.

Everything frozen is shared with the backbone; only tuned units and the head are copied, and, once
for all trials, convolutions with the frozen norms folded into them. Frozen modules stay in eval
mode whatever anyone calls: their BatchNorm statistics belong to the pretrained weights (paper,
section 2).
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from layersearch.backbones import Chain, Values, clone_stage, paired
from layersearch.errors import BackboneError
from layersearch.space import Subset, Unit, derive_seed
from layersearch.subtuning.recipe import Recipe


class TunedNetwork(nn.Module):
    """Stages `first` ... of a chain: `forward` takes the values at that cut, gives class scores.

    Args:
        chain: the backbone, left as it is.
        subset: the units to tune; they are copied. Empty: the head alone.
        head: the new classifier, used as it is (not copied).
        recipe: how units start, what their norms do, and whether the head is Siamese.
        seed: decides re-initialised units; equal seeds give equal weights.

    Attributes:
        first: the stage that it starts with, which takes the values at that cut.
        siamese: whether `forward` also needs the original features, the first value at cut `last`.
        last: the stage of the head.

    Raises:
        BackboneError: if the head is Siamese and the chain is not cut before it.
    """

    def __init__(
        self, chain: Chain, subset: Subset, head: nn.Module, *, recipe: Recipe, seed: int = 0
    ) -> None:
        super().__init__()
        units = [unit for unit in chain.units if unit.name in subset]
        self.first = first_tuned(chain, subset)
        self.last = len(chain.stages) - 1
        self.siamese = recipe.pairs_features(subset)
        self._head_kind = chain.head_kind
        if self.siamese:
            require_cut(chain)
        self.head = head
        stages = chain.stages[self.first :]
        tuned = frozenset(name for unit in units for name in unit.parameters)
        moving = {name for unit in units for name in unit.buffers}
        copies = _copies(stages, tuned)
        if recipe.start == "random":
            _reinitialise(stages, copies, seed=derive_seed(seed, "units"))
        plain = [
            _own_stage(
                stage,
                copies,
                moving if recipe.norms == "train" else set(),
                {chain.head: head} if index == len(stages) - 1 else {},
            )
            for index, stage in enumerate(stages)
        ]
        # Frozen stages need not compute their norms anew in every step.
        self._frozen = {index: stage for index, stage in enumerate(plain) if stage is stages[index]}
        self.stages = nn.ModuleList(
            chain.folded(self.first + index) if index in self._frozen else stage
            for index, stage in enumerate(plain)
        )
        self._moving = moving
        self._norms_move = recipe.norms == "train"
        self._trained_modules = self._find_trained_modules(units, recipe)
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        for parameter in [*copies.values(), *head.parameters()]:
            parameter.requires_grad_(True)
        self._copies = copies
        self.train()

    def forward(self, *values: Tensor, original: Tensor | None = None) -> Tensor:
        """Class scores (N, classes).

        Args:
            *values: at cut `first`.
            original: the original network's features, for a Siamese head.
        """
        flowing: Values = values
        *before, last = self.stages
        for stage in before:
            flowing = stage(*flowing)
        if self.siamese:
            assert original is not None
            flowing = (paired(original, flowing[0], kind=self._head_kind), *flowing[1:])
        scores: Tensor = last(*flowing)[0]
        return scores

    def train(self, mode: bool = True) -> "TunedNetwork":
        """Sets the mode of tuned units and head; frozen modules stay in eval mode."""
        self.training = mode
        for stage in self.stages:
            stage.eval()
        for module in self._trained_modules:
            module.training = mode
        self.head.train(mode)
        return self

    def unfold(self) -> None:
        """Has frozen stages compute what they do in the backbone, to the last bit."""
        for index, stage in self._frozen.items():
            self.stages[index] = stage

    @property
    def tuned_parameters(self) -> list[nn.Parameter]:
        """What the optimizer moves: tuned units, then the head."""
        return [*self._copies.values(), *self.head.parameters()]

    def tuned_state(self) -> dict[str, Tensor]:
        """Tuned parameters and norm statistics by the backbone's names, the head by `head.*`."""
        state = {name: parameter.detach().clone() for name, parameter in self._copies.items()}
        for stage in self.stages:
            for name, buffer in stage.named_buffers():
                if name in self._moving:
                    state[name] = buffer.detach().clone()
        for name, tensor in self.head.state_dict().items():
            state[f"head.{name}"] = tensor.detach().clone()
        return state

    def changing(self) -> dict[str, Tensor]:
        """All that training changes, by name: the tensors themselves, not copies."""
        found: dict[str, Tensor] = {f"units.{name}": value for name, value in self._copies.items()}
        for index, stage in enumerate(self.stages if self._norms_move else ()):
            for name, buffer in stage.named_buffers():
                if name in self._moving:  # a norm used in two stages has statistics in each
                    found[f"norms.{index}.{name}"] = buffer
        for name, value in self.head.state_dict(keep_vars=True).items():
            found[f"head.{name}"] = value
        return found

    def _find_trained_modules(self, units: Sequence[Unit], recipe: Recipe) -> list[nn.Module]:
        """Modules that own tuned parameters, and what drops out or switches within tuned units."""
        owners = {name.rpartition(".")[0] for unit in units for name in unit.parameters}
        regions = tuple(f"{region}." for unit in units if (region := _region(unit)))
        trained = []
        for stage in self.stages:
            for path, module in stage.named_modules():
                if path in owners:
                    if recipe.norms == "train" or not isinstance(module, _NormBase):
                        trained.append(module)
                elif path.startswith(regions) and not any(True for _ in module.parameters()):
                    trained.append(module)
        return trained


def first_tuned(chain: Chain, subset: Subset) -> int:
    """The first stage that a subset computes anew; the head's for the empty subset."""
    depths = [unit.depth for unit in chain.units if unit.name in subset]
    return min(depths, default=len(chain.stages) - 1)


def require_cut(chain: Chain) -> None:
    """Refuses a chain without a cut at its head, where original and tuned features would meet.

    Raises:
        BackboneError: it is one.
    """
    if not chain.traced:
        raise BackboneError(
            f"recipe.siamese: {type(chain.network).__name__} cannot be cut into stages, so its "
            "head cannot be given two networks' features; leave recipe.siamese out, or give a "
            "network that torch.fx can trace"
        )


def stage_multiply_adds(chain: Chain, subset: Subset, recipe: Recipe) -> tuple[int, ...]:
    """Of each stage, forward, one sample, as a trial runs it: a Siamese head takes twice as much.

    The original network's part of that is not in it: its features are computed once for all trials.
    """
    *before, last = chain.multiply_adds
    return (*before, 2 * last if recipe.pairs_features(subset) else last)


def _region(unit: Unit) -> str:
    """The module that a unit is, or is a part of; '' for parameters scattered over the backbone."""
    paths = [name.split(".")[:-1] for name in unit.parameters]
    shared = [steps[0] for steps in zip(*paths, strict=False) if len(set(steps)) == 1]
    return ".".join(shared)


def _copies(stages: Sequence[nn.Module], names: frozenset[str]) -> dict[str, nn.Parameter]:
    found: dict[str, nn.Parameter] = {}
    for stage in stages:
        for name, parameter in stage.named_parameters():
            if name in names and name not in found:
                value = parameter.detach().clone(memory_format=torch.preserve_format)
                found[name] = nn.Parameter(value)
    return found


def _own_stage(
    stage: nn.Module,
    copies: dict[str, nn.Parameter],
    buffers: set[str],
    modules: dict[str, nn.Module],
) -> nn.Module:
    """The stage itself if nothing of it is tuned, else a copy that owns its tuned parts."""
    names = {name for name, _ in stage.named_parameters()}
    own = {name: parameter for name, parameter in copies.items() if name in names}
    if not own and not modules:
        return stage
    own_buffers = [name for name, _ in stage.named_buffers() if name in buffers]
    return clone_stage(stage, own, buffers=own_buffers, modules=modules)


def _reinitialise(
    stages: Sequence[nn.Module], copies: dict[str, nn.Parameter], *, seed: int
) -> None:
    """Gives each copied parameter the random start of its module's class (paper, appendix)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, parameter in copies.items():
            fresh = _fresh_value(stages, name)
            with torch.no_grad():
                if fresh is not None:
                    parameter.copy_(fresh)
                elif parameter.ndim >= 2:  # tokens, positions: no class says how they start
                    nn.init.trunc_normal_(parameter, std=0.02)


def _fresh_value(stages: Sequence[nn.Module], name: str) -> Tensor | None:
    path, _, leaf = name.rpartition(".")
    for stage in stages:
        if not any(other == name for other, _ in stage.named_parameters()):
            continue
        module = stage.get_submodule(path)
        if not hasattr(module, "reset_parameters"):
            return None
        twin = copy.deepcopy(module)
        twin.reset_parameters()  # type: ignore[operator]  # checked by hasattr above
        value: Tensor = getattr(twin, leaf).detach()
        return value
    return None
