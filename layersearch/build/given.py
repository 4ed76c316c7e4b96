"""What a Python call hands over as objects, where a search file can only name things."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from layersearch.backbones import Backbone


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """Objects of the user's that stand in for parts of the description; None: it says."""

    backbone: nn.Module | Backbone | None = None
    data: Any = None  # DataSplits, (x, y), (x, y, x_test, y_test), or a Dataset
    strategy: Any = None  # a Strategy or an Optuna sampler
    pruner: Any = None  # an Optuna pruner
    # One that takes the Outcome, or several, names among them.
    metric: Callable[[Any], Any] | Sequence[str | Callable[[Any], Any]] | None = None


NOTHING_GIVEN = Given()
