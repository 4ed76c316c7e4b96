"""A search without training: scores from a function; workers end in any order, or are killed."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from layersearch.space import (
    History,
    SearchSpace,
    Subset,
    TrialRecord,
    TrialState,
    Unit,
    derive_seed,
)
from layersearch.strategies import Done, Look, Strategy, Wait
from layersearch.strategies.protocol import Guesses

Outcome = Callable[[Subset, int], TrialRecord]  # what a trial of this subset and number gives


def units(*numels: int) -> list[Unit]:
    return [
        Unit(name=f"layer{i}", depth=i, parameters=(f"layer{i}.weight",), numel=numel)
        for i, numel in enumerate(numels)
    ]


def scored(score: Callable[[Subset], float]) -> Outcome:
    return lambda subset, number: TrialRecord(
        number=number, subset=subset, state=TrialState.COMPLETE, score=score(subset)
    )


def history_of(scores: dict[Subset, float]) -> History:
    return History(
        TrialRecord(number=i, subset=subset, state=TrialState.COMPLETE, score=score)
        for i, (subset, score) in enumerate(scores.items())
    )


def random_score(seed: int, *, levels: int = 40) -> Any:
    """Scores in [0, 1) that follow from seed and subset; few levels, so that there are ties."""

    def score(subset: Subset) -> float:
        return (derive_seed(seed, *sorted(subset)) % levels) / levels

    return score


def brute_force(
    space: SearchSpace, score: Any, direction: str, stop: str, gain: float = 0.0
) -> Subset:
    """Greedy search by the rules of its docstring, with nothing clever about it."""

    def key(subset: Subset) -> Any:
        return (-score(subset), space.trainable_parameters(subset), space.positions(subset))

    base = space.subset("none" if direction == "forward" else "all")
    scores_start = direction == "backward" or stop == "paired"
    chosen, best = base, score(base) if scores_start else 0.0
    while True:
        if direction == "forward":
            changed = [space.subset((*base, n)) for n in space.free if n not in base]
        else:
            changed = [space.subset(m for m in base if m != n) for n in base]
        candidates = [subset for subset in changed if subset in space]
        if not candidates:
            return chosen
        winner = min(candidates, key=key)
        if stop == "official":
            if score(winner) < best - gain:
                return chosen
            if score(winner) > best:
                chosen, best = winner, score(winner)
        else:
            if not score(winner) - best > gain:
                return chosen
            chosen, best = winner, score(winner)
        base = winner


@dataclass
class Simulation:
    """Runs a strategy with some workers; `make` builds it afresh, as a restarted driver does."""

    make: Callable[[], Strategy]
    outcome: Outcome
    workers: int = 1
    random: Random = field(default_factory=lambda: Random(0))
    kill: float = 0.0  # probability, a step, that everything is killed and started again
    dismiss: bool = False  # whether trials that the strategy calls moot are stopped
    records: dict[int, TrialRecord] = field(default_factory=dict)
    waits: int = 0
    dismissed: set[Subset] = field(default_factory=set)
    looks: Callable[[Subset], float] = lambda _: 0.0  # what looks at subsets score

    @property
    def history(self) -> History:
        return History(self.records.values())

    def run(self, limit: int = 10_000) -> Subset | None:
        strategy = self.make()
        for _ in range(limit):
            if self.random.random() < self.kill:
                self._kill()
                strategy = self.make()
            if self.dismiss and isinstance(strategy, Guesses):
                moot = strategy.moot(self.history)
                self.dismissed |= moot
                self._stop(moot)
            proposal = self._free() and strategy.propose(self.history)
            if isinstance(proposal, Subset | Look):
                self._start(proposal)
                if self.random.random() < 0.5:
                    self._finish()
            elif isinstance(proposal, Done) and not self._running():
                return strategy.answer(self.history)
            else:
                self.waits += isinstance(proposal, Wait)
                assert self._running(), f"nothing runs and yet: {proposal}"
                self._finish()
        raise AssertionError(f"no end after {limit} steps")

    def trained(self) -> list[Subset]:
        """What was started and not interrupted, in order."""
        return [
            record.subset
            for record in self.records.values()
            if record.subset is not None and not record.attributes.get("interrupted")
        ]

    def _running(self) -> list[TrialRecord]:
        return [r for r in self.records.values() if r.state is TrialState.RUNNING]

    def _free(self) -> bool:
        return len(self._running()) < self.workers

    def _start(self, proposal: Subset | Look) -> None:
        number = len(self.records)
        look = proposal.epochs if isinstance(proposal, Look) else None
        subset = proposal.subset if isinstance(proposal, Look) else proposal
        self.records[number] = TrialRecord(
            number=number, subset=subset, state=TrialState.RUNNING, look=look
        )

    def _finish(self) -> None:
        running = self._running()
        if running:
            record = self.random.choice(running)
            assert record.subset is not None
            if record.look is None:
                ended = self.outcome(record.subset, record.number)
            else:
                ended = replace(record, state=TrialState.PRUNED, score=self.looks(record.subset))
            self.records[record.number] = ended

    def _kill(self) -> None:
        self._stop(self.history.running)

    def _stop(self, subsets: frozenset[Subset]) -> None:
        for record in self._running():
            if record.subset in subsets:
                self.records[record.number] = TrialRecord(
                    number=record.number,
                    subset=record.subset,
                    state=TrialState.FAILED,
                    look=record.look,
                    attributes={"interrupted": True},
                )
