"""The walk-through's blocks run, and its page is put together as it should be."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import environment

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "walkthrough.md"
SCRIPT = ROOT / "scripts" / "make_walkthrough.py"


@pytest.fixture(scope="module")
def maker():
    found = importlib.util.spec_from_file_location("make_walkthrough", SCRIPT)
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_block_of_the_page_still_runs():
    before = PAGE.read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--quick"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert PAGE.read_text(encoding="utf-8") == before


def test_the_page_shows_what_its_blocks_came_to():
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- output -->") >= 10
    pictures = re.findall(r"\]\((images/walkthrough-\d+\.png)\)", page)
    assert len(pictures) >= 5
    for name in pictures:
        assert (PAGE.parent / name).read_bytes().startswith(b"\x89PNG")


def test_a_block_is_followed_by_what_it_printed_and_its_last_value(maker, tmp_path):
    (tmp_path / "images").mkdir()
    page = "Text.\n\n```python\nprint('said')\n3 * 7\n```\n\nMore.\n"
    once = maker.made_anew(page, folder=tmp_path, quick=False)
    assert "```text\nsaid\n21\n```" in once
    assert once.startswith("Text.")
    assert once.endswith("\nMore.\n")
    assert maker.made_anew(once, folder=tmp_path, quick=False) == once


def test_blocks_share_their_names_and_figures_are_saved(maker, tmp_path):
    (tmp_path / "images").mkdir()
    page = (
        "```python\nfrom matplotlib.figure import Figure\nf = Figure()\n```\n\n```python\nf\n```\n"
    )
    made = maker.made_anew(page, folder=tmp_path, quick=False)
    assert "![What block 2 drew](images/walkthrough-2.png)" in made
    assert (tmp_path / "images" / "walkthrough-2.png").is_file()


def test_blocks_that_need_data_stay_as_they_are_without_it(maker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = "```python needs=data\nraise ValueError\n```\n"
    page = f"{block}\n<!-- output -->\n\nold\n\n<!-- end of output -->\n"
    assert maker.made_anew(page, folder=tmp_path, quick=False) == page
