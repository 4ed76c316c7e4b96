"""docs/configuration.md says what the schema says."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from layersearch.config.values import Section

SCRIPT = Path(__file__).parents[2] / "scripts" / "document_config.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("document_config", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(script: ModuleType) -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), (
        "docs/configuration.md is stale; run scripts/document_config.py"
    )


def test_meanings_are_comments_beside_and_above_a_field(script: ModuleType) -> None:
    class Example(Section):
        beside: int = 1  # as it stands
        # Two lines,
        # read as one.
        above: int = 2
        silent: int = 3

    assert script.comments(Example) == {
        "beside": "as it stands",
        "above": "Two lines, read as one.",
    }


def test_a_field_that_no_comment_explains_is_refused(script: ModuleType) -> None:
    class Example(Section):
        silent: int = 3

    with pytest.raises(SystemExit, match=r"Example\.silent"):
        list(script._rows("example", Example, sections=True, without=set()))
