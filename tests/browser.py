"""A real browser for tests: Debian's chromium, driven by playwright, with no network of its own."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as BrowserPage

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = (1280, 900), (390, 844)


@contextmanager
def chromium() -> Iterator["Browser"]:
    """The browser; the test is skipped, saying so, where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not CHROMIUM.is_file():
        pytest.skip(f"needs a browser: {CHROMIUM} is absent (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page as the browser shows it, and what it complained of."""

    page: "BrowserPage"
    complaints: list[str] = field(default_factory=list)  # the console's
    requests: list[str] = field(default_factory=list)  # for anything but what is in the page

    @property
    def text(self) -> str:
        """What is visible."""
        return " ".join(self.page.inner_text("body").split())

    @property
    def overflow(self) -> int:
        """CSS pixels by which the page is wider than the screen."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    @property
    def cut_off(self) -> list[str]:
        """Text that sticks out of its element, or of the screen, and cannot be scrolled to."""
        found: list[str] = self.page.evaluate(_CUT_OFF)
        return found

    @property
    def broken_images(self) -> list[str]:
        """Images that the browser could not show."""
        found: list[str] = self.page.evaluate(
            "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.alt)"
        )
        return found

    def screenshot(self, name: str, tmp_path: Path) -> Path:
        """Keeps what is seen, for people to look at: in $LAYERSEARCH_SCREENSHOTS if it is set."""
        folder = Path(os.environ.get("LAYERSEARCH_SCREENSHOTS", tmp_path / "screenshots"))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{re.sub(r'[^a-z0-9-]+', '-', name.lower())}.png"
        self.page.screenshot(path=str(path), full_page=True)
        return path


@contextmanager
def visit(browser: "Browser", address: str, size: tuple[int, int] = DESKTOP) -> Iterator[Visit]:
    """Opens an address in a new page of this size."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    found = Visit(page)
    page.on("console", lambda message: found.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("dialog", lambda dialog: (found.complaints.append("dialog"), dialog.dismiss()))
    page.on("request", lambda request: _note(found.requests, request.url, address))
    try:
        page.goto(address)
        page.wait_for_load_state("load")
        yield found
    finally:
        page.close()


def _note(requests: list[str], url: str, address: str) -> None:
    if url != address and not url.startswith("data:"):
        requests.append(url)


# Elements with text of their own that reach beyond the screen, outside of what can be scrolled.
_CUT_OFF = """
[...document.querySelectorAll('body *')].filter(e => {
  if (e.closest('.scroll, pre, details:not([open])') || !e.checkVisibility()) return false;
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  const box = e.getBoundingClientRect();
  return own && (box.right > innerWidth + 1 || box.left < -1 || e.scrollWidth > e.clientWidth + 1
    && getComputedStyle(e).display !== 'inline');
}).map(e => e.textContent.trim().slice(0, 60))
"""
