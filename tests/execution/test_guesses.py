"""Trials that a strategy begins on a guess, and needs no more."""

from collections.abc import Callable

from layersearch.execution import Ending, SearchRun
from layersearch.execution.proposals import NOT_NEEDED
from layersearch.space import History, Subset, TrialState
from layersearch.strategies.protocol import Done, Ledger, Wait
from tests.execution.doubles import Every

WANTED, GUESSED = Subset(["a"]), Subset(["b"])


class Guess(Every):
    """Begins a second trial while the first one runs; only the first one matters."""

    def __init__(self) -> None:
        super().__init__([WANTED, GUESSED])

    def propose(self, history: History) -> Subset | Wait | Done:
        ledger = Ledger(history)
        if ledger.settled(WANTED):
            return Done("it is known")
        tried = {record.subset for record in history}
        open_ = (subset for subset in self.subsets if subset not in tried)
        return next(open_, Wait("it runs"))

    def moot(self, history: History) -> frozenset[Subset]:
        return history.running & {GUESSED}


def test_a_wrong_guess_is_stopped_and_counts_as_interrupted(
    search: Callable[..., SearchRun],
) -> None:
    run = search(strategy=Guess(), workers=3, epochs=40, seconds=0.05)
    assert run.ending is Ending.DONE
    wanted, guessed = run.history
    assert (wanted.subset, wanted.state) == (WANTED, TrialState.COMPLETE)
    assert (guessed.subset, guessed.state) == (GUESSED, TrialState.FAILED)
    assert guessed.attributes["reason"] == NOT_NEEDED
    assert guessed.attributes["interrupted"]
    assert 0 < guessed.attributes["epochs"] < wanted.attributes["epochs"]


def test_one_worker_begins_nothing_on_a_guess_that_it_ends(
    search: Callable[..., SearchRun],
) -> None:
    run = search(strategy=Guess(), workers=1)
    assert [record.subset for record in run.history] == [WANTED]
