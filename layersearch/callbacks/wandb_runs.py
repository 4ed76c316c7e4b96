"""Weights & Biases: one run a search; offline unless asked otherwise."""

from pathlib import Path
from typing import Any, Literal

import wandb

from layersearch.callbacks.flat import numbers
from layersearch.execution.standing import Beginning, Ended, RetrainingNow, Status
from layersearch.space import TrialRecord
from layersearch.space.trial import Proposal, Report


class WandbCallback:
    """Logs a run. A resumed search that is synced goes on with the same run.

    Args:
        project: its name.
        entity: user or team; None: the default of the account.
        run_name: None: the study's name.
        mode: 'offline' writes files, which `wandb sync` uploads; 'online' uploads at once.
        directory: where it keeps files; None: the study's folder.
        curves: whether learning curves are logged, a key a trial.
    """

    def __init__(
        self,
        *,
        project: str = "layersearch",
        entity: str | None = None,
        run_name: str | None = None,
        mode: Literal["offline", "online", "disabled"] = "offline",
        directory: str | None = None,
        curves: bool = True,
    ) -> None:
        if mode not in ("offline", "online", "disabled"):
            raise ValueError(f"mode must be offline, online or disabled, got {mode!r}")
        self._project = project
        self._entity = entity
        self._name = run_name
        self._mode: Literal["offline", "online", "disabled"] = mode
        self._directory = directory
        self._curves = curves
        self._run: Any = None
        self._metric = "score"

    def began(self, beginning: Beginning) -> None:
        """Begins the run."""
        self._metric = beginning.metrics[0]
        folder = Path(self._directory or beginning.folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=self._project,
            entity=self._entity,
            name=self._name or beginning.study,
            id=beginning.identity,
            resume="allow" if self._mode == "online" else None,
            mode=self._mode,
            dir=str(folder),
            config=dict(beginning.config),
            # The terminal is ours; the run holds what the search says, not what it prints.
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run.define_metric("trial")
        self._run.define_metric("trials/*", step_metric="trial")
        self._run.define_metric("ended")
        self._run.define_metric("search/*", step_metric="ended")

    def reported(self, proposal: Proposal, report: Report) -> None:
        """A point of a curve."""
        if self._run is not None and self._curves:
            name = f"curves/trial {proposal.number}"
            self._run.log({name: report.score, "epochs": report.epochs_done or report.step + 1})

    def finished(self, proposal: Proposal, record: TrialRecord, value: float) -> None:
        """The trial's score and costs."""
        measured = {f"trials/{name}": number for name, number in numbers(record).items()}
        self._log(
            {
                "trial": proposal.number,
                f"trials/{self._metric}": value,
                "trials/subset": str(proposal.subset),
                **measured,
            }
        )

    def pruned(self, proposal: Proposal, reason: str) -> None:
        """Why it was stopped."""
        self._log({"trial": proposal.number, "trials/pruned": reason})

    def failed(self, proposal: Proposal, reason: str, *, interrupted: bool) -> None:
        """Why it failed."""
        kind = "interrupted" if interrupted else "failed"
        self._log({"trial": proposal.number, f"trials/{kind}": reason})

    def status(self, status: Status) -> None:
        """Counts, and the best so far, over the trials that ended."""
        counts = {f"search/{n}": getattr(status, n) for n in ("scored", "pruned", "failed")}
        best = {} if status.best_score is None else {"search/best": status.best_score}
        self._log({"ended": status.done, **counts, **best})

    def retraining(self, now: RetrainingNow) -> None:
        """A score on the test split."""
        if now.score is not None:
            self._log({f"test/{now.name}": now.score, "seed": now.seed})

    def ended(self, ended: Ended) -> None:
        """Ends the run."""
        if self._run is None:
            return
        self._run.summary["ending"] = ended.reason
        if ended.subset is not None:
            self._run.summary["chosen"] = list(ended.subset)
            self._run.summary["chosen score"] = ended.score
            self._run.summary["chosen test score"] = ended.test_score
        self._run.finish(exit_code=1 if ended.ending == "failed" else 0)

    def _log(self, values: dict[str, Any]) -> None:
        if self._run is not None:
            self._run.log(values)
