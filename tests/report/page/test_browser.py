"""The page in a real browser: what people see, at a desk and on a phone."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from layersearch.report.page import write_page
from tests.browser import DESKTOP, PHONE, chromium, visit
from tests.report.page.made import RESULT, UNITS, greedy_trials, study, trial
from tests.report.page.test_injection import HOSTILE

pytestmark = pytest.mark.browser
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The page of a finished greedy search."""
    folder = tmp_path_factory.mktemp("finished")
    return write_page(study(greedy_trials()), folder, result=copy.deepcopy(RESULT))


def unblemished(seen):
    """What must be true of every page."""
    assert seen.complaints == []
    assert seen.requests == []
    assert seen.overflow <= 0
    assert seen.cut_off == []
    assert seen.broken_images == []


@SIZES
def test_a_finished_search_is_shown_whole(browser, finished, size, tmp_path):
    with visit(browser, finished.as_uri(), size) as seen:
        seen.screenshot(f"greedy-{size[0]}", tmp_path)
        unblemished(seen)
        assert "Tune {layer1, layer2} and a new head: 87.0 ± 0.2% accuracy" in seen.text
        for title in ("Against the baselines", "The finetuning profile", "The path of greedy",
                      "How sensitive the choice is to ε", "Learning curves"):  # fmt: skip
            assert seen.page.get_by_role("heading", name=title, exact=True).is_visible()
        assert seen.page.locator("figure img").count() == 8
        assert seen.page.locator("details[open]").count() == 0


@SIZES
def test_folded_tables_open_within_the_page(browser, finished, size):
    with visit(browser, finished.as_uri(), size) as seen:
        folded = seen.page.locator("details")
        for number in range(folded.count()):
            folded.nth(number).locator("summary").click()
        assert seen.page.get_by_text('"name": "greedy"').is_visible()
        unblemished(seen)


def test_figures_are_as_wide_as_the_screen_allows_and_phones_get_their_own(browser, finished):
    widths = {}
    for size in (DESKTOP, PHONE):
        with visit(browser, finished.as_uri(), size) as seen:
            shown = seen.page.locator("#profile img")
            widths[size] = shown.evaluate("e => [e.clientWidth, e.naturalWidth]")
    assert widths[DESKTOP][0] == pytest.approx(widths[DESKTOP][1], rel=0.01)
    assert widths[PHONE][0] <= PHONE[0]
    # So letters of 9.5 points do not shrink to less than 7.
    assert widths[PHONE][0] / widths[PHONE][1] > 0.75


@SIZES
@pytest.mark.parametrize("what", ["empty", "one", "failed", "pruned", "objectives"])
def test_studies_with_little_in_them_are_shown_too(browser, page, what, size, tmp_path):
    from optuna.trial import TrialState

    why = {"reason": "ValueError: " + "x" * 300, "failure": "ValueError\n" + "y" * 500}
    trials: list[Any] = {
        "empty": [],
        "one": [trial(["layer1"])],
        "failed": [trial([u], state=TrialState.FAIL, epochs=1, **why) for u in UNITS],
        "pruned": [trial([u], state=TrialState.PRUNED, epochs=3, **why) for u in UNITS],
        "objectives": [trial([u], score=[0.8, float(i)]) for i, u in enumerate(UNITS)],
    }[what]
    several = what == "objectives"
    made = study(
        trials,
        directions=("maximize", "minimize") if several else ("maximize",),
        metric=["accuracy", "latency"] if several else "accuracy",
    )
    with visit(browser, page(made).path.as_uri(), size) as seen:
        seen.screenshot(f"{what}-{size[0]}", tmp_path)
        unblemished(seen)
        said = {
            "empty": "Nothing has been tried yet.",
            "one": "Best so far of 1 subset scored",
            "failed": "all 4 trials failed",
            "pruned": "all 4 trials were pruned",
            "objectives": "The objectives against each other",
        }
        assert said[what] in seen.text


@SIZES
def test_hostile_names_run_nothing_and_break_nothing(browser, page, size, tmp_path):
    trials = [trial((), units=HOSTILE), *(trial([unit], units=HOSTILE) for unit in HOSTILE)]
    trials += [trial([HOSTILE[0], unit], units=HOSTILE) for unit in HOSTILE[1:]]
    written = page(study(trials, units=HOSTILE))
    with visit(browser, written.path.as_uri(), size) as seen:
        seen.screenshot(f"hostile-{size[0]}", tmp_path)
        unblemished(seen)
        assert seen.page.evaluate("document.scripts.length") == 0
        assert seen.page.title() == "made: what the search found"


def test_the_policy_stops_a_script_that_would_get_in(browser, finished, tmp_path):
    spoiled = tmp_path / "spoiled.html"
    spoiled.write_text(
        finished.read_text().replace("<main>", "<main><script>document.title = 'run'</script>"
                             "<img src='http://127.0.0.1:9/x.png'>"))  # fmt: skip
    with visit(browser, spoiled.as_uri()) as seen:
        assert seen.page.title() == "made: what the search found"
        assert len(seen.complaints) == 2
        assert all("Content Security Policy" in complaint for complaint in seen.complaints)


def test_print_shows_what_is_folded(browser, finished, tmp_path):
    with visit(browser, finished.as_uri()) as seen:
        seen.page.emulate_media(media="print")
        assert not seen.page.locator("nav").is_visible()
        assert seen.page.get_by_text('"name": "greedy"').bounding_box()["height"] > 0
        seen.page.pdf(path=str(tmp_path / "page.pdf"))
        assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
