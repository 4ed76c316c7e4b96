"""A job whose trials can be paused: a snapshot is the number of epochs done."""

import os
import time
from pathlib import Path

from layersearch.space.trial import Job, Proposal, Report, Reporter, TrialResult, WorkerPlace
from tests.execution.jobs import truth


class Stateful:
    """A job factory; every epoch that is really trained adds a line 'subset epoch' to `log`.

    The worker's process id is written to the file `pid`.
    """

    def __init__(
        self,
        log: Path,
        *,
        epochs: int = 9,
        offers: bool = True,
        seconds: float = 0.0,
        pid: Path | None = None,
    ) -> None:
        self.log = log
        self.epochs = epochs
        self.offers = offers  # snapshots
        self.seconds = seconds  # an epoch
        self.pid = pid

    def __call__(self, place: WorkerPlace) -> Job:
        return self.run

    def run(self, proposal: Proposal, report: Reporter) -> TrialResult:
        done = int(proposal.snapshot or b"0")
        if self.pid is not None:
            self.pid.write_text(str(os.getpid()))
        for epoch in range(self.epochs):
            if epoch >= done:
                time.sleep(self.seconds)
                with self.log.open("a") as file:
                    file.write(f"{proposal.subset} {epoch}\n")
            report(
                Report(
                    fold=0,
                    epoch=epoch,
                    score=truth(proposal.subset) - 0.01 * (self.epochs - 1 - epoch),
                    step=epoch,
                    epochs_done=epoch + 1,
                    epochs_total=self.epochs,
                    replayed=epoch < done,
                    snapshot=(lambda epoch=epoch: str(epoch + 1).encode()) if self.offers else None,
                )
            )
        return TrialResult(values=(truth(proposal.subset),), stderr=0.01)


def epochs_trained(log: Path) -> list[tuple[str, int]]:
    """(subset, epoch) of every epoch that was trained, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(line.rpartition(" ")[0], int(line.rpartition(" ")[2])) for line in lines]
