"""Pages of made studies, and what can be read off them without a browser."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from layersearch.report.page import write_page


class Page(HTMLParser):
    """The words and the elements of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.html = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.words).split())

    @property
    def tags(self) -> set[str]:
        """Names of the elements there are."""
        return {tag for tag, _ in self.elements}

    @property
    def titles(self) -> list[str]:
        """Keys of the sections, in order."""
        return [attrs["id"] or "" for tag, attrs in self.elements if tag == "section"]


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., Page]:
    """Writes the page of a study and reads it."""

    def make(study: Any, result: dict[str, Any] | None = None) -> Page:
        written = Page(write_page(study, tmp_path / "made", result=result))
        assert "cannot be made" not in written.text
        assert "could not be drawn" not in written.text
        return written

    return make
