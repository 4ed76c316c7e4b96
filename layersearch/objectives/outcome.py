"""Outcome: what one trial gave, before anybody judges it.

N: validation samples pooled over the folds, in order of their index; C: classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from layersearch.space.subset import Subset


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """Scores per fold and epoch, what the tuned network said of every validation sample, costs.

    All tensors are on the CPU. A sample is validated by at most one fold, so `samples` holds no
    index twice; with a hold-out, all N samples belong to fold 0.
    """

    subset: Subset
    fold_scores: tuple[float, ...]  # of the last epoch, one a fold
    curves: tuple[tuple[float, ...], ...]  # fold x validation, one an epoch by default
    logits: Tensor  # (N, C) float32, unnormalised scores of the last epoch
    targets: Tensor  # (N,) int64
    samples: Tensor  # (N,) int64, indices into the training samples, ascending
    sample_ids: tuple[str, ...]  # N file names or numbers, as the data set calls them
    folds: Tensor  # (N,) int64, the fold that validated each sample
    costs: Mapping[str, float] = field(default_factory=dict)  # name -> value, units in costs.py
    tuned: Mapping[str, Tensor] | None = None  # tuned parameters, norm buffers and head, if kept

    @property
    def classes(self) -> int:
        """C, the number of classes the head knows."""
        return self.logits.shape[1]

    @cached_property
    def predictions(self) -> Tensor:
        """(N,) int64: the class of the highest score, the first one where several are equal."""
        return self.logits.argmax(dim=1)

    @cached_property
    def probabilities(self) -> Tensor:
        """(N, C) float32: the softmax of the scores."""
        return self.logits.softmax(dim=1)
