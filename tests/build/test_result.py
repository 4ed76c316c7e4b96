"""What a program and a notebook get of a search, from a study made by hand."""

import builtins
import copy
from html.parser import HTMLParser
from io import StringIO

import pytest
from matplotlib.figure import Figure
from optuna.trial import TrialState
from rich.console import Console

from layersearch.build import Profile, Result
from layersearch.errors import LayersearchError, StudyError
from layersearch.report import write_result
from layersearch.space import Subset
from tests.report.page.made import RESULT, UNITS, greedy_trials, study, trial


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a finished greedy search."""
    place = tmp_path_factory.mktemp("runs") / "made"
    place.mkdir()
    trials = [*greedy_trials(), trial(["stem"], state=TrialState.FAIL, epochs=1, reason="why")]
    study(trials, storage=f"sqlite:///{place}/study.db")
    values = copy.deepcopy(RESULT)
    values["rounds"] = [
        {"base": [], "subset": ["layer2"], "score": 0.86, "gain": 0.06, "accepted": True}
    ]
    write_result(place / "result.json", values)
    write_result(place / "profile.json", {**values, "strategy": "profile", "test": {}})
    return place


@pytest.fixture(scope="module")
def result(folder):
    return Result.load(folder)


def test_a_result_draws_every_figure_of_the_page_by_name(result):
    assert {"profile", "path_forward", "curves", "baselines"} <= set(result.figures)
    assert all(isinstance(result.plot(name), Figure) for name in ("baselines", "importance"))
    assert result.plot().axes[0].get_xlabel() == "round"  # greedy's path
    with pytest.raises(LayersearchError, match=r"'profil' is no figure.*did you mean 'profile'"):
        result.plot("profil")


def test_trials_are_a_table_a_row_each(result):
    table = result.to_frame()
    assert list(table["trial"]) == list(range(12))
    assert table.loc[7, "subset"] == "{layer1, layer2}"
    assert table.loc[7, "accuracy"] == pytest.approx(0.88)
    assert table.loc[11, "state"] == "failed"
    assert table.loc[11, "reason"] == "why"
    assert table["layer2"].sum() == 7  # one boolean column a unit
    assert "correct" not in table


def test_profile_rounds_and_tests_are_tables_too(result):
    profile = result.to_frame("profile")
    assert list(profile["unit"]) == list(UNITS)
    assert profile["accuracy"].idxmax() == 2
    assert result.to_frame("rounds").loc[0, "subset"] == "{layer2}"
    assert set(result.to_frame("tests")["what"]) == {"chosen", "linear_probe", "full_finetune"}
    assert result.to_frame("front").empty
    with pytest.raises(LayersearchError, match="no table 'trial'; did you mean 'trials'"):
        result.to_frame("trial")


def test_without_pandas_one_clear_error_says_what_to_install(result, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LayersearchError, match=r"pip install 'layersearch\[pandas\]'"):
        result.to_frame()


def test_trials_and_rounds_are_at_hand(result):
    assert len(result.trials) == 12
    assert result.trials.scores[Subset(["layer1", "layer2"])].score == pytest.approx(0.88)
    assert result.rounds[0]["accepted"]
    assert list(result.front) == []


def test_a_profile_is_part_of_every_result(result):
    profile = result.profile
    assert isinstance(profile, Profile)
    assert profile.units == UNITS
    assert profile.scores[Subset(["layer2"])].mean == pytest.approx(0.86)
    assert len(profile.plot().axes) >= 2  # the lines and the heat map
    assert list(profile.to_frame()["unit"]) == list(UNITS)


def test_a_profile_is_loaded_from_its_own_file(folder):
    assert Profile.load(folder).values["strategy"] == "profile"


class Elements(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.words = set(), ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.words += data


def test_a_notebook_shows_the_answer_the_baselines_and_a_figure(result):
    shown = Elements(result._repr_html_())
    assert "Tune {layer1, layer2} and a new head: 87.0 ± 0.2% accuracy" in shown.words
    assert "chosen is better" in shown.words
    assert "img" in shown.tags
    assert "The finetuning profile of made" in Elements(result.profile._repr_html_()).words


def test_nothing_of_a_study_is_markup_in_a_notebook(tmp_path):
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    place = tmp_path / "made"
    place.mkdir()
    study([trial([hostile])], units=(hostile, "b"), storage=f"sqlite:///{place}/study.db")
    values = {**copy.deepcopy(RESULT), "ending": hostile, "subset": [hostile], "test": {}}
    shown = Elements(Result(values=values, folder=place)._repr_html_())
    assert shown.tags <= {"div", "p", "strong", "table", "tr", "td", "img"}
    assert hostile in shown.words


def test_a_terminal_shows_what_the_program_prints(result):
    console = Console(width=100, record=True, file=StringIO())
    console.print(result)
    assert "made: what the greedy search found" in console.export_text()
    assert repr(result).startswith("Result('made', {layer1, layer2}, score=0.88")


def test_without_its_study_a_result_still_shows_itself_and_says_what_is_missing(tmp_path):
    lost = Result(values=copy.deepcopy(RESULT), folder=tmp_path / "made")
    assert "Result(" in lost._repr_html_()
    with pytest.raises(StudyError):
        lost.plot()


def test_a_password_that_is_not_written_down_is_asked_for(tmp_path):
    values = copy.deepcopy(RESULT)
    values["config"]["study"] = {"storage": "postgresql://me:***@db/studies"}
    with pytest.raises(StudyError, match=r"give the whole address: Result\.load"):
        _ = Result(values=values, folder=tmp_path / "made").trials
