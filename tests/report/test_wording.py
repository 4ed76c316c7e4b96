import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.report.wording import Scale, count, duration, is_share, listed, plural, times


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (41, "41 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@given(st.floats(0, 1e7))
def test_no_duration_has_sixty_of_anything(seconds):
    assert re.search(r"\b60 (s|min)", duration(seconds)) is None  # hours go beyond


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (999.9, "1 kB"), (18432, "18.4 kB"), (1.24e15, "1.24 PB")],
)
def test_counts(value, text):
    assert count(value, "B") == text


def test_shares_are_read_in_per_cent_and_other_metrics_as_they_are():
    assert is_share("top5_accuracy")
    assert not is_share("log_loss")
    assert not is_share("mine:accuracy")
    assert Scale("accuracy").value(0.893, 0.0021) == "89.3 ± 0.2%"
    assert Scale("accuracy").value(0.893, 0.0004) == "89.3 ± 0.04%"
    assert Scale("accuracy").value(0.893, float("nan")) == "89.3%"
    assert Scale("log_loss").value(0.41234, 0.002) == "0.4123 ± 0.0020"
    assert Scale("accuracy").difference(-0.014) == "\N{MINUS SIGN}1.4 points"


def test_words():
    assert plural(1, "training") == "1 training"
    assert plural(1023, "training") == "1,023 trainings"
    assert times(41.3) == "41 times"
    assert times(0.832) == "0.83 times"
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
