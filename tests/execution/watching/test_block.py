import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from layersearch.execution.standing import Allowance, RetrainingNow, Status, WorkerNow
from layersearch.execution.watching import Picture
from layersearch.execution.watching.block import block
from layersearch.space import Subset
from tests.execution.watching.pictures import BEGINNING, STATUS, picture, proposal


def console(width=80, height=24, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(file=file, width=width, height=height, force_terminal=True, color_system=None)


def text(shown, **size):
    return "\n".join(line.plain.rstrip() for line in block(shown, console(**size)))


def test_it_says_where_a_search_stands():
    shown = text(picture(), width=100)
    assert "digits · greedy · accuracy" in shown
    assert "round 2: what to add to {layer3.1}  3 of 6 candidates  ━" in shown
    assert "0.9350 ± 0.0112  {layer1.0, layer3.1}  trial 9" in shown
    assert "answer   {layer3.1}" in shown
    assert "10 scored · 2 pruned · 1 failed · 2 running" in shown
    assert "520 of 2400 epochs used or under way" in shown
    assert "3: 2 training, 1 idle" in shown
    assert "ValueError: the loss is nan" in shown
    assert "pruned after epoch 3 of fold 1" in shown
    assert "two images are equal" in shown
    assert " s in this round · " in shown


def test_each_worker_has_a_row_with_its_trial_and_curve_on_the_common_scale():
    rows = text(picture(), width=100).splitlines()
    head = next(row for row in rows if "epoch  score" in row)
    assert head.endswith("0.60 to 0.82")
    first = next(row for row in rows if "#20" in row)
    assert first.startswith("0 cpu #20 {layer1.0, layer2.0}")
    assert " 11/40 0.6600 ▁" in first
    assert "2 cpu" in next(row for row in rows if row.endswith("idle") and "cpu" in row)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 220),
    height=st.integers(2, 60),
    running=st.integers(0, 12),
    ascii_only=st.booleans(),
)
def test_it_never_overflows_the_terminal(width, height, running, ascii_only):
    shown = console(width, height, "ascii" if ascii_only else "utf-8")
    lines = block(picture(running), shown)
    assert len(lines) < height or height == 1
    assert all(line.cell_len <= width for line in lines)
    if ascii_only:
        assert all(line.plain.isascii() for line in lines)


@pytest.mark.parametrize(("width", "height"), [(40, 10), (80, 10)])
def test_few_rows_keep_the_best_the_counts_and_some_workers(width, height):
    shown = text(picture(9), width=width, height=height)
    assert "0.9350 ± 0.0112" in shown
    assert "10 scored" in shown
    assert "#20" in shown
    assert "more, 1 idle in all" in shown


def test_forty_columns_are_enough_for_the_numbers_of_a_trial():
    row = next(row for row in text(picture(), width=40).splitlines() if "#21" in row)
    assert "12/40 0.7000" in row
    assert row[-1] in "▁▂▃▄▅▆▇█"


def test_rays_workers_are_named_by_their_node():
    shown = text(picture(node="gpu7/ab12cd"), width=120)
    assert "3 on gpu7/ab12cd" in shown
    assert "gpu7/ab12cd 0 cpu #20" in shown


def test_trials_that_wait_for_room_and_those_of_others_are_rows():
    shown = picture(0, idle=0)
    crew = (
        WorkerNow(name="", doing="waits", trial=4),
        WorkerNow(name="process 12", doing="trains", where="far", trial=5, own=False),
    )
    shown.told(Status(done=0, running=1, workers=0, crew=crew))
    rows = text(shown, width=80).splitlines()
    assert any("#4 waiting for room" in row for row in rows)
    assert any("far process 12" in row and "#5" in row for row in rows)
    assert any("1 trial run by other processes" in row for row in rows)


def test_before_and_after_the_trials_it_says_what_is_done():
    shown = Picture(lambda: 0.0)
    shown.phase("loading the backbone and the data")
    assert "loading the backbone and the data …" in text(shown)
    shown.began(BEGINNING)
    shown.told(STATUS)
    shown.retrains(
        RetrainingNow(
            name="lp_ft",
            subset=Subset(),
            seed=1,
            seeds=3,
            done=10,
            total=12,
            epoch=3,
            epochs=8,
        )
    )
    assert "retraining LP-FT, 2 of 3, epoch 3 of 8  10/12  ━" in text(shown)


def test_a_sampler_shows_its_trials_out_of_the_budget():
    shown = Picture(lambda: 0.0)
    shown.began(BEGINNING)
    shown.phase("searching")
    budget = (Allowance(name="trials", limit=60, used=14),)
    shown.told(Status(done=12, running=2, workers=2, phase="TPE", budget=budget))
    assert "TPE  12 of 60 trials  ━" in text(shown)


def test_of_a_list_only_what_the_budget_allows_is_counted():
    shown = Picture(lambda: 0.0)
    shown.began(BEGINNING)
    budget = (Allowance(name="trials", limit=10, used=4),)
    shown.told(
        Status(done=3, running=1, workers=2, phase="random subsets", candidates=128, budget=budget)
    )
    assert "random subsets  3 of 10 trials  ━" in text(shown)


def test_several_values_have_a_front():
    shown = picture(0)
    shown.told(Status(done=12, running=0, workers=2, front=4))
    assert "4 subsets that no other beats in every value" in text(shown)


def test_what_was_given_away_since_the_last_status_is_there():
    shown = picture(1)
    shown.started(proposal(30))
    assert "#30 {layer2.0}" in text(shown)
