"""Which samples have a row in the blocks of a view. N: samples of the data; M: rows of a block."""

import torch
from torch import Tensor


class Coverage:
    """Maps samples to the rows of a block.

    Args:
        total: N.
        samples: (M,) the samples with a row, each once; None: all, sample i in row i.
    """

    def __init__(self, total: int, samples: Tensor | None = None) -> None:
        self.samples = torch.arange(total) if samples is None else samples.cpu().sort().values
        self._row: Tensor | None = None
        if samples is not None:
            self._row = torch.full((total,), -1)
            self._row[self.samples] = torch.arange(len(self.samples))

    def __len__(self) -> int:
        return len(self.samples)

    def rows(self, samples: Tensor) -> Tensor | None:
        """The rows (B,) of samples (B,); None: some have none."""
        if self._row is None:
            return samples
        rows = self._row[samples.cpu()]
        return None if bool((rows < 0).any()) else rows
