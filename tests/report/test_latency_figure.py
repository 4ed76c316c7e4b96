from layersearch.objectives.latency import HeldOut, LatencyTable, StageTiming, Timing
from layersearch.report.drawing import figure_bytes
from layersearch.report.latency_figure import latency_figure


def timing(median):
    return Timing(median=median, spread=0.1, repeats=5)


def table(held_out=()):
    stage = StageTiming(alone=timing(1), frozen=timing(1), tuned=timing(2))
    return LatencyTable(
        backbone="little",
        architecture="abc",
        device="cpu",
        batch_size=1,
        precision="fp32",
        threads=1,
        torch="2.6",
        traced=True,
        original=timing(3.0),
        overhead=0.0,
        stages=(stage, stage, stage),
        units={"a": (0,), "b": (1,)},
        held_out=held_out,
    )


def test_lines_are_what_tuning_one_unit_and_all_after_it_adds():
    (axes,) = latency_figure(table(), ["a", "b"]).axes
    one, onwards, whole = axes.get_lines()
    assert list(one.get_ydata()) == [2 + 1 + 2, 2 + 2]
    assert list(onwards.get_ydata()) == [2 + 2 + 2, 2 + 2]
    assert set(whole.get_ydata()) == {3.0}


def test_held_out_subsets_stand_at_their_first_unit():
    held = HeldOut(subset=("b",), predicted=4.0, measured=4.5, spread=0.1)
    figure = latency_figure(table((held,)), ["a", "b"], title="little")
    crosses = figure.axes[0].get_lines()[-1]
    assert (list(crosses.get_xdata()), list(crosses.get_ydata())) == ([1], [4.5])
    assert b"timed whole" in figure_bytes(figure, "svg")
