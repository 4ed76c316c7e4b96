"""Units of a backbone: found at a granularity, split by kind of parameter, or named by patterns."""

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from layersearch.backbones.blocks import Part, blocks, layers, stages
from layersearch.backbones.survey import Survey, survey
from layersearch.backbones.tracing import is_norm
from layersearch.errors import SpaceError

_GRANULARITIES: Mapping[str, Callable[[Survey], list[Part]]] = {
    "stage": stages,
    "block": blocks,
    "layer": layers,
}
KINDS = ("norm", "bias", "weight")


@dataclass(frozen=True)
class UnitSpec:
    """The parameters of a unit, before the network is cut."""

    name: str
    parameters: tuple[str, ...]
    buffers: tuple[str, ...] = ()  # statistics of its norms


def find_units(
    network: nn.Module,
    *,
    granularity: str = "block",
    kinds: Sequence[str] = (),
    patterns: Mapping[str, Sequence[str]] | None = None,
    exclude: Sequence[str] = (),
    head: str | None = None,
    input_size: tuple[int, int],
    channels: int = 3,
) -> tuple[UnitSpec, ...]:
    """The units of a network in order of execution. See `discover` for the arguments."""
    found = survey(network, input_size=input_size, channels=channels, head=head)
    return discover(found, granularity=granularity, kinds=kinds, patterns=patterns, exclude=exclude)


def discover(
    found: Survey,
    *,
    granularity: str = "block",
    kinds: Sequence[str] = (),
    patterns: Mapping[str, Sequence[str]] | None = None,
    exclude: Sequence[str] = (),
) -> tuple[UnitSpec, ...]:
    """The units of a network that was surveyed, in order of execution.

    Args:
        found: what is known of the network.
        granularity: 'stage', 'block' or 'layer'.
        kinds: 'norm', 'bias', 'weight': a unit `layer1.0` becomes `layer1.0:norm` and so on.
            Parameters of kinds that are not named are in no unit.
        patterns: unit names with globs over names of parameters (a module's path stands for all in
            it), instead of the granularity. Parameters of the head are never in a unit.
        exclude: globs over names of units (left out whole) or of parameters.

    Raises:
        SpaceError: if a word is unknown, a glob matches nothing, two patterns share a parameter, or
            no unit is left.
    """
    if patterns is not None:
        specs = _by_patterns(found, patterns)
    else:
        if granularity not in _GRANULARITIES:
            raise SpaceError(_unknown("space.granularity", granularity, list(_GRANULARITIES)))
        specs = {part.path: part.parameters for part in _GRANULARITIES[granularity](found)}
    if kinds:
        specs = _by_kind(found, specs, kinds)
    specs = _without(found, specs, exclude)
    if not specs:
        raise SpaceError("space.units: no unit is left; exclude less")
    rank = found.rank
    units = [UnitSpec(name, names, _statistics(found, names)) for name, names in specs.items()]
    return tuple(sorted(units, key=lambda unit: min(rank[name] for name in unit.parameters)))


_Specs = Mapping[str, tuple[str, ...]]


def _by_patterns(found: Survey, patterns: Mapping[str, Sequence[str]]) -> _Specs:
    names = _tunable(found)
    owner: dict[str, str] = {}
    specs = {}
    for unit, globs in patterns.items():
        matched: set[str] = set()
        for index, glob in enumerate([globs] if isinstance(globs, str) else globs):
            here = {name for name in names if _matches(name, glob)}
            if not here:
                raise SpaceError(_no_match(f"space.units.{unit}[{index}]", glob, names))
            matched |= here
        for name in names:
            if name in matched and owner.setdefault(name, unit) != unit:
                raise SpaceError(
                    f"space.units: '{name}' is both in '{owner[name]}' and in '{unit}'; "
                    "a parameter belongs to one unit"
                )
        if not matched:
            raise SpaceError(f"space.units.{unit}: has no patterns; name some parameters")
        specs[unit] = tuple(name for name in names if name in matched)
    return specs


def _by_kind(found: Survey, specs: _Specs, kinds: Sequence[str]) -> _Specs:
    for index, kind in enumerate(kinds):
        if kind not in KINDS:
            raise SpaceError(_unknown(f"space.kinds[{index}]", kind, KINDS))
    norms = _norm_paths(found.network)
    split = {}
    for unit, names in specs.items():
        for kind in kinds:
            chosen = tuple(name for name in names if _kind(name, norms) == kind)
            if chosen:
                split[f"{unit}:{kind}"] = chosen
    if not split:
        there = sorted({_kind(name, norms) for names in specs.values() for name in names})
        raise SpaceError(
            f"space.kinds: no parameter of kind {', '.join(kinds)}; there are {', '.join(there)}"
        )
    return split


def _without(found: Survey, specs: _Specs, exclude: Sequence[str]) -> _Specs:
    names = _tunable(found)
    for index, glob in enumerate(exclude):
        if not any(_matches(name, glob) for name in (*specs, *names)):
            raise SpaceError(_no_match(f"space.exclude[{index}]", glob, [*specs, *names]))
    kept = {}
    for unit, members in specs.items():
        if not any(fnmatchcase(unit, glob) for glob in exclude):
            left = tuple(n for n in members if not any(_matches(n, glob) for glob in exclude))
            if left:
                kept[unit] = left
    return kept


def _tunable(found: Survey) -> list[str]:
    """Names of all parameters that the network uses outside its head."""
    used = set(found.rank) - found.head_parameters
    return [name for name, _ in found.network.named_parameters() if name in used]


def _matches(name: str, glob: str) -> bool:
    return fnmatchcase(name, glob) or fnmatchcase(name, f"{glob}.*")


def _norm_paths(network: nn.Module) -> frozenset[str]:
    return frozenset(path for path, module in network.named_modules() if is_norm(module))


def _kind(name: str, norms: Collection[str]) -> str:
    path, _, last = name.rpartition(".")
    if path in norms:
        return "norm"
    return "bias" if last == "bias" or last.endswith("_bias") else "weight"


def _statistics(found: Survey, parameters: Sequence[str]) -> tuple[str, ...]:
    """Names of the buffers of the norms that own some of the parameters."""
    norms = _norm_paths(found.network)
    owners = dict.fromkeys(name.rpartition(".")[0] for name in parameters)
    return tuple(
        f"{path}.{name}"
        for path in owners
        if path in norms
        for name, _ in found.network.get_submodule(path).named_buffers(recurse=False)
    )


def _unknown(where: str, word: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    remedy = f"did you mean '{nearest[0]}'?" if nearest else f"one of {', '.join(known)}"
    return f"{where}: '{word}' is unknown; {remedy}"


def _no_match(where: str, glob: str, names: Sequence[str]) -> str:
    modules = {name.rpartition(".")[0] for name in names}
    nearest = difflib.get_close_matches(glob, [*names, *sorted(modules)], n=3, cutoff=0.3)
    hint = ", ".join(f"'{name}'" for name in nearest or names[:3])
    return f"{where}: '{glob}' matches no parameter outside the head; did you mean {hint}?"
