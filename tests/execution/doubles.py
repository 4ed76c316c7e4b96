"""A tiny search without training: every subset of four units."""

from collections.abc import Callable, Sequence
from typing import Any

from layersearch.execution import Observer
from layersearch.space import History, SearchSpace, Subset, TrialRecord, Unit
from layersearch.space.records import PartOfTrial
from layersearch.space.trial import Proposal, Report
from layersearch.strategies.optuna_adapter import StrategySampler
from layersearch.strategies.protocol import Done, Ledger, Progress, Wait
from layersearch.study import history
from tests.execution.jobs import ALL, UNITS

SPACE = SearchSpace(
    [Unit(name=name, depth=depth, parameters=(name,)) for depth, name in enumerate(UNITS)]
)


class Every:
    """A strategy: every subset, in order."""

    def __init__(self, subsets: Sequence[Subset] = ALL) -> None:
        self.subsets = tuple(subsets)

    def propose(self, history: History) -> Subset | Wait | Done:
        ledger = Ledger(history)
        found = ledger.first_open(self.subsets)
        if found is not None:
            return found
        if any(subset in ledger.running for subset in self.subsets):
            return Wait("the last are running")
        return Done("every subset is settled")

    def answer(self, history: History) -> Subset | None:
        best = max(history.scores.values(), key=lambda record: record.score, default=None)
        return None if best is None else best.subset

    def explain(self, history: History) -> Progress:
        done = sum(Ledger(history).settled(subset) for subset in self.subsets)
        return Progress(phase="every", candidates=len(self.subsets), candidates_done=done)


class Eliminating(Every):
    """Has whatever got less than half of its first fold right stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[PartOfTrial] = []

    def why_beaten(self, part: PartOfTrial, history: History) -> str:
        self.parts.append(part)
        return "beaten by {b}: 30 points behind" if part.correct.mean() < 0.5 else ""


def sampler_of(strategy: Any) -> StrategySampler:
    return StrategySampler(strategy, SPACE, read_history=history)


class Watcher(Observer):
    """Keeps everything it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.messages: list[str] = []
        self.on_report: Callable[[Proposal, Report], None] = lambda *_: None

    def started(self, proposal: Proposal) -> None:
        self.events.append(("started", proposal.number, proposal.subset))

    def reported(self, proposal: Proposal, report: Report) -> None:
        self.events.append(("reported", proposal.number, report.step))
        self.on_report(proposal, report)

    def finished(self, proposal: Proposal, record: TrialRecord, value: float) -> None:
        self.events.append(("finished", proposal.number, value))

    def pruned(self, proposal: Proposal, reason: str) -> None:
        self.events.append(("pruned", proposal.number, reason))

    def failed(self, proposal: Proposal, reason: str, *, interrupted: bool) -> None:
        self.events.append(("failed", proposal.number, reason))

    def message(self, text: str) -> None:
        self.messages.append(text)
