from hypothesis import given
from hypothesis import strategies as st

from layersearch.execution.watching.sparkline import BARS, PLAIN_BARS, sparkline


def test_the_lowest_and_the_highest_score_have_the_lowest_and_the_highest_bar():
    assert sparkline([[0.0, 0.5, 1.0]], low=0.0, high=1.0, width=9) == "▁▅█"


def test_curves_share_the_scale_that_is_given():
    assert sparkline([[0.5]], low=0.0, high=1.0, width=9) == "▅"
    assert sparkline([[0.5]], low=0.5, high=1.0, width=9) == "▁"


def test_folds_stand_apart():
    assert sparkline([[0, 1], [1]], low=0, high=1, width=9) == "▁█ █"


def test_more_epochs_than_bars_are_averaged():
    assert sparkline([[0, 0, 1, 1]], low=0, high=1, width=2) == "▁█"


def test_the_first_of_too_many_folds_are_left_out():
    shown = sparkline([[0.0] * 8, *[[1.0] * 8] * 4], low=0, high=1, width=12)
    assert "▁" not in shown
    assert shown.count(" ") == 2


def test_equal_scores_are_in_the_middle():
    assert sparkline([[3.0, 3.0]], low=3.0, high=3.0, width=5) == "▅▅"


def test_terminals_without_unicode_have_bars_too():
    assert sparkline([[0.0, 1.0]], low=0, high=1, width=5, plain=True) == "_@"


@given(
    folds=st.lists(st.lists(st.floats(-1e9, 1e9), max_size=50), max_size=12),
    width=st.integers(0, 80),
)
def test_it_fits_whatever_comes(folds, width):
    scores = [score for fold in folds for score in fold]
    low, high = (min(scores), max(scores)) if scores else (0.0, 0.0)
    shown = sparkline(folds, low=low, high=high, width=width)
    assert len(shown) <= width
    assert set(shown) <= {*BARS, " "}
    assert len(BARS) == len(PLAIN_BARS)
