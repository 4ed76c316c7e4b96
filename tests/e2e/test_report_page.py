"""The page that a real search leaves behind, in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from layersearch.cli import main
from layersearch.errors import SearchError
from layersearch.space import Subset
from tests.browser import DESKTOP, PHONE, chromium, visit
from tests.e2e.small import UNITS, search

SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"strategy": {"name": "greedy", "enqueue": ["linear_probe", "full_finetune"]}},
    "tpe": {"strategy": "tpe", "trials": 8},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


def test_a_search_ends_with_its_page_and_figures(here: Path) -> None:
    result = search("paged", strategy="greedy")
    html = (result.folder / "report.html").read_text()
    assert "Tune " in html[: html.index("</h1>")]
    assert "What caching and pruning saved" in html
    assert (result.folder / "figures" / "profile.svg").is_file()
    assert (result.folder / "figures" / "path_forward.png").is_file()


def test_a_finished_search_that_is_run_again_leaves_its_page_alone(here: Path) -> None:
    page = search("paged", strategy="greedy").folder / "report.html"
    before = page.stat().st_mtime_ns
    search("paged", strategy="greedy")
    assert page.stat().st_mtime_ns == before
    page.unlink()
    search("paged", strategy="greedy")
    assert page.is_file()


def test_a_search_that_fails_reports_why(here: Path) -> None:
    def broken(outcome: Any) -> float:
        raise ValueError(f"no score for <{outcome.subset}>")

    with pytest.raises(SearchError):
        search("failing", strategy="greedy", metric=broken)
    html = (here / "runs" / "failing" / "report.html").read_text()
    assert "No subset has a score" in html
    assert "ValueError: no score for &lt;{}&gt;" in html


def test_the_command_writes_the_page_of_a_search_that_has_not_ended(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = search("early", strategy="greedy").folder
    (folder / "result.json").unlink()
    (folder / "report.html").unlink()
    assert main(["report", "early"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Best so far of ")
    assert str(Path("runs") / "early" / "report.html") in said
    assert (folder / "report.html").is_file()


def test_a_page_trains_nothing_and_changes_nothing(here: Path) -> None:
    folder = search("still", strategy="greedy").folder
    study = optuna.load_study(study_name="still", storage=f"sqlite:///{folder}/study.db")
    before = [(t.number, t.state, t.values, t.user_attrs) for t in study.trials]
    assert main(["report", "still"]) == 0
    assert [(t.number, t.state, t.values, t.user_attrs) for t in study.trials] == before


@pytest.mark.browser
@pytest.mark.parametrize("name", list(SEARCHES))
def test_the_page_of_a_real_search_looks_right(
    browser: Any, here: Path, name: str, tmp_path: Path
) -> None:
    arguments = dict(SEARCHES[name])
    result = search(name, **arguments)
    for size in (DESKTOP, PHONE):
        with visit(browser, (here / result.folder / "report.html").as_uri(), size) as seen:
            seen.screenshot(f"search-{name}-{size[0]}", tmp_path)
            assert (seen.complaints, seen.requests) == ([], [])
            assert seen.overflow <= 0
            assert seen.cut_off == []
            assert seen.broken_images == []
            assert str(Subset(result.subset)) in seen.text or not result.subset
            assert "Against the baselines" in seen.text
            for unit in UNITS:
                assert unit in seen.text
