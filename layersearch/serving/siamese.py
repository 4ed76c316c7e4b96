"""The network of a Siamese task: the original and the tuned network under one head.

Both share the stages before the first tuned one, which run once; after it the original's features
and the tuned ones are computed apart, and the head sees them side by side (Kaplun et al. 2023,
'Siamese SubTuning'). The operations and their order are those of training, and so are the bits.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from layersearch.backbones import UnitSpec, Values, clone_stage, cut, paired
from layersearch.backbones.heads import HeadKind
from layersearch.errors import TaskError


class SiameseNetwork(nn.Module):
    """Class scores (N, C) of preprocessed images (N, 3, H, W).

    Args:
        network: the original, whose frozen weights are shared; its classifier is not used.
        tuned: parameters and norm statistics by the network's names, of the shapes it has them.
        head: takes the features of both, the original's first.
        head_path: the module path of the network's classifier.
        input_size: of images, in pixels.
        channels: of images.
        where: for messages.

    Raises:
        TaskError: the network cannot be cut at its classifier.
    """

    def __init__(
        self,
        network: nn.Module,
        tuned: Mapping[str, Tensor],
        head: nn.Module,
        *,
        head_path: str,
        input_size: tuple[int, int],
        channels: int,
        where: str = "task",
    ) -> None:
        super().__init__()
        own = dict(network.named_parameters())
        parameters = tuple(name for name in own if name in tuned)
        statistics = tuple(name for name in tuned if name not in own)
        unit = UnitSpec("tuned", parameters, statistics)
        chain = cut(network, [unit], head=head_path, input_size=input_size, channels=channels)
        if not chain.traced:
            raise TaskError(
                f"{where}: its head is Siamese, and {type(network).__name__} cannot be cut into "
                "stages here, as it was when the task was tuned; load the same network"
            )
        first = chain.units[0].depth
        copies = {name: _parameter(own[name], tuned[name]) for name in parameters}
        *stages, last = chain.stages
        self.trunk = nn.ModuleList(stages[:first])
        self.original = nn.ModuleList(stages[first:])
        self.tuned = nn.ModuleList(
            clone_stage(stage, copies, buffers=statistics) for stage in stages[first:]
        )
        for stage in self.tuned:
            for name, buffer in stage.named_buffers():
                if name in statistics:
                    buffer.copy_(tuned[name])
        self.head = clone_stage(last, {}, modules={chain.head: head})
        self._kind: HeadKind = chain.head_kind

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (N, C)."""
        shared = _run(self.trunk, (images,))
        original = _run(self.original, shared)[0]
        features, *others = _run(self.tuned, shared)
        scores: Tensor = self.head(paired(original, features, kind=self._kind), *others)[0]
        return scores


def _run(stages: nn.ModuleList, values: Values) -> Values:
    for stage in stages:
        values = stage(*values)
    return values


def _parameter(own: Tensor, tuned: Tensor) -> nn.Parameter:
    """The tuned values in the device, type and memory format of the network's own."""
    with torch.no_grad():
        value = own.detach().clone(memory_format=torch.preserve_format).copy_(tuned)
    return nn.Parameter(value, requires_grad=False)
