import io
import json
import threading

import pytest
from rich.console import Console

from layersearch.execution import SearchProgress
from layersearch.space import Subset, TrialRecord, TrialState
from layersearch.space.trial import Proposal, Report
from tests.execution.doubles import Every
from tests.execution.jobs import ALL

PROPOSAL = Proposal(number=3, subset=Subset(["layer1.0", "[red]odd"]))
REPORT = Report(fold=1, epoch=2, score=0.875, step=7, epochs_done=8, epochs_total=25)
RECORD = TrialRecord(
    number=3,
    subset=PROPOSAL.subset,
    state=TrialState.COMPLETE,
    score=-0.25,
    stderr=0.0125,
    attributes={"seconds": 30.0},
)


@pytest.fixture
def said():
    return io.StringIO()


def progress(said, *, terminal=False, **options):
    console = Console(file=said, force_terminal=terminal, width=200, color_system=None)
    return SearchProgress(console, **options)


def test_where_there_is_no_terminal_each_trial_is_a_plain_line(said):
    with progress(said) as shown:
        shown.started(PROPOSAL)
        shown.reported(PROPOSAL, REPORT)
        shown.finished(PROPOSAL, RECORD, 0.25)
    assert "\x1b" not in said.getvalue()
    line = said.getvalue()
    assert line.startswith("trial 3  {layer1.0, [red]odd}  0.2500 ± 0.0125  (1 trial done")
    assert line.count("\n") == 1


def test_known_scores_say_where_they_come_from(said):
    memo = TrialRecord(
        number=4,
        subset=PROPOSAL.subset,
        state=TrialState.COMPLETE,
        score=0.5,
        attributes={"memo_of": 1},
    )
    shown = progress(said)
    shown.finished(PROPOSAL, memo, 0.5)
    assert "0.5000, known from trial 1" in said.getvalue()


def test_failures_show_their_first_line(said):
    shown = progress(said)
    shown.failed(PROPOSAL, "ValueError: no\nTraceback", interrupted=False)
    shown.failed(PROPOSAL, "interrupted", interrupted=True)
    shown.pruned(PROPOSAL, "pruned after epoch 1 of fold 0")
    first, second, third = said.getvalue().splitlines()
    assert "failed: ValueError: no  (" in first
    assert "  interrupted  (" in second
    assert "  pruned after epoch 1 of fold 0  (" in third


@pytest.mark.parametrize("options", [{"quiet": True}, {"mode": "quiet"}])
def test_quiet_shows_messages_only(said, options):
    with progress(said, terminal=True, **options) as shown:
        shown.started(PROPOSAL)
        shown.finished(PROPOSAL, RECORD, 0.25)
        shown.phase("searching")
        shown.message("press Ctrl-C again [to stop]")
    assert said.getvalue() == "press Ctrl-C again [to stop]\n"


def test_plain_lines_can_be_asked_for_on_a_terminal(said):
    with progress(said, terminal=True, mode="plain") as shown:
        shown.started(PROPOSAL)
        shown.finished(PROPOSAL, RECORD, 0.25)
    assert "\x1b" not in said.getvalue()
    assert "trial 3" in said.getvalue()


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(said, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with progress(said, terminal=True) as shown:
        shown.finished(PROPOSAL, RECORD, 0.25)
    assert "\x1b" not in said.getvalue()


def test_no_thread_is_left(said):
    before = threading.active_count()
    for terminal in (True, False):
        with progress(said, terminal=terminal):
            pass
    assert threading.active_count() == before


@pytest.mark.parametrize("terminal", [True, False])
def test_a_search_can_be_watched(search, said, terminal):
    with progress(said, terminal=terminal) as shown:
        search(strategy=Every(ALL[:3]), observers=[shown])
    for subset in ALL[:3]:
        assert str(subset) in said.getvalue()


@pytest.mark.parametrize("in_process", [True, False])
def test_a_search_can_be_followed_by_a_program(search, in_process):
    stream = io.StringIO()
    with SearchProgress(mode="json", stream=stream) as shown:
        search(strategy=Every(ALL[:3]), observers=[shown], in_process=in_process)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    events = [line["event"] for line in lines]
    assert events.count("started") == events.count("finished") == 3
    assert events.count("reported") == 9
    last = [line for line in lines if line["event"] == "status"][-1]
    assert (last["done"], last["scored"], last["running"]) == (3, 3, 0)
    assert [worker["doing"] for worker in last["crew"]] == ["idle"]
    assert last["best_score"] == max(line["value"] for line in lines if line["event"] == "finished")
