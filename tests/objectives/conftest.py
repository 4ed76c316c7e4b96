import pytest
import torch

from layersearch.objectives import Outcome
from layersearch.space.subset import Subset


@pytest.fixture
def make_outcome():
    """An outcome of random scores that lean towards the targets."""

    def make(*, samples=60, classes=4, folds=3, seed=0, costs=None, fold_scores=None):
        generator = torch.Generator().manual_seed(seed)
        targets = torch.arange(samples) % classes
        logits = torch.randn(samples, classes, generator=generator)
        logits[torch.arange(samples), targets] += 1.0
        return Outcome(
            subset=Subset(["layer1.0"]),
            fold_scores=(0.5,) * folds if fold_scores is None else fold_scores,
            curves=((0.4, 0.5),) * folds,
            logits=logits,
            targets=targets,
            samples=torch.arange(samples),
            sample_ids=tuple(f"{i}.png" for i in range(samples)),
            folds=torch.arange(samples) // classes % folds,
            costs={} if costs is None else costs,
        )

    return make
