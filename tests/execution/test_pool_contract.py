"""What every pool does: the driver relies on no more than this."""

import os
import time

import pytest

from layersearch.errors import SearchError, TrialStopped
from layersearch.execution import InProcessPool, ProcessPool, make_places
from layersearch.execution.messages import Failed, Finished, Reported, Stopped
from layersearch.space import Subset
from layersearch.space.trial import Proposal
from tests.execution.jobs import Scripted, truth

A = Subset(["a"])


@pytest.fixture(params=["this process", "worker processes"])
def pool(request):
    local = request.param == "this process"
    pool = InProcessPool() if local else ProcessPool(make_places(2, threads=1))
    yield pool
    pool.close(now=True)


@pytest.fixture
def start(pool, tmp_path):
    def start(**options):
        pool.start(Scripted(tmp_path / "log", **options))

    return start


def run(pool, *subsets, answered=True, stop_at=None):
    """Runs the trials and gives their events; `stop_at`: the number of the report to stop at."""
    events, waiting = [], list(enumerate(subsets))

    def handle(event):
        events.append(event)
        reports = sum(isinstance(event, Reported) for event in events)
        return TrialStopped("enough") if reports == stop_at else None

    while sum(not isinstance(event, Reported) for event in events) < len(subsets):
        while waiting and pool.free:
            number, subset = waiting.pop(0)
            pool.submit(Proposal(number=number, subset=subset), answered=answered)
        pool.wait(handle, seconds=1)
    return events


@pytest.mark.parametrize("answered", [True, False])
def test_a_trial_reports_in_order_and_finishes_once(pool, start, answered):
    start()
    *reports, end = run(pool, A, answered=answered)
    assert [event.report.step for event in reports] == [0, 1, 2]
    assert isinstance(end, Finished)
    assert end.result.values == (truth(A),)


def test_there_is_a_free_worker_after_each_trial(pool, start):
    start()
    assert pool.free == len(pool.places)
    run(pool, A, Subset(["b"]), Subset(["c"]))
    assert pool.free == len(pool.places)


def test_an_answered_trial_stops_at_the_report_it_was_told_to(pool, start):
    start()
    *reports, end = run(pool, A, stop_at=2)
    assert len(reports) == 2
    assert isinstance(end, Stopped)
    assert (end.stop.reason, end.stop.pruned) == ("enough", True)


def test_a_trial_that_goes_on_stops_soon(pool, start):
    start(epochs=1000, seconds=0.001)
    *reports, end = run(pool, A, answered=False, stop_at=1)
    assert len(reports) < 1000
    assert isinstance(end, Stopped)


def test_stopping_all_reaches_every_running_trial(pool, start):
    start(epochs=1000, seconds=0.001)
    ends = []

    def handle(event):
        if isinstance(event, Reported):
            pool.stop(TrialStopped("interrupted", pruned=False))
        else:
            ends.append(event)

    pool.submit(Proposal(number=0, subset=A), answered=True)
    while not ends:
        pool.wait(handle, seconds=1)
    assert isinstance(ends[0], Stopped)
    assert (ends[0].stop.reason, ends[0].stop.pruned) == ("interrupted", False)


def test_a_stop_does_not_touch_the_next_trial(pool, start):
    start()
    run(pool, A, stop_at=1)
    *_, end = run(pool, Subset(["b"]))
    assert isinstance(end, Finished)


def test_a_job_that_raises_gives_its_reason_and_traceback(pool, start):
    start(faults={A: "raise"})
    *_, end = run(pool, A)
    assert isinstance(end, Failed)
    assert end.reason == "ValueError: a fault of the job"
    assert "break_down" in end.traceback


def test_a_job_that_stops_itself_is_stopped(pool, start):
    start(faults={A: "stop"})
    *_, end = run(pool, A)
    assert isinstance(end, Stopped)
    assert end.stop.reason == "had enough"


def test_a_job_that_swallows_the_stop_meets_it_again(pool):
    def factory(place):
        def job(proposal, report):
            from layersearch.space.trial import Report, TrialResult

            said = Report(fold=0, epoch=0, score=0.5, step=0)
            try:
                report(said)
            except TrialStopped:
                report(said)
            return TrialResult(values=(0.5,))

        return job

    pool.start(factory)
    *_, end = run(pool, A, stop_at=1)
    assert isinstance(end, Stopped)


def test_a_job_that_returns_something_else_fails(pool):
    pool.start(lambda place: lambda proposal, report: 0.5)
    (end,) = run(pool, A)
    assert isinstance(end, Failed)
    assert "must return a TrialResult" in end.reason


def test_a_factory_is_told_its_place(pool):
    def factory(place):
        def job(proposal, report):
            from layersearch.space.trial import TrialResult

            return TrialResult(values=(0.0,), attributes={"place": place, "env": dict(os.environ)})

        return job

    pool.start(factory)
    (end,) = run(pool, A)
    assert end.result.attributes["place"] in pool.places
    if isinstance(pool, ProcessPool):
        assert end.result.attributes["env"]["OMP_NUM_THREADS"] == "1"


def test_a_factory_that_raises_is_a_search_error(pool):
    def factory(place):
        raise ValueError("no weights")

    with pytest.raises(SearchError, match="ValueError: no weights"):
        pool.start(factory)


def test_waiting_for_nothing_returns(pool, start):
    start()
    began = time.monotonic()
    pool.wait(lambda event: None, seconds=0.05)
    assert time.monotonic() > began


def test_closing_twice_is_harmless(pool, start):
    start()
    pool.close()
    pool.close(now=True)


def test_places_share_devices_and_threads():
    places = make_places(3, devices=("cuda:0", "cuda:1"), threads=2)
    assert [place.device for place in places] == ["cuda:0", "cuda:1", "cuda:0"]
    assert [place.workers_on_device for place in places] == [2, 1, 2]
    assert {(place.threads, place.workers_on_node) for place in places} == {(2, 3)}


def test_threads_are_divided_among_workers():
    cores = len(os.sched_getaffinity(0))
    assert make_places(1)[0].threads == cores
    assert make_places(1000)[0].threads == 1


def test_what_workers_print_is_kept_where_asked(tmp_path):
    pool = ProcessPool(make_places(1, threads=1), log_directory=tmp_path / "logs")

    def factory(place):
        os.write(1, b"loading weights\n")
        return lambda proposal, report: None

    pool.start(factory)
    pool.close()
    assert "loading weights" in (tmp_path / "logs" / "worker-0.log").read_text()
