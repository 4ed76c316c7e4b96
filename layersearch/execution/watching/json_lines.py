"""A search as JSON lines, an event each; docs/watching.md documents them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TextIO

from layersearch.execution.standing import Beginning, Ended, RetrainingNow, Status
from layersearch.execution.watching.estimate import time_left
from layersearch.execution.watching.picture import Picture
from layersearch.space.records import TrialRecord
from layersearch.space.subset import Subset
from layersearch.space.trial import Proposal, Report
from layersearch.study.attributes import plain
from layersearch.study.storages import masked

SCHEMA = 1  # goes up when a field goes or changes its meaning; new fields may come at any time
_KEPT_APART = ("correct", "subset", "recipe", "driver", "fold_scores", "stderr", "curve")


class JsonLines:
    """Writes one JSON object a line.

    Args:
        stream: is flushed after each line.
        picture: for rates and the time left.
        now: the time of day.
    """

    def __init__(
        self,
        stream: TextIO,
        picture: Picture,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stream = stream
        self._picture = picture
        self._now = now
        self._study: str | None = None
        self._signs: tuple[float, ...] = ()  # from higher is better to the study's own directions

    def began(self, beginning: Beginning) -> None:
        """Event `began`."""
        self._study = beginning.study
        self._signs = tuple(-1.0 if d == "minimize" else 1.0 for d in beginning.directions)
        self._write("began", asdict(beginning))

    def phase(self, text: str) -> None:
        """Event `phase`."""
        self._write("phase", {"text": text})

    def started(self, proposal: Proposal) -> None:
        """Event `started`."""
        self._write("started", {**_trial(proposal), "recipe": dict(proposal.recipe)})

    def reported(self, proposal: Proposal, report: Report) -> None:
        """Event `reported`."""
        names = ("fold", "epoch", "score", "step", "epochs_done", "epochs_total", "replayed")
        self._write(
            "reported", {**_trial(proposal), **{name: getattr(report, name) for name in names}}
        )

    def finished(self, proposal: Proposal, record: TrialRecord, value: float) -> None:
        """Event `finished`."""
        found = {
            name: found for name, found in record.attributes.items() if name not in _KEPT_APART
        }
        self._write(
            "finished",
            {
                **_trial(proposal),
                "value": value,
                "values": [
                    sign * found for sign, found in zip(self._signs, record.values, strict=False)
                ],
                "stderr": record.stderr,
                "fold_scores": list(record.fold_scores),
                "known_from": record.attributes.get("memo_of"),
                "attributes": found,
            },
        )

    def pruned(self, proposal: Proposal, reason: str) -> None:
        """Event `pruned`."""
        self._write("pruned", {**_trial(proposal), "reason": reason})

    def failed(self, proposal: Proposal, reason: str, *, interrupted: bool) -> None:
        """Event `failed`."""
        self._write("failed", {**_trial(proposal), "reason": reason, "interrupted": interrupted})

    def status(self, status: Status) -> None:
        """Event `status`."""
        left = time_left(self._picture)
        self._write(
            "status",
            {
                **asdict(status),
                "best": _names(status.best),
                "answer": _names(status.answer),
                "epochs_per_second": round(self._picture.epochs_per_second(), 3),
                "seconds_left": None if left is None else asdict(left),
            },
        )

    def message(self, text: str) -> None:
        """Event `message`."""
        self._write("message", {"text": text})

    def retraining(self, now: RetrainingNow) -> None:
        """Event `retraining`."""
        self._write("retraining", {**asdict(now), "subset": _names(now.subset)})

    def ended(self, ended: Ended) -> None:
        """Event `ended`."""
        self._write("ended", {**asdict(ended), "subset": _names(ended.subset)})

    def _write(self, event: str, values: Mapping[str, Any]) -> None:
        when = self._now().astimezone(UTC).isoformat(timespec="milliseconds")
        line = {
            "schema": SCHEMA,
            "event": event,
            "time": when.replace("+00:00", "Z"),
            "elapsed": round(self._picture.elapsed, 3),
            "study": self._study,
            **values,
        }
        self._stream.write(json.dumps(_masked(plain(line)), ensure_ascii=False) + "\n")
        self._stream.flush()


def _trial(proposal: Proposal) -> dict[str, Any]:
    return {"trial": proposal.number, "subset": _names(proposal.subset)}


def _names(subset: Subset | None) -> list[str] | None:
    return None if subset is None else list(subset)


def _masked(value: Any) -> Any:
    """Without the passwords of addresses, wherever they stand."""
    if isinstance(value, str):
        return masked(value) if "://" in value else value
    if isinstance(value, dict):
        return {name: _masked(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return value
