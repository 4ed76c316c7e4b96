import itertools
import re

import numpy as np
import pytest

from layersearch.errors import LayersearchError
from layersearch.report import Scored, profile_figure, save_figure
from layersearch.space.subset import Subset
from tests.disks import fill

UNITS = ["stem", "layer1.0", "layer1.1", "layer2.0", "layer2.1"]


def scored(*, singles=True, runs=True, pairs=False, baselines=True):
    scores = {}
    places = range(len(UNITS))
    if baselines:
        scores[Subset()] = Scored(mean=0.80, stderr=0.01)
        scores[Subset(UNITS)] = Scored(mean=0.70, stderr=None)
    for length in (1, 2, 3):
        if (singles and length == 1) or (runs and length > 1):
            for i in range(len(UNITS) - length + 1):
                scores[Subset(UNITS[i : i + length])] = Scored(mean=0.8 + 0.01 * i, stderr=0.01)
    if pairs:
        for i, j in itertools.combinations(places, 2):
            scores[Subset([UNITS[i], UNITS[j]])] = Scored(mean=0.8 + 0.01 * (i - j), stderr=0.01)
    return scores


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_units_runs_and_baselines_are_drawn_with_their_errors():
    (axes,) = profile_figure(UNITS, scored()).axes
    assert labels(axes) == [
        "linear probe",
        "full finetuning",
        "one unit",
        "two in a row",
        "three in a row",
    ]
    lines = [container.lines for container in axes.containers]
    points = {len(line[0].get_xdata()): line[0] for line in lines}
    assert list(points) == [5, 4, 3]
    assert points[5].get_ydata().tolist() == pytest.approx([80, 81, 82, 83, 84])
    low, high = lines[0][2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((79, 81))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == UNITS


def test_series_differ_by_marker_and_dash_not_by_colour_alone():
    (axes,) = profile_figure(UNITS, scored()).axes
    drawn = [container.lines[0] for container in axes.containers]
    for attribute in ("get_marker", "get_linestyle", "get_color"):
        assert len({getattr(line, attribute)() for line in drawn}) == 3


def test_no_error_bars_meet():
    (axes,) = profile_figure(UNITS, scored()).axes
    places = np.concatenate([container.lines[0].get_xdata() for container in axes.containers])
    assert np.diff(np.sort(places)).min() > 0.1


def test_pairs_make_a_heat_map_with_the_best_framed():
    figure = profile_figure(UNITS, scored(pairs=True))
    _, below = figure.axes
    grid = below.images[0].get_array()
    assert grid[4, 0] == pytest.approx(76)
    assert grid.mask[0, 4]
    (frame,) = below.patches
    assert frame.get_xy() == (3.5, 3.5)  # the last single unit, 84%, is above all pairs


def test_the_least_loss_is_framed():
    figure = profile_figure(UNITS, scored(pairs=True), metric="log_loss", higher_is_better=False)
    assert figure.axes[1].patches[0].get_xy() == (-0.5, 3.5)
    assert "%" not in figure.axes[0].get_ylabel()


def test_a_large_map_gets_a_colour_bar_instead_of_numbers():
    units = [f"block{i}" for i in range(25)]
    scores = {
        Subset(pair): Scored(mean=0.5 + 0.001 * i)
        for i, pair in enumerate(itertools.combinations(units, 2))
    }
    figure = profile_figure(units, scores)
    assert not figure.axes[1].texts
    assert len(figure.axes[1].child_axes) == 1


def test_neighbours_alone_make_no_heat_map():
    assert len(profile_figure(UNITS, scored(singles=False)).axes) == 1


def test_all_units_count_as_full_finetuning_never_as_a_run():
    units = UNITS[:3]
    scores = {Subset(units): Scored(mean=0.9), Subset(units[:1]): Scored(mean=0.8)}
    (axes,) = profile_figure(units, scores).axes
    assert labels(axes) == ["full finetuning", "one unit"]


def test_nothing_to_draw_is_refused():
    with pytest.raises(LayersearchError, match="no single unit, run or pair"):
        profile_figure(UNITS, scored(singles=False, runs=False))


def overlapping(figure, texts):
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return [(a, b) for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]


@pytest.mark.parametrize("pairs", [False, True])
def test_no_names_titles_or_legend_entries_overlap(pairs):
    short = profile_figure(UNITS, scored(pairs=pairs), title="a title of some length: profile")
    texts = [*short.texts, *(axes.xaxis.label for axes in short.axes)]
    for axes in short.axes:
        texts += [*axes.get_yticklabels(), axes.title]
        if axes.get_legend():
            texts += axes.get_legend().get_texts()
    texts += short.axes[0].get_xticklabels()
    assert overlapping(short, texts) == []


def test_everything_lies_within_the_page():
    units = [f"features.{i}.block.conv" for i in range(17)]
    scores = {Subset([unit]): Scored(mean=0.8, stderr=0.01) for unit in units}
    scores[Subset()] = Scored(mean=0.7)
    figure = profile_figure(units, scores, title="long names")
    figure.canvas.draw()
    page = figure.bbox
    box = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert box.x0 >= page.x0 - 1
    assert box.x1 <= page.x1 + 1
    assert box.y0 >= page.y0 - 1
    assert box.y1 <= page.y1 + 1


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_same_figure_is_the_same_file(tmp_path, suffix, start):
    first, second = (
        save_figure(profile_figure(UNITS, scored()), tmp_path / f"{i}.{suffix}").read_bytes()
        for i in range(2)
    )
    assert first.startswith(start)
    assert first == second


def test_names_in_an_svg_are_text(tmp_path):
    path = save_figure(profile_figure(UNITS, scored(), title="<script>"), tmp_path / "profile.svg")
    content = path.read_text()
    assert re.search(r">\s*layer1.0\s*<", content)
    assert "<script>" not in content


def test_a_name_with_dollar_signs_is_no_formula(tmp_path):
    path = save_figure(profile_figure(UNITS, scored(), title="$5 and $^_"), tmp_path / "a.svg")
    assert "$5 and $^_" in path.read_text()


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(LayersearchError, match=r"ends in .png, .svg, .pdf \(got 'bmp'\)"):
        save_figure(profile_figure(UNITS, scored()), tmp_path / "profile.bmp")


def test_on_a_full_disk_the_previous_figure_stays(small_disk):
    path = save_figure(profile_figure(UNITS, scored()), small_disk / "profile.svg")
    before = path.read_bytes()
    fill(small_disk)
    with pytest.raises(LayersearchError, match=r"profile\.svg: cannot be written.*free space"):
        save_figure(profile_figure(UNITS, scored(), title="other"), path)
    assert path.read_bytes() == before


def test_a_baseline_far_from_all_units_is_said_and_not_drawn():
    far = {**scored(), Subset(UNITS): Scored(mean=0.1, stderr=0.01)}
    (axes,) = profile_figure(UNITS, far).axes
    assert "full finetuning: 10.0 ± 1.0%, off the scale" in labels(axes)
    assert axes.get_ylim()[0] > 40
