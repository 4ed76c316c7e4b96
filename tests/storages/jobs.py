"""Jobs that note when they were at work, in whichever process."""

import secrets
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from layersearch.space.trial import Job, Proposal, Report, Reporter, TrialResult, WorkerPlace
from tests.execution.jobs import Scripted


class Noted(Scripted):
    """Scripted jobs that add a line 'time run subset' to the file `notes` at every epoch."""

    def __call__(self, place: WorkerPlace) -> Job:
        self.notes = self.log.with_name("notes.log")
        return super().__call__(place)

    def run(self, proposal: Proposal, report: Reporter) -> TrialResult:
        token = secrets.token_hex(8)

        def note() -> None:
            with self.notes.open("a") as file:
                file.write(f"{time.time()} {token} {proposal.subset}\n")

        def said(told: Report) -> None:
            note()
            report(told)

        note()
        return super().run(proposal, said)


def at_once(notes: Path) -> list[str]:
    """The subsets that two runs were at work on at the same time."""
    spans: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in notes.read_text().splitlines():
        when, token, subset = line.split(" ", 2)
        spans[subset][token].append(float(when))
    found = []
    for subset, runs in spans.items():
        ordered = sorted((min(times), max(times)) for times in runs.values())
        found += [subset for (_, end), (begin, _) in pairwise(ordered) if begin < end]
    return found
