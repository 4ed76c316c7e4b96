"""A tiny search without training: every subset of four units, scored by a table."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from layersearch.errors import TrialStopped
from layersearch.execution import Observer
from layersearch.space import History, SearchSpace, Subset, TrialRecord, Unit
from layersearch.space.trial import Job, Proposal, Report, Reporter, TrialResult, WorkerPlace
from layersearch.strategies.optuna_adapter import StrategySampler
from layersearch.strategies.protocol import Done, Ledger, Progress, Wait
from layersearch.study import history

UNITS = ("a", "b", "c", "d")
WEIGHTS = {"a": 0.1, "b": 0.25, "c": -0.05, "d": 0.15}
ALL = tuple(Subset(names) for size in range(5) for names in itertools.combinations(UNITS, size))
SPACE = SearchSpace(
    [Unit(name=name, depth=depth, parameters=(name,)) for depth, name in enumerate(UNITS)]
)
BEST = Subset(["a", "b", "d"])


def truth(subset: Subset) -> float:
    return 0.3 + sum(WEIGHTS[name] for name in subset)


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
        return max(history.scores.values(), key=lambda record: record.score).subset

    def explain(self, history: History) -> Progress:
        done = sum(Ledger(history).settled(subset) for subset in self.subsets)
        return Progress(phase="every", candidates=len(self.subsets), candidates_done=done)


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


class Scripted:
    """A job factory: scores subsets by the table; a few of them misbehave.

    Every beginning of a trial adds a line 'pid subset' to the file `log`, so that tests see what
    was trained whatever became of the process.
    """

    def __init__(
        self,
        log: Path,
        *,
        epochs: int = 3,
        seconds: float = 0.0,  # an epoch
        faults: dict[Subset, str] | None = None,
        once: bool = False,  # a fault strikes the first time only
    ) -> None:
        self.log = log
        self.epochs = epochs
        self.seconds = seconds
        self.faults = faults or {}
        self.once = once

    def __call__(self, place: WorkerPlace) -> Job:
        return self.run

    def run(self, proposal: Proposal, report: Reporter) -> TrialResult:
        subset = proposal.subset
        earlier = trained(self.log).count(str(subset))
        with self.log.open("a") as file:
            file.write(f"{os.getpid()} {subset}\n")
        fault = "" if self.once and earlier else self.faults.get(subset, "")
        for epoch in range(self.epochs):
            time.sleep(self.seconds)
            if epoch == 1 and fault:
                break_down(fault)
            score = truth(subset) - 0.01 * (self.epochs - 1 - epoch)
            report(
                Report(
                    fold=0,
                    epoch=epoch,
                    score=BAD_SCORES.get(fault, score),
                    step=epoch,
                    epochs_done=epoch + 1,
                    epochs_total=self.epochs,
                )
            )
        values = (truth(subset),)
        return TrialResult(values=BAD_VALUES.get(fault, values), stderr=0.01, fold_scores=values)


BAD_SCORES: dict[str, Any] = {"report nan": float("nan"), "report text": "high"}
BAD_VALUES: dict[str, Any] = {
    "nan": (float("nan"),),
    "inf": (float("inf"),),
    "none": (None,),
    "text": ("high",),
    "bare": 0.5,
    "two": (0.5, 0.5),
}


def break_down(fault: str) -> None:
    if fault == "raise":
        raise ValueError("a fault of the job")
    if fault == "sigkill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "exit":
        os._exit(7)
    if fault == "sys.exit":
        raise SystemExit(3)
    if fault == "hang":
        time.sleep(3600)
    if fault == "stop":
        raise TrialStopped("had enough")


def trained(log: Path) -> list[str]:
    """The subsets whose trials began, in order."""
    if not log.exists():
        return []
    return [line.split(" ", 1)[1] for line in log.read_text().splitlines()]
