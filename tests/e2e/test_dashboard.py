"""`layersearch dashboard` on real searches, in a real browser: what people see of them there."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from layersearch.cli import main
from layersearch.study import open_storage
from tests.browser import DESKTOP, PHONE, Visit, chromium, visit
from tests.e2e.conftest import environment
from tests.e2e.small import UNITS, search, trials_of
from tests.report.page.made import greedy_trials, study, trial

pytest.importorskip("optuna_dashboard", reason="needs optuna-dashboard")
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
LONG = {"epochs": 3}
PRUNER = {"name": "median", "options": {"n_startup_trials": 2, "n_warmup_steps": 0}}
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {
        "strategy": {
            "name": "greedy",
            "look_epochs": 1,
            "enqueue": ["linear_probe", "full_finetune"],
        }
    },
    "tpe": {"strategy": "tpe", "trials": 8, "pruner": PRUNER},
}
RAY: dict[str, Any] = {
    "strategy": "exhaustive",
    "recipe": {"epochs": 4},
    "execution": {
        "runner": "ray",
        "workers": 2,
        "scheduler": {"name": "asha", "grace_period": 1, "reduction_factor": 2},
    },
}


@contextmanager
def served(study_: str, *words: str, folder: Path) -> Iterator[str]:
    """The address of the study in a dashboard that runs as a user starts it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "layersearch", "dashboard", study_, "--port", "0", *words],
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr:
        try:
            said = process.stderr.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+/dashboard/studies/\d+", said)
            assert found, said + (process.stderr.read() if process.poll() else "")
            yield found.group(0)
        finally:
            process.terminate()
            process.wait()


def asked(address: str) -> Any:
    """What the dashboard's pages are told of the study."""
    place = address.replace("/dashboard/", "/api/")
    with urllib.request.urlopen(place, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with finished searches, greedy and TPE."""
    folder = tmp_path_factory.mktemp("searched")
    before = Path.cwd()
    os.chdir(folder)
    try:
        for name, arguments in SEARCHES.items():
            search(name, recipe=LONG, **arguments)
    finally:
        os.chdir(before)
    return folder


def loaded(seen: Visit, text: str) -> None:
    """Waits until the page, which is made by scripts, shows this."""
    seen.page.get_by_text(text).first.wait_for(timeout=60_000)


def whole(address: str) -> int:
    """How many trials ran to their end."""
    return sum(t["state"] == "Complete" for t in asked(address)["trials"])


def look(browser: Any, address: str, size: tuple[int, int], name: str, tmp_path: Path) -> None:
    """What must be true of the dashboard of every search."""
    with visit(browser, address, size) as seen:
        loaded(seen, "Hyperparameter Importance")
        loaded(seen, "Best Trial (number=")
        if whole(address) > 1:  # importances are of trials that ran to their end
            seen.page.locator(".js-plotly-plot .ytick", has_text="second").first.wait_for(
                timeout=60_000
            )
        seen.screenshot(f"dashboard-{name}-{size[0]}", tmp_path)
        for unit in UNITS:
            assert unit in seen.text  # importances name units
        assert "accuracy" in seen.text  # and values their metric
        assert "report.html" in seen.text
        assert seen.complaints == []
    with visit(browser, f"{address}/note", size) as seen:
        loaded(seen, "The report page, with everything")
        seen.page.wait_for_function(
            "[...document.images].length > 0 && [...document.images].every(i => i.naturalWidth)"
        )
        seen.screenshot(f"dashboard-note-{name}-{size[0]}", tmp_path)
        assert "on the test split" in seen.text
        assert "is the best trial feasible? the search has no limits" in seen.text
        assert "layersearch search search.yaml" in seen.text
        assert seen.overflow <= 0
        assert seen.complaints == []
        report = seen.page.get_by_text("The report page, with everything").get_attribute("href")
    with visit(browser, address.split("/dashboard", maxsplit=1)[0] + str(report), size) as seen:
        assert seen.page.get_by_role("heading", name="Against the baselines").is_visible()
        assert seen.overflow <= 0
        assert seen.complaints == []


@pytest.mark.slow
@pytest.mark.browser
@SIZES
@pytest.mark.parametrize("name", list(SEARCHES))
def test_a_search_is_shown_with_its_answer_figures_and_units(
    browser: Any, place: Path, name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    with served(name, folder=place) as address:
        assert whole(address) > 1
        look(browser, address, size, name, tmp_path)


@pytest.mark.slow
@pytest.mark.browser
@SIZES
def test_trials_say_in_words_what_they_tuned_and_why_they_ended(
    browser: Any, place: Path, size: tuple[int, int], tmp_path: Path
) -> None:
    pruned = [t for t in trials_of(place / "runs" / "tpe") if t.state.name == "PRUNED"]
    assert pruned
    number = pruned[0].number
    with served("tpe", folder=place) as address:
        with visit(browser, f"{address}/trials?numbers={number}", size) as seen:
            loaded(seen, f"Trial {number} (trial_id=")
            loaded(seen, "the report page")
            seen.screenshot(f"dashboard-trial-{size[0]}", tmp_path)
            assert "Pruned" in seen.text
            assert "pruned after epoch" in seen.text
            assert "Tunes" in seen.text
            assert "Intermediate Values" in seen.text
            assert "tunes" in seen.text  # the attribute, for all trials
            assert seen.complaints == []
        told = asked(address)
    shown = next(t for t in told["trials"] if t["number"] == number)
    assert shown["state"] == "Pruned"
    assert shown["intermediate_values"]
    assert told["objective_names"] == ["accuracy"]


@pytest.mark.slow
def test_greedys_trials_know_their_round(place: Path) -> None:
    found = trials_of(place / "runs" / "greedy")
    looks = [t for t in found if "look" in t.user_attrs]  # finalists are of no round
    singles = [t for t in looks if len(t.user_attrs["subset"]) == 1]
    assert singles
    assert {t.user_attrs["round"] for t in singles} == {1}
    assert all(t.user_attrs["tunes"].endswith("and a new head") for t in singles)
    with served("greedy", folder=place) as address:
        notes = {t["number"]: t["note"]["body"] for t in asked(address)["trials"]}
    assert all("round 1: `+ " in notes[t.number] for t in singles)


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.browser
@pytest.mark.filterwarnings("ignore::FutureWarning:ray")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_search_by_ray_is_shown_alike(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    if ray.is_initialized():
        pytest.skip("another test's Ray is running in this process: run this file by itself")
    monkeypatch.chdir(tmp_path)
    search("by-ray", **RAY)
    with served("by-ray", folder=tmp_path) as address:
        for size in (DESKTOP, PHONE):  # who arrives first decides how many the scheduler lets end
            look(browser, address, size, "ray", tmp_path)
        told = asked(address)
    assert {t["state"] for t in told["trials"]} == {"Complete", "Pruned"}
    assert all(t["intermediate_values"] for t in told["trials"])


def test_it_shows_studies_in_every_storage_and_what_happens_meanwhile(
    storage_url: str, tmp_path: Path
) -> None:
    made = study(greedy_trials(), storage=open_storage(storage_url))
    with served("made", "--storage", storage_url, folder=tmp_path) as address:
        told = asked(address)
        assert len(told["trials"]) == 11
        assert "Best so far of 11 subsets scored: {layer1, layer2}" in told["note"]["body"]
        assert {a["filename"] for a in told["artifacts"]} == {"search.yaml"}
        made.add_trial(trial(["layer3", "stem"]))
        end = time.monotonic() + 60  # it looks again after some seconds
        while len(asked(address)["trials"]) < 12 and time.monotonic() < end:
            time.sleep(0.5)
        assert len(asked(address)["trials"]) == 12


@pytest.mark.browser
def test_nothing_in_a_note_runs_or_becomes_an_element(browser: Any, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script> [a](javascript:alert(3))"
    made = study(
        [trial([hostile], units=(hostile, "b"), reason=hostile)],
        units=(hostile, "b"),
        metric=hostile,
        storage=open_storage(f"sqlite:///{tmp_path}/study.db"),
    )
    url = f"sqlite:///{tmp_path}/study.db"
    with served(made.study_name, "--storage", url, folder=tmp_path) as address:
        for page in ("note", "trials"):
            with visit(browser, f"{address}/{page}") as seen:
                loaded(seen, "alert(1)")
                assert "dialog" not in seen.complaints
                assert seen.page.locator("img[src='x']").count() == 0
                assert seen.page.locator("a[href^='javascript']").count() == 0


def test_a_study_that_is_not_there_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["dashboard", "nobody"]) == 1
    said = capsys.readouterr().err
    assert "nobody" in said
    assert "Traceback" not in said


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "made").mkdir(parents=True)
    study(greedy_trials(), storage=f"sqlite:///{tmp_path}/runs/made/study.db")
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    assert main(["dashboard", "made"]) == 1
    assert "pip install 'layersearch[dashboard]'" in capsys.readouterr().err
