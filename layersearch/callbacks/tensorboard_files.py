"""TensorBoard: a run of the whole search, and one for each trial with its learning curves."""

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from layersearch.callbacks.flat import numbers
from layersearch.execution.standing import Beginning, Ended, RetrainingNow, Status
from layersearch.space import TrialRecord
from layersearch.space.trial import Proposal, Report


class TensorBoardCallback:
    """Writes event files.

    Args:
        directory: where; None: `tensorboard` in the study's folder.
        curves: whether each trial has a run of its own, with a curve a fold.
    """

    def __init__(self, directory: str | None = None, *, curves: bool = True) -> None:
        self._directory = None if directory is None else Path(directory)
        self._curves = curves
        self._folder = Path()
        self._search: SummaryWriter | None = None
        self._trials: dict[int, SummaryWriter] = {}
        self._metric = "score"

    def began(self, beginning: Beginning) -> None:
        """Opens the run of the search."""
        self._metric = beginning.metrics[0]
        self._folder = self._directory or Path(beginning.folder) / "tensorboard"
        self._search = SummaryWriter(str(self._folder / "search"))
        described = json.dumps(beginning.config, indent=2, default=str)
        self._search.add_text("search/description", f"```\n{described}\n```")

    def started(self, proposal: Proposal) -> None:
        """Opens the run of the trial."""
        if self._curves:
            folder = self._folder / f"trial-{proposal.number:04d}"
            self._trials[proposal.number] = SummaryWriter(str(folder))

    def reported(self, proposal: Proposal, report: Report) -> None:
        """A point of a curve."""
        writer = self._trials.get(proposal.number)
        if writer is not None:
            tag = f"{self._metric}/fold {report.fold + 1}"
            writer.add_scalar(tag, report.score, report.epoch + 1)

    def finished(self, proposal: Proposal, record: TrialRecord, value: float) -> None:
        """The trial's score."""
        if self._search is not None:
            self._search.add_scalar(f"search/{self._metric}", value, proposal.number)
        writer = self._trials.get(proposal.number)
        if writer is not None:
            measured = {f"trial/{name}": number for name, number in numbers(record).items()}
            about = {"subset": str(proposal.subset), **proposal.recipe}
            writer.add_hparams(about, {f"trial/{self._metric}": value, **measured}, run_name=".")
        self._close(proposal)

    def pruned(self, proposal: Proposal, reason: str) -> None:
        """Why it was stopped."""
        self._end(proposal, f"pruned: {reason}")

    def failed(self, proposal: Proposal, reason: str, *, interrupted: bool) -> None:
        """Why it failed."""
        self._end(proposal, reason if interrupted else f"failed: {reason}")

    def status(self, status: Status) -> None:
        """Counts, and the best so far, over the trials that ended."""
        if self._search is None:
            return
        for name in ("scored", "pruned", "failed"):
            self._search.add_scalar(f"trials/{name}", getattr(status, name), status.done)
        if status.best_score is not None:
            self._search.add_scalar(f"search/best {self._metric}", status.best_score, status.done)

    def retraining(self, now: RetrainingNow) -> None:
        """A score on the test split."""
        if self._search is not None and now.score is not None:
            self._search.add_scalar(f"test/{now.name}", now.score, now.seed + 1)

    def ended(self, ended: Ended) -> None:
        """Closes all files."""
        for writer in self._trials.values():
            writer.close()
        self._trials.clear()
        if self._search is not None:
            chosen = f"{ended.subset}, {ended.score}" if ended.subset is not None else "nothing"
            self._search.add_text("search/end", f"{ended.reason}; chosen: {chosen}")
            self._search.close()

    def _end(self, proposal: Proposal, text: str) -> None:
        writer = self._trials.get(proposal.number)
        if writer is not None:
            writer.add_text("trial/end", f"{proposal.subset}: {text}")
        self._close(proposal)

    def _close(self, proposal: Proposal) -> None:
        writer = self._trials.pop(proposal.number, None)
        if writer is not None:
            writer.close()
