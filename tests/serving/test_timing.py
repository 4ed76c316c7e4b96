from itertools import count

import pytest
import torch

from layersearch.serving.timing import CpuTimer, Lap, in_turns, timer_of, timing


class FakeTimer:
    """Laps of as many milliseconds as the run before the mark said."""

    def __init__(self):
        self.laps = []
        self.order = []

    def run(self, name, milliseconds):
        def run():
            self.order.append(name)
            self.laps = [Lap(milliseconds)]

        return run

    def mark(self):
        raise AssertionError

    def take(self):
        return self.laps


def test_runs_take_turns_and_none_always_comes_first():
    timer = FakeTimer()
    runs = {name: timer.run(name, at) for at, name in enumerate("abc")}
    laps = in_turns(runs, timer=timer, repeats=3, warm_up=1)
    assert "".join(timer.order) == "abc" + "abc" + "bca" + "cab"
    assert laps["b"] == [[Lap(1)]] * 3


def test_warming_up_does_not_count():
    timer = FakeTimer()
    laps = in_turns({"a": timer.run("a", 1)}, timer=timer, repeats=4, warm_up=5)
    assert (len(timer.order), len(laps["a"])) == (9, 4)


def test_what_would_take_too_long_is_repeated_less_but_three_times():
    timer, clock = FakeTimer(), count(step=10)
    laps = in_turns(
        {"a": timer.run("a", 1)},
        timer=timer,
        repeats=100,
        warm_up=10,
        seconds=60,
        clock=lambda: float(next(clock)),
    )
    assert len(timer.order) - len(laps["a"]) == 2  # 20% of the time to warm up
    assert 3 <= len(laps["a"]) <= 6
    slow = in_turns(
        {"a": timer.run("a", 1)},
        timer=timer,
        repeats=100,
        warm_up=0,
        seconds=0.1,
        clock=lambda: float(next(clock)),
    )
    assert len(slow["a"]) == 3


def test_interrupted_laps_are_left_out_where_enough_remain():
    calm = [Lap(1.0), Lap(2.0), Lap(3.0)]
    assert timing([*calm, *[Lap(90.0, 1)] * 6]).median == 2.0
    assert timing(calm).repeats == 3


def test_of_laps_that_are_all_interrupted_the_least_count():
    laps = [Lap(float(n), n) for n in range(1, 21)]
    found = timing(laps)
    assert (found.median, found.repeats) == (3.0, 5)


def test_laps_add_up():
    assert Lap(1.0, 2) + Lap(3.0, 1) == Lap(4.0, 3)


def test_a_cpu_lap_lies_between_two_marks():
    timer = CpuTimer()
    assert timer.take() == []
    for _ in range(3):
        timer.mark()
    laps = timer.take()
    assert len(laps) == 2
    assert all(lap.milliseconds >= 0 for lap in laps)
    assert timer.take() == []


def test_of_one_thread_what_it_lost_to_others_is_taken_off(monkeypatch):
    walls, busy, switches = iter([0.0, 0.5, 0.7]), iter([0.0, 0.1, 0.2]), iter([0, 3, 3])
    monkeypatch.setattr("layersearch.serving.timing.time.perf_counter", lambda: next(walls))
    monkeypatch.setattr("layersearch.serving.timing.time.thread_time", lambda: next(busy))
    monkeypatch.setattr("layersearch.serving.timing._interruptions", lambda: next(switches))
    timer = CpuTimer(alone=True)
    for _ in range(3):
        timer.mark()
    first, second = timer.take()
    assert first == Lap(pytest.approx(100.0))
    assert second == Lap(pytest.approx(200.0))


def test_a_device_that_works_on_is_waited_for_at_each_mark():
    waits = []
    timer = CpuTimer(lambda: waits.append(1))
    timer.mark()
    timer.mark()
    assert len(waits) == 2
    assert isinstance(timer_of(torch.device("cpu"), threads=2), CpuTimer)
