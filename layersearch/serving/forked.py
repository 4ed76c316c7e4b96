"""The forked network: a backbone and branches beside it, the trunk that they share run once."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from layersearch.backbones import Chain
from layersearch.serving.blocks import rows_at_once
from layersearch.serving.branch import BranchNetwork
from layersearch.serving.grouped import group
from layersearch.serving.schedule import Schedule, schedule

_REMEMBERED = 64  # schedules: of so many sizes of batches
ORIGINAL = "original"  # name of the backbone's own scores


class ForkedNetwork(nn.Module):
    """Preprocessed images to the scores of the backbone and of each branch, by name.

    It never changes, so any number of threads may run it; to add a branch is to make another one
    with the same branches, which copies no weights. It stays in eval mode.

    Args:
        chain: the backbone; moving this module moves it too.
        branches: with different names.
        rows: for each stage the most rows of branches at a time; None: by the rule of `blocks`.
        grouped: stages in which branches that tune the same tensors run as one.
    """

    def __init__(
        self,
        chain: Chain,
        branches: Sequence[BranchNetwork] = (),
        *,
        rows: Sequence[int | None] | None = None,
        grouped: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.chain = chain
        self.original = chain.network
        # In order of their forks, so that those frozen in a late stage are mostly neighbours.
        self.branches = tuple(sorted(branches, key=lambda branch: branch.fork))
        self._parts = nn.ModuleList(self.branches)
        self._groups = group(self.branches, grouped)
        self._grouped = nn.ModuleList(g for groups in self._groups.values() for g in groups)
        self._names = tuple(branch.name for branch in branches)
        self._rows = None if rows is None else tuple(rows)
        self._schedules: dict[tuple[int, torch.device], Schedule] = {}
        super().train(False)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Scores (N, classes) of preprocessed images (N, C, H, W): 'original', then the branches'.

        Raises: BackboneError: if images have another size than the chain was made for.
        """
        if not self._names:
            return {ORIGINAL: self.original(images)}
        entering = self.chain.run((images,), 0, 0)  # checks their size
        scores = self._schedule(images).run(entering)
        found = {branch.name: s for branch, s in zip(self.branches, scores[1:], strict=True)}
        return {ORIGINAL: scores[0]} | {name: found[name] for name in self._names}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ForkedNetwork":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch's is untyped
        for stage in self.chain.stages:  # buffers that a stage uses directly are its own
            stage._apply(fn, recurse)  # type: ignore[no-untyped-call]  # noqa: SLF001
        return self

    def train(self, mode: bool = True) -> "ForkedNetwork":
        """Stays in eval mode: norms' statistics belong to the weights."""
        del mode
        return super().train(False)

    def _schedule(self, images: Tensor) -> Schedule:
        key = (len(images), images.device)
        found = self._schedules.get(key)
        if found is None:
            rows = self._rows or rows_at_once(self.chain, images.device)
            found = schedule(
                self.chain, self.branches, images=len(images), rows=rows, groups=self._groups
            )
            if len(self._schedules) >= _REMEMBERED:
                self._schedules.clear()
            self._schedules[key] = found  # two threads may both work it out: they are the same
        return found
