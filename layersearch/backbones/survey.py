"""What is known of a network before it is cut: its trace, its head, the order of its parameters."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from layersearch.backbones.flow import Flow
from layersearch.backbones.heads import find_head
from layersearch.backbones.tracing import Trace, Untraceable, trace
from layersearch.errors import BackboneError


class UncutBackboneWarning(UserWarning):
    """The backbone cannot be cut into stages: searches on it work, but share and cache nothing."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A network run once on real images, and traced if it can be."""

    network: nn.Module
    images: Tensor  # (5, C, H, W), random, on the device and of the type of the network
    head: str  # path of the classifier
    head_input: tuple[int, ...]  # shape of what enters the head, without the batch dimension
    scores: Tensor  # of the first 2 images
    calls: tuple[str, ...]  # paths of modules in the order in which they were first called
    output_shapes: Mapping[str, tuple[int, ...]]  # of modules, without the batch dimension

    @property
    def trace(self) -> Trace | None:
        """The forward pass as a graph; None if it cannot be traced."""
        return self._tracing[0]

    @property
    def untraceable(self) -> str:
        """Why there is no trace."""
        return self._tracing[1]

    @cached_property
    def _tracing(self) -> tuple[Trace | None, str]:
        try:
            return trace(self.network, head=self.head), ""
        except Untraceable as error:
            return None, str(error)

    @cached_property
    def flow(self) -> Flow | None:
        """The flow of parameters through the graph; None without a trace."""
        return None if self.trace is None else Flow(self.trace.graph, self.network)

    @cached_property
    def head_parameters(self) -> frozenset[str]:
        """Names of the parameters of the classifier."""
        inside = {id(p) for p in self.network.get_submodule(self.head).parameters()}
        return frozenset(name for name, p in self.network.named_parameters() if id(p) in inside)

    @cached_property
    def rank(self) -> Mapping[str, int]:
        """The place of each used parameter in the order of execution; unused ones are absent."""
        if self.flow is not None:
            return self.flow.first_use
        called = {path: index for index, path in enumerate(self.calls)}
        ranks = {}
        for name, _ in self.network.named_parameters():
            path = name.rpartition(".")[0]
            while path and path not in called:
                path = path.rpartition(".")[0]
            ranks[name] = called.get(path, 0)
        return ranks


def survey(
    network: nn.Module,
    *,
    input_size: tuple[int, int],
    channels: int = 3,
    head: str | None = None,
    check_head: bool = True,
) -> Survey:
    """Runs and traces a network; puts it in eval mode and freezes it.

    Args:
        network: takes images (N, channels, H, W), gives class scores (N, classes).
        input_size: H, W in pixels.
        channels: of its images.
        head: path of the classifier; None: found.
        check_head: makes sure that the scores come out of the head; a second forward pass.

    Raises:
        BackboneError: if it does not run on such images or has no classifier that can be replaced.
    """
    network.eval().requires_grad_(False)
    images = _images(network, channels=channels, input_size=input_size)
    calls: list[str] = []
    outputs: dict[str, tuple[int, ...]] = {}
    inputs: dict[str, tuple[int, ...]] = {}
    scores = _run(network, images[:2], calls=calls, outputs=outputs, inputs=inputs)
    path = find_head(network, head, calls=calls, input_shapes=inputs, classes=scores.shape[1])
    if check_head:
        _check_flow(network, images[:2], scores, path)
    return Survey(
        network=network,
        images=images,
        head=path,
        head_input=inputs[path],
        scores=scores,
        calls=tuple(calls),
        output_shapes=outputs,
    )


def warn_uncut(network: nn.Module, reason: str) -> None:
    """Says that a network stays whole, and what follows from it."""
    warnings.warn(
        f"{type(network).__name__} cannot be cut into stages ({reason}); searches on it work, "
        "but every trial runs the whole network and no features are cached; keep control flow "
        "that depends on values out of the top-level forward to have it cut",
        UncutBackboneWarning,
        stacklevel=3,
    )


def _images(network: nn.Module, *, channels: int, input_size: tuple[int, int]) -> Tensor:
    example = next((p for p in network.parameters() if p.is_floating_point()), None)
    if example is None:
        raise BackboneError(f"{type(network).__name__} has no parameters; nothing can be tuned")
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(5, channels, *input_size, generator=generator)
    return images.to(device=example.device, dtype=example.dtype)


def _run(
    network: nn.Module,
    images: Tensor,
    *,
    calls: list[str],
    outputs: dict[str, tuple[int, ...]],
    inputs: dict[str, tuple[int, ...]],
) -> Tensor:
    """Scores of the images; fills in the order of calls and the shapes of inputs and outputs."""

    def before(path: str, arguments: tuple[object, ...]) -> None:
        if path not in inputs:
            calls.append(path)
            first = arguments[0] if arguments else None
            inputs[path] = tuple(first.shape[1:]) if isinstance(first, Tensor) else ()

    def after(path: str, output: object) -> None:
        while isinstance(output, tuple) and output:
            output = output[0]
        if isinstance(output, Tensor):
            outputs.setdefault(path, tuple(output.shape[1:]))

    handles = []
    for path, module in network.named_modules():
        handles += [
            module.register_forward_pre_hook(lambda _, args, p=path: before(p, args)),
            module.register_forward_hook(lambda _, __, output, p=path: after(p, output)),
        ]
    try:
        return _scores(network, images)
    finally:
        for handle in handles:
            handle.remove()


def _scores(network: nn.Module, images: Tensor) -> Tensor:
    name = type(network).__name__
    try:
        with torch.no_grad():
            scores = network(images.clone())
    except Exception as error:
        shape = tuple(images.shape)
        raise BackboneError(
            f"{name} does not run on images of shape {shape} ({_summary(error)}); "
            "give the input_size and channels that it expects"
        ) from error
    if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != len(images):
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise BackboneError(
            f"{name} gives {found}, not class scores (N, classes); wrap it in a module that does"
        )
    return scores


def _check_flow(network: nn.Module, images: Tensor, scores: Tensor, head: str) -> None:
    """The scores must come out of the head: other outputs of the head give other scores."""
    module = network.get_submodule(head)
    handle = module.register_forward_hook(lambda _, __, output: output * 2 + 1)
    try:
        with torch.no_grad():
            changed = not torch.equal(network(images.clone()), scores)
    finally:
        handle.remove()
    if not changed:
        raise BackboneError(
            f"backbone.head: the scores do not depend on '{head}'; name the classifier"
        )


def _summary(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error) or type(error).__name__)[:200]
