import io

import pytest
from rich.console import Console

from layersearch.execution import SearchProgress, Status
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


def progress(said, *, terminal=False, quiet=False):
    console = Console(file=said, force_terminal=terminal, width=200, color_system=None)
    return SearchProgress(console, quiet=quiet)


def test_where_there_is_no_terminal_each_trial_is_a_plain_line(said):
    with progress(said) as shown:
        shown.started(PROPOSAL)
        shown.reported(PROPOSAL, REPORT)
        shown.finished(PROPOSAL, RECORD, 0.25)
    assert "\x1b" not in said.getvalue()
    line = said.getvalue()
    assert line.startswith("trial 3  {layer1.0, [red]odd}  0.2500 ± 0.0125  (1 trials done")
    assert line.count("\n") == 1


def test_a_block_shows_the_best_and_what_runs(said):
    shown = progress(said, terminal=True)
    shown.started(PROPOSAL)
    shown.reported(PROPOSAL, REPORT)
    shown.status(
        Status(
            done=2,
            running=1,
            workers=2,
            phase="round 2",
            remaining=6,
            best=Subset(["layer3.1"]),
            best_score=0.9125,
        )
    )
    console = Console(file=said, width=200)
    console.print(shown.render())
    text = said.getvalue()
    assert "round 2 · 0 trials done · 1 running · 6 to begin" in text
    assert "best so far  {layer3.1}  0.9125" in text
    assert "trial 3  {layer1.0, [red]odd}  epoch 8/25  fold 1  0.8750" in text


def test_time_left_follows_from_trained_trials_and_workers(said):
    shown = progress(said, quiet=True)
    shown.status(Status(done=0, running=0, workers=2, remaining=6))
    assert shown.seconds_left() is None
    shown.started(PROPOSAL)
    shown.finished(PROPOSAL, RECORD, 0.25)
    assert shown.seconds_left() == pytest.approx(6 * 30 / 2)
    assert "about 90 s left" in shown.summary()


def test_known_scores_say_where_they_come_from_and_cost_no_time(said):
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
    assert shown.seconds_left() is None


def test_failures_show_their_first_line(said):
    shown = progress(said)
    shown.failed(PROPOSAL, "ValueError: no\nTraceback", interrupted=False)
    shown.failed(PROPOSAL, "interrupted", interrupted=True)
    shown.pruned(PROPOSAL, "pruned after epoch 1 of fold 0")
    first, second, third = said.getvalue().splitlines()
    assert "failed: ValueError: no  (" in first
    assert "  interrupted  (" in second
    assert "  pruned after epoch 1 of fold 0  (" in third


def test_quiet_shows_messages_only(said):
    with progress(said, terminal=True, quiet=True) as shown:
        shown.started(PROPOSAL)
        shown.finished(PROPOSAL, RECORD, 0.25)
        shown.message("press Ctrl-C again [to stop]")
    assert said.getvalue() == "press Ctrl-C again [to stop]\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_search_can_be_watched(search, said, terminal):
    with progress(said, terminal=terminal) as shown:
        search(strategy=Every(ALL[:3]), observers=[shown])
    for subset in ALL[:3]:
        assert str(subset) in said.getvalue()
