"""Jobs without training, scored by a table; workers import this module and little else."""

import itertools
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from layersearch.errors import SnapshotError, TrialOutOfMemory, TrialStopped
from layersearch.space import Subset
from layersearch.space.trial import (
    Job,
    Proposal,
    Report,
    Reporter,
    SoFar,
    TrialResult,
    WorkerPlace,
    pack_correct,
)

UNITS = ("a", "b", "c", "d")
WEIGHTS = {"a": 0.1, "b": 0.25, "c": -0.05, "d": 0.15}
ALL = tuple(Subset(names) for size in range(5) for names in itertools.combinations(UNITS, size))
BEST = Subset(["a", "b", "d"])


def truth(subset: Subset) -> float:
    return 0.3 + sum(WEIGHTS[name] for name in subset)


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


class Resumable:
    """A job factory whose trials can be resumed: their state is what they have added up.

    Every epoch that is trained adds a line 'pid subset epoch parts' to the file `log`.
    """

    def __init__(
        self,
        log: Path,
        *,
        epochs: int = 6,  # of two folds together
        seconds: float = 0.0,  # an epoch
        faults: dict[Subset, tuple[int, str]] | None = None,  # once: before which epoch, and what
        fits: int = 1,  # parts that batches need for memory to take them; 0: never
        padding: int = 0,  # bytes of a state
    ) -> None:
        self.log = log
        self.epochs = epochs
        self.seconds = seconds
        self.faults = faults or {}
        self.fits = fits
        self.padding = padding

    def __call__(self, place: WorkerPlace) -> Job:
        return self.run

    def run(self, proposal: Proposal, report: Reporter) -> TrialResult:
        subset = proposal.subset
        scores: list[float] = []
        if proposal.snapshot is not None:
            kept = json.loads(proposal.snapshot)
            if kept["subset"] != str(subset):
                raise SnapshotError("of another trial")
            for score in kept["scores"]:
                scores.append(score)
                report(self._said(proposal, scores, replayed=True))
        for epoch in range(len(scores), self.epochs):
            self._strike(subset, epoch)
            if not 0 < self.fits <= proposal.batch_parts:
                raise TrialOutOfMemory("out of memory", splittable=proposal.batch_parts < 8)
            time.sleep(self.seconds)
            with self.log.open("a") as file:
                file.write(f"{os.getpid()} {subset} {epoch} {proposal.batch_parts}\n")
            scores.append(truth(subset) * (epoch + 1) / self.epochs)
            report(self._said(proposal, scores))
        return TrialResult(values=(scores[-1],), stderr=0.01, fold_scores=(scores[-1],))

    def _strike(self, subset: Subset, epoch: int) -> None:
        when, fault = self.faults.get(subset, (-1, ""))
        struck = self.log.with_name(f"struck-{len(subset)}-{subset}")
        if when == epoch and not struck.exists():
            struck.touch()
            break_down(fault)

    def _said(self, proposal: Proposal, scores: list[float], *, replayed: bool = False) -> Report:
        epoch = len(scores) - 1
        kept = {"subset": str(proposal.subset), "scores": scores, "padding": "x" * self.padding}
        return Report(
            fold=int(epoch >= self.epochs // 2),
            epoch=epoch % (self.epochs // 2),
            score=scores[-1],
            step=epoch,
            epochs_done=epoch + 1,
            epochs_total=self.epochs,
            replayed=replayed,
            snapshot=lambda: json.dumps(kept).encode(),
        )


def epochs_trained(log: Path) -> list[str]:
    """'subset epoch' of every epoch that was trained, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.split(" ", 1)[1].rsplit(" ", 1)[0] for line in lines]


def in_two_folds(place: WorkerPlace) -> Job:
    """Jobs whose first fold has the even samples."""

    def job(proposal: Proposal, report: Reporter) -> TrialResult:
        share = truth(proposal.subset)
        known = np.arange(1000) % 2 == 0
        correct = known & (np.arange(1000) < 1000 * share)
        so_far = SoFar(correct=pack_correct(correct), known=pack_correct(known), count=1000)
        report(Report(fold=0, epoch=0, score=share, step=0, so_far=so_far))
        for step in range(1, 50):  # a stop is heard at a later report
            time.sleep(0.01)
            report(Report(fold=1, epoch=step, score=share, step=step))
        return TrialResult(values=(share,), fold_scores=(share, share))

    return job
