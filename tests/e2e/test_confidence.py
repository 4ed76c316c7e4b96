"""Searches that say how sure they are: plain ones, races, and races that end before their end."""

import json
from pathlib import Path
from typing import Any

import pytest

import layersearch
from layersearch.space import Subset
from tests.e2e.small import Heard, search

LAST = {"seeds": 1, "baselines": ["linear_probe", "runner_up"]}
FAST = {"protocol": "fast", "look_epochs": 1, "finalists": 2}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shown(result: layersearch.Result) -> Any:
    assert result.confidence is not None
    (found,) = result.confidence["schedules"]
    return found


def test_a_search_names_its_runner_up_tests_it_and_lists_what_is_as_good() -> None:
    result = search("whole", strategy="exhaustive", final=LAST)
    found = shown(result)
    assert found["compared"] == 8
    assert found["count"] == 30
    assert result.runner_up is not None
    second = Subset(result.runner_up["subset"])
    assert second != result.subset
    if second:  # the probe is tested anyway
        assert result.test["runner_up"]["subset"] == list(second)
        assert "against" in result.test["runner_up"]
    sizes = [one["costs"]["trainable_parameters"] for one in result.as_good]
    assert sizes == sorted(sizes)
    assert list(result.to_frame("as_good")["what"][:2]) == ["chosen", "runner-up"]
    page = (result.folder / "report.html").read_text()
    assert "How sure it is" in page
    assert "as good within noise" in page
    assert "as good within noise" in result._repr_html_()


def test_a_race_compares_finalists_and_looks_apart() -> None:
    result = search("race", strategy="greedy", strategy_options=FAST, recipe={"epochs": 2})
    assert result.confidence is not None
    whole, looks = result.confidence["schedules"]
    assert (whole["look_epochs"], looks["look_epochs"]) == (None, 1)
    assert whole["compared"] <= 2 < looks["compared"]
    assert {entry["look_epochs"] for entry in result.values["profile"]} == {1}
    assert len(result.values["profile"]) == 4  # the linear probe and three units
    page = (result.folder / "report.html").read_text()
    assert "by looks of 1 epoch" in page
    assert "cannot be made" not in page


def test_a_race_that_a_budget_ends_goes_by_its_looks_and_retrains_by_the_whole_recipe() -> None:
    result = search(
        "short",
        strategy="greedy",
        strategy_options=FAST,
        recipe={"epochs": 2},
        execution={"budget": {"epochs": 5}},  # no finalist fits in beside a look
    )
    assert result.score["look_epochs"] == 1
    assert shown(result)["look_epochs"] == 1
    assert "by looks of 1 epoch" in result._repr_html_()
    assert result.load_task().description.recipe["epochs"] == 2
    page = (result.folder / "report.html").read_text()
    assert "It goes by looks of 1 epoch" in page
    assert "No subset has a score" not in page


def test_the_result_of_an_earlier_version_loads_and_is_completed_by_the_same_command() -> None:
    first = search("old")
    path = first.folder / "result.json"
    old = json.loads(path.read_text())
    known = old.pop("confidence")
    del old["score"]["look_epochs"]
    path.write_text(json.dumps(old))
    loaded = layersearch.Result.load(first.folder)
    assert (loaded.confidence, loaded.runner_up, list(loaded.as_good)) == (None, None, [])
    heard = Heard()
    again = search("old", observers=[heard])
    assert again.confidence == known
    assert again.test == first.test
    assert not any("retrained" in message for message in heard.messages)
