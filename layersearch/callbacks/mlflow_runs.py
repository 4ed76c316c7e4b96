"""MLflow: a run of the whole search, and a run nested in it for each trial."""

import logging
import os
import time
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from layersearch.callbacks.flat import flat, numbers
from layersearch.execution.standing import Beginning, Ended, RetrainingNow, Status
from layersearch.space import TrialRecord
from layersearch.space.trial import Proposal, Report

_FLUSH = 2.0  # seconds that points of curves wait, so that few writes meet the store
_BATCH = 100  # values that MLflow takes at once
_LONGEST = 500  # characters of a value
_STUDY = "layersearch.identity"  # the tag by which a resumed search finds its run


class MlflowCallback:
    """Logs runs.

    Args:
        tracking_uri: a store; None: MLFLOW_TRACKING_URI, or `mlflow.db` beside the studies.
        experiment: its name.
        run_name: of the search's run; None: the study's name.
        curves: whether each trial has a run of its own, with its learning curve.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        *,
        experiment: str = "layersearch",
        run_name: str | None = None,
        curves: bool = True,
    ) -> None:
        self._uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._experiment_name = experiment
        self._name = run_name
        self._curves = curves
        self._client: Any = None
        self._experiment = ""
        self._run = ""
        self._trials: dict[int, str] = {}
        self._points: dict[int, list[Metric]] = {}
        self._written = time.monotonic()
        self._metric = "score"

    def began(self, beginning: Beginning) -> None:
        """Begins the run of the search, or goes on with it."""
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # tables it makes
        beside = Path(beginning.folder).absolute().parent
        beside.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(self._uri or f"sqlite:///{beside / 'mlflow.db'}")
        known = self._client.get_experiment_by_name(self._experiment_name)
        if known is None:
            place = None if self._uri else (beside / "mlflow").as_uri()
            made = self._client.create_experiment(self._experiment_name, artifact_location=place)
            self._experiment = str(made)
        else:
            self._experiment = known.experiment_id
        self._metric = beginning.metrics[0].replace("[", " ").replace("]", "")
        name = self._name or beginning.study
        self._run = self._earlier(beginning.identity) or self._begin(
            name, {_STUDY: beginning.identity, "layersearch.command": beginning.command}
        )
        self._client.update_run(self._run, status="RUNNING")
        self._describe(beginning)

    def started(self, proposal: Proposal) -> None:
        """Begins the run of the trial."""
        if self._client is None or not self._curves:
            return
        tags = {"mlflow.parentRunId": self._run, "subset": str(proposal.subset)[:_LONGEST]}
        run = self._begin(f"trial {proposal.number}", tags)
        self._trials[proposal.number] = run
        params = [Param("subset", str(proposal.subset)[:_LONGEST])]
        params += [Param(name, str(value)) for name, value in proposal.recipe.items()]
        self._client.log_batch(run, params=params)

    def reported(self, proposal: Proposal, report: Report) -> None:
        """A point of a curve."""
        if proposal.number not in self._trials:
            return
        point = self._point(self._metric, report.score, report.epochs_done or report.step + 1)
        self._points.setdefault(proposal.number, []).append(point)
        if time.monotonic() - self._written > _FLUSH:
            self._flush()

    def finished(self, proposal: Proposal, record: TrialRecord, value: float) -> None:
        """The trial's score, in its own run and in that of the search."""
        if self._client is None:
            return
        self._log(self._run, [self._point(f"trial {self._metric}", value, proposal.number)])
        found = {f"final {self._metric}": value, **numbers(record)}
        self._end(proposal, "FINISHED", [self._point(n, v, 0) for n, v in found.items()])

    def pruned(self, proposal: Proposal, reason: str) -> None:
        """Its run is ended as killed; why, is a tag."""
        self._end(proposal, "KILLED", [], reason=f"pruned: {reason}")

    def failed(self, proposal: Proposal, reason: str, *, interrupted: bool) -> None:
        """Its run has failed, or was killed; why, is a tag."""
        self._end(proposal, "KILLED" if interrupted else "FAILED", [], reason=reason)

    def status(self, status: Status) -> None:
        """Counts, and the best so far, over the trials that ended."""
        if self._client is None:
            return
        counts = {name: getattr(status, name) for name in ("scored", "pruned", "failed")}
        points = [self._point(name, count, status.done) for name, count in counts.items()]
        if status.best_score is not None:
            points.append(self._point(f"best {self._metric}", status.best_score, status.done))
        self._log(self._run, points)

    def retraining(self, now: RetrainingNow) -> None:
        """A score on the test split."""
        if self._client is not None and now.score is not None:
            self._log(self._run, [self._point(f"test {now.name}", now.score, now.seed)])

    def ended(self, ended: Ended) -> None:
        """Ends the run of the search."""
        if self._client is None or not self._run:
            return
        self._flush()
        for number in list(self._trials):
            self._client.set_terminated(self._trials.pop(number), status="KILLED")
        self._client.set_tag(self._run, "ending", ended.reason[:_LONGEST])
        if ended.subset is not None:
            self._client.set_tag(self._run, "chosen", str(ended.subset)[:_LONGEST])
        status = {"failed": "FAILED", "interrupted": "KILLED"}.get(ended.ending, "FINISHED")
        self._client.set_terminated(self._run, status=status)

    # --- MLflow -----------------------------------------------------------------------------------

    def _earlier(self, identity: str) -> str:
        """The run of an earlier part of the same search; '' if there is none."""
        found = self._client.search_runs(
            [self._experiment], filter_string=f"tags.`{_STUDY}` = '{identity}'", max_results=1
        )
        return str(found[0].info.run_id) if found else ""

    def _begin(self, name: str, tags: dict[str, str]) -> str:
        run = self._client.create_run(self._experiment, run_name=name, tags=tags)
        return str(run.info.run_id)

    def _describe(self, beginning: Beginning) -> None:
        known = self._client.get_run(self._run).data.params
        params = [
            Param(name, str(value)[:_LONGEST])
            for name, value in flat(beginning.config)
            if name
            not in known  # MLflow refuses another value; nothing here may change but workers
        ]
        for begin in range(0, len(params), _BATCH):
            self._client.log_batch(self._run, params=params[begin : begin + _BATCH])
        tags = {"backbone": beginning.backbone, "data": beginning.data}
        self._client.log_batch(self._run, tags=[RunTag(n, v[:_LONGEST]) for n, v in tags.items()])

    def _end(
        self, proposal: Proposal, status: str, points: list[Metric], *, reason: str = ""
    ) -> None:
        run = self._trials.pop(proposal.number, None)
        if run is None:
            return
        self._log(run, [*self._points.pop(proposal.number, []), *points])
        if reason:
            self._client.set_tag(run, "reason", reason[:_LONGEST])
        self._client.set_terminated(run, status=status)

    def _flush(self) -> None:
        for number, points in self._points.items():
            self._log(self._trials[number], points)
        self._points.clear()
        self._written = time.monotonic()

    def _log(self, run: str, points: list[Metric]) -> None:
        for begin in range(0, len(points), _BATCH):
            self._client.log_batch(run, metrics=points[begin : begin + _BATCH])

    @staticmethod
    def _point(name: str, value: float, step: int) -> Metric:
        return Metric(name, float(value), int(time.time() * 1000), step)
