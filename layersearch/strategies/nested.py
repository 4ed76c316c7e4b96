"""Nested subsets: units in the order of what each gains alone, the first k of them, for the best k.

What units gain alone nearly adds up (`leap`). So one round of looks decides the order in which
units are added, and only a few subsets along it are trained by the whole schedule, where greedy
trains up to n subsets a round.

The path is climbed from where the summed gain is largest in standard errors. It ends when
the best subset so far has its neighbours on the path trained, up to `patience` of them on either
side. They are judged when all of them are settled, so that neither the number of workers nor the
order in which trials end changes the answer.
"""

from layersearch.errors import ConfigError, Problem
from layersearch.space import History, SearchSpace, Subset, TrialRecord
from layersearch.strategies.leap import nested_path, worth_together
from layersearch.strategies.protocol import (
    MAX_FAILURES,
    Done,
    Ledger,
    Look,
    Progress,
    Wait,
    best_of,
    finite_score,
    shown_score,
)

PATIENCE = 0


class Nested:
    """Ranks the units by one round of single ones, then climbs along the nested subsets.

    Args:
        space: the subsets that may be tried. Units that are always on are in all of them.
        look_epochs: of a look, by which the single units are ranked; None: by the whole schedule.
        patience: how many neighbours on either side the best subset must beat; 0: only the subset
            that the ranking points to is trained by the whole schedule.
        max_failures: how often a subset may fail before it is lost.

    Raises:
        ConfigError: no single unit is in the space: it demands several of them.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        look_epochs: int | None = None,
        patience: int = PATIENCE,
        max_failures: int = MAX_FAILURES,
    ) -> None:
        self.space = space
        self.look_epochs = look_epochs
        self.max_failures = max_failures
        self._start = space.subset(space.bounds.always)
        singles = ((unit, space.subset((*self._start, unit))) for unit in space.free)
        self._singles = {unit: single for unit, single in singles if single in space}
        start = (self._start,) if self._start in space else ()
        # Without the start's score nobody knows what units gain: the climb begins at the best one.
        self.patience = patience if start else max(1, patience)
        self._first = (*start, *self._singles.values())
        if not self._singles:
            raise _refused()

    def propose(self, history: History) -> Subset | Look | Wait | Done:
        """The start and the single units, then what the climb asks for."""
        ledger = self._ledger(history)
        unranked = [subset for subset in self._first if not self._is_ranked(subset, history)]
        if unranked:
            free = (subset for subset in unranked if subset not in ledger.running)
            subset = min(free, key=ledger.failures, default=None)
            if subset is None:
                return Wait(f"{len(unranked)} of the single units are running")
            return subset if self.look_epochs is None else Look(subset, self.look_epochs)
        asked = self._asked(history)
        proposal = ledger.first_open(asked)
        if proposal is not None:
            return proposal
        left = sum(not ledger.settled(subset) for subset in asked)
        if left:
            return Wait(f"the climb waits for {left} subsets that are running")
        return Done(f"the best of {len(asked)} nested subsets beats its neighbours")

    def answer(self, history: History) -> Subset | None:
        """The best by the whole schedule; before there is one, where the climb would begin."""
        ledger = self._ledger(history)
        best = best_of(self.considered(history), ledger, self.space)
        if best is not None or not any(self._record(s, history) for s in self._first):
            return best
        path = self.path(history)
        return path[self._foot(path, history)] if path else None

    def explain(self, history: History) -> Progress:
        """Which of the two phases it is in."""
        ledger = self._ledger(history)
        ranked = sum(self._is_ranked(subset, history) for subset in self._first)
        best = self.answer(history)
        if ranked < len(self._first):
            looks = "" if self.look_epochs is None else f" (looks of {self.look_epochs} epochs)"
            count, done, phase = len(self._first), ranked, f"what each unit gains alone{looks}"
        else:
            asked = self._asked(history)
            count, done, phase = len(asked), sum(map(ledger.settled, asked)), "nested subsets"
        return Progress(
            phase=phase,
            candidates=count,
            candidates_done=done,
            base=self._start,
            best=best,
            best_score=shown_score(best, ledger),
        )

    def considered(self, history: History) -> frozenset[Subset]:
        """The subsets that were asked for by the whole schedule."""
        first = self._first if self.look_epochs is None else ()
        ranked = all(self._is_ranked(subset, history) for subset in self._first)
        return frozenset((*first, *(self._asked(history) if ranked else ())))

    def path(self, history: History) -> tuple[Subset, ...]:
        """The start, if it is in the space, then one unit more each; see `_steps`."""
        steps = tuple(subset for _, subset in self._steps(history))
        return (self._start, *steps) if self._start in self.space else steps

    def _steps(self, history: History) -> list[tuple[str, Subset]]:
        """Units, those that score best alone first, and the subsets to which they lead.

        A unit that has no score is passed over.
        """
        scores = {
            unit: finite_score(record)
            for unit, single in self._singles.items()
            if (record := self._record(single, history)) is not None
        }
        return nested_path(self.space, self._start, scores)

    def _asked(self, history: History) -> tuple[Subset, ...]:
        """The part of the path that the climb needs to know, as far as that is known."""
        ledger, path = self._ledger(history), self.path(history)
        if not path:  # every single unit failed
            return ()
        low = high = self._foot(path, history)
        while all(map(ledger.settled, path[low : high + 1])):
            best = max(range(low, high + 1), key=lambda k: (ledger.score(path[k]), -k))
            wider = (
                max(0, min(low, best - self.patience)),
                min(len(path) - 1, max(high, best + self.patience)),
            )
            if wider == (low, high):
                break
            low, high = wider
        return path[low : high + 1]

    def _foot(self, path: tuple[Subset, ...], history: History) -> int:
        """Where on the path the summed gain is largest in standard errors; the first if none is."""
        steps, base = self._steps(history), self._record(self._start, history)
        before = len(path) - len(steps)
        records = [self._record(self._singles[unit], history) for unit, _ in steps]
        gains = [
            finite_score(record) - finite_score(base)
            for record in records
            if base is not None and record is not None
        ]
        return min(len(path) - 1, before + max(1, worth_together(gains)) - 1)

    def _record(self, subset: Subset, history: History) -> TrialRecord | None:
        """By which a subset is ranked; None if it has no score."""
        if self.look_epochs is None:
            return history.scores.get(subset)
        record = history.looks.get((subset, self.look_epochs))
        return None if record is None or record.score is None else record

    def _is_ranked(self, subset: Subset, history: History) -> bool:
        """Whether nothing more will be known of one of the first subsets before the climb."""
        ledger = self._ledger(history)
        if self.look_epochs is None:
            return ledger.settled(subset)
        looked = (subset, self.look_epochs) in history.looks
        return looked or ledger.failures(subset) >= self.max_failures

    def _ledger(self, history: History) -> Ledger:
        return Ledger(history, max_failures=self.max_failures)


def _refused() -> ConfigError:
    problem = Problem(
        where="strategy.name",
        what="'nested' begins with single units, and none of them alone is in the space",
        remedy="raise the limits, lower space.min_units, or choose another strategy",
    )
    return ConfigError([problem])
