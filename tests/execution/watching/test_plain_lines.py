import io
import threading
import time

from rich.console import Console

from layersearch.execution.standing import RetrainingNow
from layersearch.execution.watching import PlainLines
from layersearch.execution.watching.plain_lines import about, heartbeat, standing
from layersearch.space import Subset
from tests.execution.watching.pictures import BEGINNING, picture


def test_a_line_says_where_the_search_stands():
    assert standing(picture()).startswith(
        "round 2: what to add to {layer3.1} · 0 trials done · 2 running · 4 to begin · "
    )
    assert "left in this round" in standing(picture())


def test_the_first_line_says_what_runs():
    assert about(BEGINNING) == (
        "digits: greedy over 7 units of resnet on digits, 200 samples, 10 classes"
    )


def test_a_sign_of_life_says_what_trains():
    assert heartbeat(picture()).startswith(
        "trial 20 epoch 11 of 40 0.6600, trial 21 epoch 12 of 40 0.7000 · round 2"
    )
    assert "16 more" in heartbeat(picture(20))


def test_a_sign_of_life_says_what_is_retrained():
    shown = picture(0)
    shown.retrains(
        RetrainingNow(
            name="linear_probe",
            subset=Subset(),
            seed=1,
            seeds=3,
            done=4,
            total=12,
            epoch=2,
            epochs=8,
        )
    )
    assert heartbeat(shown).startswith("linear probe, retraining 2 of 3: epoch 2 of 8")


def test_long_silences_are_broken():
    said, shown = io.StringIO(), picture()
    shown.clock = time.monotonic
    lines = PlainLines(Console(file=said), shown, threading.RLock(), heartbeat=0.05)
    lines.start()
    deadline = time.monotonic() + 10
    while "trial 20" not in said.getvalue() and time.monotonic() < deadline:
        time.sleep(0.02)
    lines.stop()
    assert said.getvalue().startswith("… trial 20 epoch 11 of 40")
