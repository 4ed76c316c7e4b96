import io
import json
import math
import re
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from layersearch.execution.observer import Observer, Observers
from layersearch.execution.standing import Beginning, Ended, RetrainingNow, Status, WorkerNow
from layersearch.execution.watching import SCHEMA, JsonLines, Picture
from layersearch.space import Subset, TrialRecord, TrialState
from layersearch.space.trial import Report
from tests.execution.watching.pictures import BEGINNING, STATUS, proposal

PAGE = Path(__file__).parents[3] / "docs" / "watching.md"
EVENTS = (
    "began",
    "phase",
    "started",
    "reported",
    "finished",
    "pruned",
    "failed",
    "status",
    "message",
    "retraining",
    "ended",
)
RECORD = TrialRecord(
    number=2,
    subset=Subset(["a"]),
    state=TrialState.COMPLETE,
    score=-0.5,
    stderr=0.1,
    fold_scores=(0.4, 0.6),
    values=(-0.5, 7.0),
    attributes={"epochs": 8, "seconds": 1.5, "driver": "token", "flops": math.inf},
)


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def writer(stream):
    return JsonLines(
        stream, Picture(lambda: 2.0), now=lambda: datetime(2026, 5, 4, 3, 2, 1, 7000, tzinfo=UTC)
    )


def everything(writer):
    trial = proposal(2, "a")
    writer.began(replace(BEGINNING, directions=("minimize", "maximize")))
    writer.phase("searching")
    writer.started(trial)
    writer.reported(trial, Report(fold=0, epoch=1, score=0.5, step=1))
    writer.finished(trial, RECORD, 0.5)
    writer.pruned(trial, "no hope")
    writer.failed(trial, "ValueError", interrupted=False)
    writer.status(replace(STATUS, crew=(WorkerNow(name="0", doing="idle"),)))
    writer.message("hello")
    writer.retraining(
        RetrainingNow(
            name="chosen", subset=Subset(["a"]), seed=0, seeds=1, done=0, total=1, epoch=0, epochs=1
        )
    )
    writer.ended(Ended(ending="done", reason="all is tried", subset=Subset(["a"]), score=0.5))


def read(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_event_is_a_line_with_the_same_beginning(writer, stream):
    everything(writer)
    lines = read(stream)
    assert [line["event"] for line in lines] == list(EVENTS)
    for line in lines:
        assert list(line)[:5] == ["schema", "event", "time", "elapsed", "study"]
        assert line["schema"] == SCHEMA == 1
        assert line["time"] == "2026-05-04T03:02:01.007Z"
        assert line["study"] == "digits"


def test_observers_know_the_same_events():
    methods = {name for name in vars(Observer) if not name.startswith("_")}
    assert methods == set(EVENTS)


def test_values_are_in_the_studys_own_directions(writer, stream):
    everything(writer)
    finished = next(line for line in read(stream) if line["event"] == "finished")
    assert (finished["value"], finished["values"]) == (0.5, [0.5, 7.0])
    assert finished["fold_scores"] == [0.4, 0.6]
    assert finished["attributes"]["epochs"] == 8


def test_numbers_that_json_lacks_are_words(writer, stream):
    everything(writer)
    assert "Infinity" not in stream.getvalue()
    finished = next(line for line in read(stream) if line["event"] == "finished")
    assert finished["attributes"]["flops"] == "inf"


def test_text_of_several_lines_stays_on_one(writer, stream):
    writer.failed(proposal(1, "a"), "first\nsecond", interrupted=False)
    assert len(stream.getvalue().splitlines()) == 1


def test_no_password_comes_through(writer, stream):
    secret = "postgresql://me:hunter2@db/x?password=hunter2"
    config = {"study": {"storage": secret}, "callbacks": [{"uri": secret}]}
    audience = Observers([writer])
    audience.began(replace(BEGINNING, storage=secret, config=config, notes=(secret,)))
    audience.phase(secret)
    audience.message(f"cannot reach {secret}")
    audience.failed(proposal(1), f"Error\n{secret}", interrupted=False)
    audience.pruned(proposal(1), secret)
    audience.status(replace(STATUS, last_failed=secret))
    audience.ended(Ended(ending="failed", reason=secret))
    assert len(read(stream)) == 7
    assert "hunter2" not in stream.getvalue()
    assert "me:***@db" in stream.getvalue()


def test_the_page_documents_every_event_and_field(writer, stream):
    page = PAGE.read_text(encoding="utf-8")
    everything(writer)
    for line in read(stream):
        section = re.search(rf"\| `{line['event']}` \|.*", page)
        assert section, line["event"]
        for name in list(line)[5:]:
            assert f"`{name}`" in section[0], (line["event"], name)
    for kind in (Beginning, Status, RetrainingNow, Ended, WorkerNow):
        for field in fields(kind):
            assert f"`{field.name}`" in page, (kind, field.name)


def test_not_even_why_an_observer_was_dropped_holds_a_password():
    class Unlucky:
        def phase(self, text):
            raise OSError("cannot reach postgresql://me:hunter2@db/runs")

    with pytest.warns(UserWarning, match=r"me:\*\*\*@db/runs"):
        Observers([Unlucky()]).phase("searching")
