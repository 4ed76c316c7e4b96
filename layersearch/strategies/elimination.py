"""When a trial that is running is stopped, because it is clearly worse than one it has to beat.

After each of its folds it is compared with its rivals on the validation samples of the folds so
far. Samples that both have right, or both wrong, say nothing; of the others, a candidate that is
as good as its rival wins half: the exact test of McNemar (1947, Psychometrika 12), one-sided. Each
of the k - 1 comparisons of k folds is made at a level of `chance` / (k - 1) (Bonferroni), so that a
candidate as good as a rival is stopped in `chance` of the cases at most, over all of its folds.
Replayed against tables of trained subsets this costs no accuracy (`docs/benchmarks.md`).

Whom it is compared with depends on what has a score by then. So, unlike all else, which trials are
stopped may depend on the number of workers; what is stopped had lost either way, but for `chance`.
"""

from collections.abc import Iterable

import numpy as np
from scipy.special import bdtr

from layersearch.space import Subset, TrialRecord
from layersearch.space.records import PartOfTrial


def why_beaten(part: PartOfTrial, rivals: Iterable[TrialRecord], *, chance: float) -> str:
    """Which rival a trial has clearly lost against, in words; '' if none.

    Args:
        part: the trial.
        rivals: complete trials of the same schedule.
        chance: that one which is as good as its rival is stopped nevertheless.
    """
    for rival in rivals:
        if rival.correct is None or part.places.max(initial=0) >= len(rival.correct):
            continue
        theirs = rival.correct[part.places]
        won = int(np.count_nonzero(part.correct & ~theirs))
        lost = int(np.count_nonzero(theirs & ~part.correct))
        # The chance that, of so many, one that is as good wins no more than these.
        luck = float(bdtr(won, won + lost, 0.5)) if lost > won else 1.0
        if luck <= chance / max(1, len(rival.fold_scores) - 1):
            name = Subset() if rival.subset is None else rival.subset
            points = 100 * (lost - won) / len(part.places)
            return (
                f"beaten by {name}: {points:.1f} points behind on the same {len(part.places)} "
                f"samples (p = {luck:.2g})"
            )
    return ""
