"""Strategies that know from the start which subsets they want, in which order."""

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

from layersearch.space import History, SearchSpace, Subset
from layersearch.strategies.protocol import (
    MAX_FAILURES,
    Done,
    Ledger,
    Progress,
    Wait,
    best_of,
    shown_score,
)


class Listed:
    """Trains the subsets of a list, one after the other; the answer is the best of them.

    Args:
        space: what the subsets cost, for ties.
        subsets: begins the list, which has no repetitions; read as far as it is needed.
        lists: whether a subset is on it.
        total: how many there are; None: very many.
        what: what they are, in words.
        max_failures: how often a subset may fail before it is lost.
    """

    def __init__(
        self,
        space: SearchSpace,
        subsets: Callable[[], Iterator[Subset]],
        *,
        lists: Callable[[Subset], bool],
        total: int | None,
        what: str,
        max_failures: int = MAX_FAILURES,
    ) -> None:
        self.space = space
        self.total = total
        self.max_failures = max_failures
        self._what = what
        self._subsets = subsets
        self._lists = lists
        self._read: list[Subset] = []
        self._rest = subsets()
        self._on_list: dict[Subset, bool] = {}
        self._settled: tuple[object, int, int] = (None, 0, 0)  # lineage, trials ended, subsets

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_rest"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _read=[], _rest=state["_subsets"](), _settled=(None, 0, 0))

    def propose(self, history: History) -> Subset | Wait | Done:
        """The first subset of the list that is open; those that failed before come last."""
        ledger = Ledger(history, max_failures=self.max_failures)
        begin = self._first_unsettled(ledger)
        proposal = ledger.first_open(self._from(begin))
        if proposal is not None:
            return proposal
        running = sum(subset in ledger.running for subset in self._read[begin:])
        if running:
            return Wait(f"{running} of {len(self._read)} {self._what} are running")
        return Done(f"all {len(self._read)} {self._what} are tried")

    def answer(self, history: History) -> Subset | None:
        """The best of the list; ties: fewer trainable parameters, then depth."""
        return self._best(Ledger(history, max_failures=self.max_failures))

    def explain(self, history: History) -> Progress:
        """How much of the list is done."""
        ledger = Ledger(history, max_failures=self.max_failures)
        best = self._best(ledger)
        return Progress(
            phase=self._what,
            candidates=self.total or 0,
            candidates_done=sum(1 for subset in ledger.settled_subsets() if self._listed(subset)),
            best=best,
            best_score=shown_score(best, ledger),
            whole=True,
        )

    def _best(self, ledger: Ledger) -> Subset | None:
        listed = (subset for subset in ledger.scores if self._listed(subset))
        return best_of(listed, ledger, self.space)

    def _listed(self, subset: Subset) -> bool:
        known = self._on_list.get(subset)
        if known is None:
            known = self._on_list[subset] = self._lists(subset)
        return known

    def _first_unsettled(self, ledger: Ledger) -> int:
        """How many subsets at the beginning of what was read are settled."""
        lineage, known, index = self._settled
        if lineage is not ledger.lineage or known > ledger.known:
            index = 0
        while index < len(self._read) and ledger.settled(self._read[index]):
            index += 1
        self._settled = (ledger.lineage, ledger.known, index)
        return index

    def _from(self, begin: int) -> Iterator[Subset]:
        return chain(islice(self._read, begin, None), self._further())

    def _further(self) -> Iterator[Subset]:
        for subset in self._rest:
            self._read.append(subset)
            yield subset
