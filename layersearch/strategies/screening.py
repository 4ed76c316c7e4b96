"""Screening: subsets of one size that switch all units at once, and what each unit adds, from all.

Greedy search asks in every round what one unit more is worth, each answer from one training, and
takes the best of many noisy answers. Screening trains a *design* instead: subsets chosen together
so that their scores tell the effect of every unit as sharply as that many scores can (`additive`).
It takes no decision before the end, so any number of workers train the design at once. The answer
is the subset of the space whose expected score is the highest, whether or not it was trained: the
units that add more than the average unit does. Then the best few by expectation are trained.

All subsets of a design have about the same size. Short trainings do large subsets an injustice
(their weights have further to go), and the first unit tuned adds more than the tenth; among subsets
of one size neither matters. The price: what *all* units add is not told, only which add more.

It misses what only pairs of units do together: the effect of a unit is its average over what else
is tuned. `docs/benchmarks.md` says what that costs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from math import ceil

import numpy as np
from numpy.typing import NDArray

from layersearch.space import History, SearchSpace, Subset, derive_seed
from layersearch.strategies.additive import Additive, fit
from layersearch.strategies.listed import Listed
from layersearch.strategies.protocol import (
    MAX_FAILURES,
    Done,
    Ledger,
    Progress,
    Wait,
    best_of,
    finite_score,
    shown_score,
)

LOOKS_PER_UNIT = 1.5
# Of the units, in a subset of the design. Half would tell most of each unit, a quarter tells three
# quarters of that and costs less.
SHARE = 0.25
_DESIGNS = 32  # drawn; the one that tells most is taken
_DRAWS = 200  # in vain, before a design is as large as it gets
_PATIENCE = 50  # draws in vain, before subsets get a unit more
_NOISE = 0.4  # of a score around the model, in its own standard errors: the samples are the same


class Screening:
    """Trains a design, fits what each unit adds, and trains the subsets that promise most.

    Args:
        space: the subsets that may be tried.
        seed: of the design.
        looks: subsets in the design. Default: three for every two units that are switched.
        finalists: how many of the most promising subsets are trained after it; 0: none is, and
            the answer is the most promising.
        max_failures: how often a subset may fail before it is lost.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        looks: int | None = None,
        finalists: int = 1,
        max_failures: int = MAX_FAILURES,
    ) -> None:
        self.space = space
        self.finalists = finalists
        self.max_failures = max_failures
        looks = max(2, ceil(LOOKS_PER_UNIT * len(space.free))) if looks is None else looks
        self.design = make_design(space, looks=looks, seed=seed)
        wanted = frozenset(self.design)
        self._list = Listed(
            space,
            lambda: iter(self.design),
            lists=wanted.__contains__,
            total=len(self.design),
            what="subsets of the design",
            max_failures=max_failures,
        )
        self._fitted: tuple[tuple[float, ...], Additive] | None = None

    def propose(self, history: History) -> Subset | Wait | Done:
        """What is open of the design, then the finalists."""
        proposal = self._list.propose(history)
        if not isinstance(proposal, Done):
            return proposal
        ledger = Ledger(history, max_failures=self.max_failures)
        finalists = self.ranked(history, self.finalists)
        unsettled = [subset for subset in finalists if not ledger.settled(subset)]
        best = ledger.first_open(unsettled)
        if best is not None:
            return best
        if unsettled:
            return Wait(f"{len(unsettled)} finalists are running")
        return Done(f"{proposal.reason}, and so are {len(finalists)} finalists")

    def answer(self, history: History) -> Subset | None:
        """The best finalist; before one has a score, the subset that promises most."""
        ledger = Ledger(history, max_failures=self.max_failures)
        ranked = self.ranked(history, max(1, self.finalists))
        settled = isinstance(self._list.propose(history), Done)
        best = best_of(ranked[: self.finalists], ledger, self.space) if settled else None
        return next(iter(ranked), None) if best is None else best

    def explain(self, history: History) -> Progress:
        """How much of the design is done, or of the finalists."""
        ledger = Ledger(history, max_failures=self.max_failures)
        best = self.answer(history)
        score = shown_score(best, ledger)
        if not isinstance(self._list.propose(history), Done):
            now = self._list.explain(history)
            return replace(now, best=best, best_score=score, whole=False)
        finalists = self.ranked(history, self.finalists)
        return Progress(
            phase="the most promising subsets",
            candidates=len(finalists),
            candidates_done=sum(map(ledger.settled, finalists)),
            best=best,
            best_score=score,
        )

    def ranked(self, history: History, count: int) -> tuple[Subset, ...]:
        """The subsets that promise most, the best first; none before there is a score."""
        model = self.model(history)
        if model is None or count < 1:
            return ()
        found = [self._best(model)]
        near: dict[Subset, None] = {}
        while len(found) < count:
            # The next best of an additive model is one step away from a better one.
            near.update(dict.fromkeys(self.space.neighbours(found[-1])))
            rest = [subset for subset in near if subset not in found]
            if not rest:
                break
            found.append(max(rest, key=lambda subset: self._promise(model, subset)))
        return tuple(found)

    def model(self, history: History) -> Additive | None:
        """What each unit adds, by the scores of the design; None before there is one."""
        records = [history.scores[s] for s in self.design if s in history.scores]
        records = [record for record in records if np.isfinite(finite_score(record))]
        if not records:
            return None
        known = tuple(chain.from_iterable((r.number, finite_score(r)) for r in records))
        if self._fitted is None or self._fitted[0] != known:
            scores = [finite_score(record) for record in records]
            errors = [record.stderr for record in records if record.stderr]
            noise = _NOISE * float(np.median(errors)) if errors else 0.3 * float(np.std(scores))
            subsets = [record.subset or Subset() for record in records]
            model = fit(self.space.free, subsets, scores, noise=noise or 1e-9)
            self._fitted = (known, model)
        return self._fitted[1]

    def _best(self, model: Additive) -> Subset:
        """The subset of the highest expected score: units that add, where the space allows."""
        space = self.space
        adding = [name for name, effect in model.effects.items() if effect > 0]
        ideal = space.subset((*space.bounds.always, *adding))
        if ideal in space:
            return ideal
        rng = np.random.default_rng(derive_seed(len(adding), *adding))
        starts = [space.repair(ideal, rng), *self.design]
        best = max((s for s in starts if s in space), key=lambda s: self._promise(model, s))
        while True:
            better = max(
                space.neighbours(best), key=lambda s: self._promise(model, s), default=best
            )
            if self._promise(model, better) <= self._promise(model, best):
                return best
            best = better

    def _promise(self, model: Additive, subset: Subset) -> tuple[float, int, tuple[int, ...]]:
        """Ties: fewer trainable parameters, then depth."""
        cost = self.space.trainable_parameters(subset)
        where = tuple(-position for position in self.space.positions(subset))
        return (model.predict(subset), -cost, where)


def make_design(
    space: SearchSpace, *, looks: int, seed: int, share: float = SHARE
) -> tuple[Subset, ...]:
    """Subsets of the space, all different, whose scores tell most of every unit.

    Each holds about that share of the units, and every unit is in as many of them as the others;
    of some such designs, the one with the largest determinant of the information matrix
    (D-optimal: Kiefer and Wolfowitz 1959). Fewer where the space has no more.
    """
    few = space.count(at_most=looks + 1)
    if few <= looks:
        return tuple(space.enumerate())
    rng = np.random.default_rng(derive_seed(seed, "screening design"))
    size = max(1, ceil(share * len(space.free)))
    designs = [tuple(_drawn(space, looks, size, rng)) for _ in range(_DESIGNS)]
    return max(designs, key=lambda design: _information(space.free, design))


def _drawn(space: SearchSpace, looks: int, size: int, rng: np.random.Generator) -> Iterator[Subset]:
    """Units dealt like cards from shuffled packs, so many to a subset."""
    seen, in_vain = set[Subset](), 0
    pack: list[str] = []
    while len(seen) < looks and in_vain < _DRAWS:
        held = min(size + in_vain // _PATIENCE, len(space.free))  # few hands are so small
        if len(pack) < held:
            fresh = [name for name in space.free if name not in pack]
            pack += [fresh[int(i)] for i in rng.permutation(len(fresh))]
        hand, pack = pack[:held], pack[held:]
        subset = space.repair(space.subset((*space.bounds.always, *hand)), rng)
        in_vain += 1
        if subset not in seen:
            in_vain = 0
            seen.add(subset)
            yield subset


def _information(units: Sequence[str], design: Sequence[Subset]) -> float:
    """Log determinant of the information matrix; slightly ridged, as units may always go along."""
    on: NDArray[np.float64] = np.array(
        [[1.0, *(unit in subset for unit in units)] for subset in design]
    )
    return float(np.linalg.slogdet(on.T @ on + 1e-3 * np.eye(len(units) + 1))[1])
