"""Frozen norms folded into the convolutions before them: the same function, fewer operations.

A BatchNorm in eval mode scales and shifts each channel by fixed numbers. Where the layer before it
is frozen too, both are one layer with other weights and a bias (Jacob et al. 2018, section 3.2,
arXiv 1712.05877), so that neither its forward nor its backward pass costs anything. ReLUs of what
no one else reads are done in place. Values change within rounding only.
"""

import copy
import operator
from collections import Counter
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_norms(stage: nn.Module) -> nn.Module:
    """A frozen stage with its norms folded, in eval mode; itself if there is nothing to fold.

    Args:
        stage: of a chain, frozen and in eval mode; it stays as it is. The folded layers are copies,
            everything else is shared with it.
    """
    if not isinstance(stage, fx.GraphModule) or any(p.requires_grad for p in stage.parameters()):
        return stage
    graph = copy.deepcopy(stage.graph)
    modules = dict(stage.named_modules(remove_duplicate=False))
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    folded: dict[str, nn.Module] = {}
    for node in list(graph.nodes):
        before = _layer_before(node, modules, calls)
        if before is None:
            continue
        path = str(before.target)
        folded[path] = _fused(modules[path], modules[str(node.target)])
        node.replace_all_uses_with(before)
        graph.erase_node(node)
    if not folded:
        return stage
    for node in graph.nodes:
        if _may_overwrite(node, {**modules, **folded}):
            node.kwargs = {**node.kwargs, "inplace": True}
    return _assembled(stage, graph, folded)


def _layer_before(
    node: fx.Node, modules: Mapping[str, nn.Module], calls: Mapping[object, int]
) -> fx.Node | None:
    """The layer whose only use is this norm, if both are called once and nothing hooks them."""
    norm = _module(node, modules)
    if not isinstance(norm, _NORMS) or norm.running_mean is None or norm.training:
        return None
    before = node.args[0] if node.args else None
    if not isinstance(before, fx.Node) or len(before.users) != 1:
        return None
    layer = _module(before, modules)
    if type(layer) not in _CONVOLUTIONS or _hooked(layer) or _hooked(norm):
        return None
    return before if calls[node.target] == calls[before.target] == 1 else None


def _fused(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """One layer that does what both do."""
    assert isinstance(layer, _CONVOLUTIONS)
    assert isinstance(norm, _NORMS)
    fused: nn.Module = fuse_conv_bn_eval(layer, norm)
    weight = layer.weight
    if weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last):
        fused = fused.to(memory_format=torch.channels_last)
    for parameter in fused.parameters():
        parameter.requires_grad_(False)
    return fused.eval()


def _may_overwrite(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a ReLU's input is read by nobody else, its backward pass included."""
    if node.op != "call_function" or node.target is not F.relu or not node.args:
        return False
    source = node.args[0]
    if not isinstance(source, fx.Node) or len(source.users) != 1:
        return False
    # Neither a convolution nor a sum needs its own result to differentiate itself.
    is_sum = source.op == "call_function" and source.target in (operator.add, torch.add)
    return is_sum or isinstance(_module(source, modules), _CONVOLUTIONS)


def _assembled(
    stage: fx.GraphModule, graph: fx.Graph, folded: Mapping[str, nn.Module]
) -> nn.Module:
    root = nn.Module()
    for node in graph.nodes:
        if node.op == "call_module":
            path = str(node.target)
            _put(root, path, folded.get(path) or stage.get_submodule(path))
        elif node.op == "get_attr":
            path, _, leaf = str(node.target).rpartition(".")
            owner = stage.get_submodule(path)
            _put(root, path, owner) if path else setattr(root, leaf, getattr(owner, leaf))
    made: nn.Module = fx.GraphModule(root, graph)
    return made.eval()


def _put(root: nn.Module, path: str, module: nn.Module) -> None:
    *steps, leaf = path.split(".")
    for step in steps:
        if step not in root._modules:  # noqa: SLF001 (a plain tree of modules)
            root.add_module(step, nn.Module())
        root = root.get_submodule(step)
    root.add_module(leaf, module)


def _module(node: fx.Node, modules: Mapping[str, nn.Module]) -> nn.Module | None:
    return modules.get(str(node.target)) if node.op == "call_module" else None


def _hooked(module: nn.Module | None) -> bool:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "parametrizations")
    return any(bool(getattr(module, name, None)) for name in names)
