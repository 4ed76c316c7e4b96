"""Greedy forward and backward in one search; the better of the two answers."""

from dataclasses import replace

from layersearch.space import History, Subset
from layersearch.space.records import PartOfTrial
from layersearch.strategies.greedy import Greedy
from layersearch.strategies.protocol import Done, Ledger, Progress, Wait, best_of, shown_score


class GreedyBothWays:
    """Forward and backward greedy side by side; the better of their two answers.

    While one direction waits for its round, free workers go on with the other; they speculate only
    when both wait. Subsets that both ask for are trained once.
    """

    def __init__(self, forward: Greedy, backward: Greedy) -> None:
        self.space = forward.space
        self.ways = (forward, backward)
        self._max_failures = forward.max_failures

    @property
    def starts(self) -> frozenset[Subset]:
        """Of either direction."""
        forward, backward = self.ways
        return forward.starts | backward.starts

    def propose(self, history: History) -> Subset | Wait | Done:
        """The next of either direction: what is certain first, then what is likely."""
        ledger = Ledger(history, max_failures=self._max_failures)
        surveys = [(way, way.survey(ledger)) for way in self.ways]
        for way, rounds in surveys:
            certain = way.certain(rounds, ledger)
            if certain is not None:
                return certain
        likely = [way.likely(rounds, ledger) for way, rounds in surveys]
        for kind in (Subset, Wait):
            for proposal in likely:
                if isinstance(proposal, kind):
                    return proposal
        return Done("; ".join(str(end.reason) for end in likely if isinstance(end, Done)))

    def considered(self, history: History) -> frozenset[Subset]:
        """What the rounds of either direction asked for."""
        forward, backward = self.ways
        return forward.considered(history) | backward.considered(history)

    def moot(self, history: History) -> frozenset[Subset]:
        """What neither direction can ask for any more."""
        forward, backward = self.ways
        return forward.moot(history) & backward.moot(history)

    def why_beaten(self, part: PartOfTrial, history: History) -> str:
        """Why neither direction needs the trial: a subset that both try may win in either."""
        asking = [way for way in self.ways if part.subset in way.considered(history)]
        reasons = [way.why_beaten(part, history) for way in asking]
        return reasons[0] if reasons and all(reasons) else ""

    def answer(self, history: History) -> Subset | None:
        """The better answer of the two; ties: fewer trainable parameters, then depth."""
        answers = [answer for way in self.ways if (answer := way.answer(history)) is not None]
        ledger = Ledger(history, max_failures=self._max_failures)
        best = best_of(answers, ledger, self.space)
        return answers[0] if best is None and answers else best

    def explain(self, history: History) -> Progress:
        """That of the direction which is at work."""
        ledger = Ledger(history, max_failures=self._max_failures)
        active = [w for w in self.ways if w.certain(w.survey(ledger), ledger) is not None]
        active = active or list(self.ways)
        progress = active[0].explain(history)
        best = self.answer(history)
        return replace(
            progress,
            phase=f"{'forward' if active[0].forward else 'backward'}, {progress.phase}",
            best=best,
            best_score=shown_score(best, ledger),
        )
