"""The parts of a network that a search may switch on or off, read off its module tree.

Rules, not lists of layers. From the root one descends through containers, through modules that hold
a row of blocks (an encoder, a stage) and through one that holds most of the network (a wrapped
backbone). What is met there is either a *block*, a module with children that is not descended
into, or a *leaf* with parameters of its own (conv1, bn1) or a bare parameter (class_token). Leaves
and bare parameters in a row, in order of execution, form groups that begin at each convolution or
linear layer and take in the norms and parameters that follow it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from layersearch.backbones.survey import Survey
from layersearch.backbones.tracing import is_norm

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_LAYERS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
    nn.Bilinear,
    nn.MultiheadAttention,
    nn.Embedding,
    nn.RNNBase,
)


@dataclass(frozen=True)
class Part:
    """Parameters that belong together.

    `path` is that of the module (or the parameter, for a bare one) that names the part; `parent` is
    that of the container that it was met in.
    """

    path: str
    parent: str
    parameters: tuple[str, ...]
    kind: str  # 'block'; 'layer' (has a convolution, linear layer, ...), 'norm' or 'bare'
    shape: tuple[int, ...] = ()  # of its output, without the batch dimension


def blocks(found: Survey) -> list[Part]:
    """Blocks and groups of leaves in order of execution; the first group is called 'stem'.

    Every parameter that the network uses, outside its head, is in exactly one of them.
    """
    parts = _grouped(_in_order(found, _Descent(found).parts()))
    has_blocks = any(part.kind == "block" for part in parts)
    if not has_blocks:
        return parts
    parts = _with_embedding(parts)
    if parts[0].kind != "block":
        parts[0] = _renamed(parts[0], "stem")
    return parts


def layers(found: Survey) -> list[Part]:
    """Each layer with the norm that directly follows it and the bare parameters used next.

    Norms that follow no layer directly (those before an attention) are parts of their own.
    """
    groups: list[Part] = []
    for part in _in_order(found, _leaves(found, found.network, "")):
        joins = groups and (
            part.kind == "bare" or (part.kind == "norm" and _follows(found, groups[-1], part))
        )
        if joins:
            groups[-1] = _joined(groups[-1], part)
        elif groups and groups[-1].kind == "bare":  # bare parameters before the first layer
            groups[-1] = _joined(part, groups[-1])
        else:
            groups.append(part)
    return groups


def stages(found: Survey) -> list[Part]:
    """Blocks in a row that share a container; within a single container, an output shape."""
    parts = blocks(found)
    parents = {part.parent for part in parts if part.kind == "block"}
    by_shape = len(parents) <= 1
    rows: list[list[Part]] = []
    for part in parts:
        before = rows[-1][-1] if rows else None
        alike = (
            before is not None
            and before.kind == part.kind
            and (part.kind == "block" or not parents)
            and before.parent == part.parent
            and (not by_shape or before.shape == part.shape)
        )
        rows[-1].append(part) if alike else rows.append([part])
    members = Counter(part.parent for part in parts)
    return [
        _stage(row, whole=row[0].parent != "" and len(row) == members[row[0].parent])
        for row in rows
    ]


class _Descent:
    """Walks down the module tree to the blocks."""

    def __init__(self, found: Survey) -> None:
        self.found = found
        self.total = sum(p.numel() for p in found.network.parameters())
        self.classes = Counter(type(m) for m in found.network.modules())

    def parts(self) -> Iterator[Part]:
        yield from self._inside(self.found.network, "")

    def _inside(self, module: nn.Module, path: str) -> Iterator[Part]:
        yield from _bare(module, path)
        for name, child in module.named_children():
            child_path = f"{path}.{name}" if path else name
            if not any(True for _ in child.parameters()):
                continue
            if _is_leaf(child):
                yield _leaf(self.found, child, child_path, parent=path)
            elif self._descends(child, child_path):
                yield from self._inside(child, child_path)
            else:
                names = tuple(f"{child_path}.{name}" for name, _ in child.named_parameters())
                shape = self.found.output_shapes.get(child_path, ())
                yield Part(child_path, path, names, "block", shape)

    def _descends(self, module: nn.Module, path: str) -> bool:
        if self.found.head.startswith(f"{path}."):
            return True
        if isinstance(module, _CONTAINERS):
            return _is_row(module)
        return (
            _is_block_row(module)
            or any(_is_block_row(child) for child in module.children())
            or _wraps_one_row(module)
            or self._is_most_of_it(module)
        )

    def _is_most_of_it(self, module: nn.Module) -> bool:
        share = sum(p.numel() for p in module.parameters()) / self.total
        return share > 0.5 and self.classes[type(module)] == 1 and _count_layers(module) >= 4


def _is_row(container: nn.Module) -> bool:
    """A container is descended into unless it is one layer with its norm and activation."""
    if all(not any(child.children()) for child in container.children()):
        return _count_layers(container) > 1
    return True


def _is_block_row(module: nn.Module) -> bool:
    """A module of two or more blocks of one class, each of several layers, and nothing else."""
    members = [m for m in module.children() if any(True for _ in m.parameters())]
    return (
        len(members) > 1
        and len({type(member) for member in members}) == 1
        and all(any(m.children()) and _count_layers(m) > 1 for m in members)
    )


def _wraps_one_row(module: nn.Module) -> bool:
    """A module whose only child is a list of modules of one class that have children."""
    children = list(module.children())
    if len(children) != 1 or not isinstance(children[0], nn.ModuleList | nn.ModuleDict):
        return False
    members = list(children[0].children())
    return len({type(member) for member in members}) == 1 and any(members[0].children())


def _count_layers(module: nn.Module) -> int:
    return sum(isinstance(inner, _LAYERS) for inner in module.modules())


def _is_leaf(module: nn.Module) -> bool:
    """A layer or norm of its own, though it may have children (an activation, a projection)."""
    return not any(module.children()) or isinstance(module, _LAYERS) or is_norm(module)


def _leaves(found: Survey, module: nn.Module, path: str) -> Iterator[Part]:
    """The layers, norms and bare parameters of the whole tree."""
    yield from _bare(module, path)
    for name, child in module.named_children():
        child_path = f"{path}.{name}" if path else name
        if _is_leaf(child):
            if any(True for _ in child.parameters()):
                yield _leaf(found, child, child_path, parent=path)
        else:
            yield from _leaves(found, child, child_path)


def _leaf(found: Survey, module: nn.Module, path: str, *, parent: str) -> Part:
    names = tuple(f"{path}.{name}" for name, _ in module.named_parameters())
    kind = "norm" if is_norm(module) else "layer"
    return Part(path, parent, names, kind, found.output_shapes.get(path, ()))


def _bare(module: nn.Module, path: str) -> Iterator[Part]:
    for name, _ in module.named_parameters(recurse=False):
        full = f"{path}.{name}" if path else name
        yield Part(full, path, (full,), "bare")


def _in_order(found: Survey, parts: Iterator[Part]) -> list[Part]:
    """Parts by first use, without the head, unused parameters and second names of tied ones."""
    rank, taken = found.rank, set(found.head_parameters)
    kept = []
    for part in parts:
        names = tuple(name for name in part.parameters if name in rank and name not in taken)
        taken.update(names)
        if names:
            kept.append(Part(part.path, part.parent, names, part.kind, part.shape))
    return sorted(kept, key=lambda part: min(rank[name] for name in part.parameters))


def _grouped(parts: Sequence[Part]) -> list[Part]:
    """Leaves in a row as groups that begin at each layer."""
    groups: list[Part] = []
    for part in parts:
        joins = groups and part.kind in ("norm", "bare") and groups[-1].kind != "block"
        if joins:
            groups[-1] = _joined(groups[-1], part)
        elif part.kind == "layer" and groups and groups[-1].kind == "bare":
            groups[-1] = _joined(part, groups[-1])
        else:
            groups.append(part)
    return groups


def _with_embedding(parts: list[Part]) -> list[Part]:
    """Parameters right after a first block of one layer (a patch embedding) join it as the stem."""
    if len(parts) > 2 and parts[0].kind == "block" and parts[1].kind in ("bare", "norm"):
        return [
            _joined(Part("stem", "", parts[0].parameters, "layer", parts[0].shape), parts[1]),
            *parts[2:],
        ]
    return parts


def _joined(first: Part, second: Part) -> Part:
    shape = second.shape or first.shape
    kind = first.kind if first.kind != "bare" else second.kind
    return Part(first.path, first.parent, first.parameters + second.parameters, kind, shape)


def _renamed(part: Part, path: str) -> Part:
    return Part(path, part.parent, part.parameters, part.kind, part.shape)


def _stage(row: Sequence[Part], *, whole: bool) -> Part:
    first, last = row[0], row[-1]
    if len(row) == 1 and (first.kind != "block" or not whole):
        return first
    path = first.parent if whole else f"{first.path}-{last.path.rpartition('.')[2]}"
    names = tuple(name for part in row for name in part.parameters)
    return Part(path, first.parent, names, first.kind, last.shape)


def _follows(found: Survey, layer: Part, norm: Part) -> bool:
    """Whether the norm takes what the layer gives, but for modules without parameters between."""
    if layer.kind != "layer":
        return False
    if found.flow is None:
        return layer.parent == norm.parent
    node, target = found.flow.call_of(norm.path), found.flow.call_of(layer.path)
    while node is not None and node is not target:
        inputs = [source for source in node.all_input_nodes if source not in found.flow.floating]
        if len(inputs) != 1:
            return False
        node = inputs[0]
        if node is not target and found.flow.uses.get(node):
            return False
    return node is not None
