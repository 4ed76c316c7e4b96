"""A race: any strategy on short schedules first, the whole schedule for what is tied at the top.

A *look* at a subset is a complete training of fewer epochs than the recipe's, its learning rate
annealed to the end: a schedule cut short would rank by what has not settled yet. Looks go by the
strategy's own rules, as if they were the search. When it is done, the *finalists* are trained by
the whole recipe: the subset that the strategy chose, and those whose looks are not clearly worse on
the same validation samples, the best looks first. The answer is the best of them. Where looks led
to nothing, there are two finalists at least.

Where looks led nowhere (no unit was worth adding, or none could be left out) and another finalist
is clearly better, looks were too short to tell: the strategy then goes on by the whole schedule,
with the finalists' scores to begin with. Doing so wherever a finalist beats the choice cost up to
twice the epochs and gained nothing (replayed, `docs/benchmarks.md`).

The noise of validation, not the length of training, limits how well subsets can be told apart, so a
look tells nearly as much as a whole schedule (`docs/benchmarks.md` has what it costs in accuracy).
"""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace

from layersearch.space import (
    Chronicle,
    Follower,
    History,
    SearchSpace,
    Subset,
    TrialRecord,
)
from layersearch.space.records import PartOfTrial
from layersearch.strategies.protocol import (
    MAX_FAILURES,
    Begins,
    Considers,
    Done,
    Eliminates,
    Guesses,
    Ledger,
    Look,
    Progress,
    Proposed,
    Strategy,
    Wait,
    best_of,
    finite_score,
    shown_score,
)
from layersearch.strategies.stop_rules import paired_gain

FINALISTS = 3
_SURELY = 2.0  # standard errors by which a finalist must beat the choice to prove looks wrong


class Race:
    """Runs a strategy on looks, then trains the finalists by the whole schedule.

    Args:
        strategy: what proposes subsets to look at; it sees looks only.
        space: of the subsets.
        epochs: of a look.
        finalists: how many subsets are trained by the whole schedule, at most.
        z: standard errors of the paired difference within which two looks are tied.
        again: what goes on by the whole schedule where looks were misleading. Default: the strategy
            itself.
        max_failures: how often a subset may fail before it is lost.
    """

    def __init__(
        self,
        strategy: Strategy,
        space: SearchSpace,
        *,
        epochs: int,
        finalists: int = FINALISTS,
        z: float = 1.0,
        again: Strategy | None = None,
        max_failures: int = MAX_FAILURES,
    ) -> None:
        self.strategy = strategy
        self.space = space
        self.epochs = epochs
        self.most_finalists = finalists
        self.z = z
        self.max_failures = max_failures
        # Why no further look may begin, in words, '' if one may: a budget keeps what the finalists
        # will take. Then the race goes on to the finalists, by the looks that there are.
        self.why_no_look: Callable[[History], str] = lambda _: ""
        self._looks = Follower(Chronicle, self._add)
        self._whole = Follower(Chronicle, _add_whole)
        # What a strategy remembers of looks is of no use for whole schedules.
        self._again = copy(strategy) if again is None else again

    def propose(self, history: History) -> Proposed:
        """A look that the strategy asks for, then the finalists."""
        view = self.looks(history)
        proposal = self._looking(history, view)
        if not isinstance(proposal, Done):
            return proposal
        ledger = Ledger(history, max_failures=self.max_failures)
        finalists = self.finalists(view)
        whole = {r.subset for r in history.active if r.look is None}
        unsettled = [subset for subset in finalists if not ledger.settled(subset)]
        waiting = [subset for subset in unsettled if subset not in whole]
        if waiting:
            return min(waiting, key=ledger.failures)
        if unsettled:
            return Wait(f"{len(unsettled)} finalists are running")
        if not proposal.budget and self._misled(finalists, ledger):
            return self._again.propose(self._whole_view(history))
        reason = f"{proposal.reason}; {len(finalists)} finalists are tried"
        return replace(proposal, reason=reason)

    def answer(self, history: History) -> Subset | None:
        """The best finalist; before one has a score, what the strategy says of the looks."""
        view = self.looks(history)
        ledger = Ledger(history, max_failures=self.max_failures)
        tried = self.finalists(view)
        if self._misled(tried, ledger):
            found = self._again.answer(self._whole_view(history))
            tried = tried if found is None else (*tried, found)
        best = best_of(tried, ledger, self.space)
        return self.strategy.answer(view) if best is None else best

    def explain(self, history: History) -> Progress:
        """Where the strategy stands, or how many finalists are done."""
        view = self.looks(history)
        if not isinstance(self._looking(history, view), Done):
            progress = self.strategy.explain(view)
            return replace(progress, phase=f"{progress.phase} (looks of {self.epochs} epochs)")
        finalists = self.finalists(view)
        ledger = Ledger(history, max_failures=self.max_failures)
        best = self.answer(history)
        if self._misled(finalists, ledger):
            progress = self._again.explain(self._whole_view(history))
            phase = f"{progress.phase} (looks were misleading)"
            return replace(progress, phase=phase, best=best, best_score=shown_score(best, ledger))
        return Progress(
            phase=f"the whole schedule for {len(finalists)} finalists",
            candidates=len(finalists),
            candidates_done=sum(map(ledger.settled, finalists)),
            best=best,
            best_score=shown_score(best, ledger),
        )

    def moot(self, history: History) -> frozenset[Subset]:
        """What the strategy says of the looks that run."""
        strategy: object = self.strategy
        if not isinstance(strategy, Guesses):
            return frozenset()
        moot = strategy.moot(self.looks(history))
        return moot - {r.subset for r in history.active if r.look is None and r.subset is not None}

    def why_beaten(self, part: PartOfTrial, history: History) -> str:
        """What the strategy says of a look, or of a trial where it goes on by the whole schedule.

        A finalist is trained whole: how it compares with the others is what it is trained for.
        """
        strategy: object
        if part.look == self.epochs:
            strategy, view = self.strategy, self.looks(history)
        elif part.look is None and part.subset not in self.finalists(self.looks(history)):
            strategy, view = self._again, self._whole_view(history)
        else:
            return ""
        return strategy.why_beaten(part, view) if isinstance(strategy, Eliminates) else ""

    def looks(self, history: History) -> History:
        """The looks of a history, as the strategy sees them: as trials that are complete."""
        running = [r.as_trial() for r in history.active if r.look == self.epochs]
        return History(running, chronicle=self._looks.of(history))

    def finalists(self, looks: History) -> tuple[Subset, ...]:
        """The strategy's choice first, then what is tied with it, the best looks first."""
        chosen = self.strategy.answer(looks)
        if chosen is None:
            return ()
        scores, strategy = looks.scores, self.strategy
        # What was looked at on a wrong guess depends on how many workers there were.
        count = strategy.considered(looks) if isinstance(strategy, Considers) else scores.keys()
        others = [s for s in scores if s != chosen and s in count and s in self.space]
        others.sort(
            key=lambda subset: (
                -finite_score(scores[subset]),
                self.space.trainable_parameters(subset),
                self.space.positions(subset),
            )
        )
        tied = [subset for subset in others if self._tied(subset, chosen, scores)]
        if self._leads_somewhere(chosen):
            return (chosen, *tied[: self.most_finalists - 1])
        return (chosen, *(tied or others)[: max(1, self.most_finalists - 1)])

    def _misled(self, finalists: tuple[Subset, ...], ledger: Ledger) -> bool:
        """Whether looks led nowhere, and the whole schedule says clearly that this is wrong."""
        if not finalists or not all(map(ledger.settled, finalists)):
            return False
        if self._leads_somewhere(finalists[0]):
            return False
        best = best_of(finalists, ledger, self.space)
        if best is None or best == finalists[0] or finalists[0] not in ledger.scores:
            return False
        gain = paired_gain(ledger.scores[best], ledger.scores[finalists[0]])
        return gain.mean > _SURELY * gain.stderr

    def _leads_somewhere(self, chosen: Subset) -> bool:
        """Whether the choice is another subset than the strategy begins with."""
        strategy = self.strategy
        if isinstance(strategy, Begins):
            return chosen not in strategy.starts
        switched = sum(unit in chosen for unit in self.space.free)
        return 0 < switched < len(self.space.free)

    def _whole_view(self, history: History) -> History:
        """The trials of the whole schedule."""
        running = [r for r in history.active if r.look is None]
        return History(running, chronicle=self._whole.of(history))

    def _looking(self, history: History, view: History) -> Proposed:
        """The look that is next, or that there is none."""
        proposal = self.strategy.propose(view)
        if isinstance(proposal, Done):
            return proposal
        reason = self.why_no_look(history)
        if reason and not view.active:
            return Done(reason, budget=True)
        if reason:
            return Wait(f"{reason}; {len(view.active)} are running")
        return Look(proposal, self.epochs) if isinstance(proposal, Subset) else proposal

    def _tied(self, subset: Subset, chosen: Subset, scores: Mapping[Subset, TrialRecord]) -> bool:
        if chosen not in scores:
            return True
        gain = paired_gain(scores[chosen], scores[subset])
        return gain.mean <= self.z * gain.stderr

    def _add(self, looks: Chronicle, record: TrialRecord) -> None:
        if record.look == self.epochs:
            looks.add(record.as_trial())


def _add_whole(whole: Chronicle, record: TrialRecord) -> None:
    if record.look is None:
        whole.add(record)
