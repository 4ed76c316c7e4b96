#!/usr/bin/env python3
"""Runs the Python of docs/walkthrough.md, block by block, and writes its output into the page.

    python scripts/make_walkthrough.py            # takes some minutes
    python scripts/make_walkthrough.py --quick    # on less data, and writes nothing

Blocks run in one Python, in a folder of their own where `search_spaces/` and, if there is any, the
real data are found. What a block prints, or the value of its last line, follows it; figures are
saved beside the page. Blocks marked `needs=data` are left as they are where there is no such data
(the folder named by LAYERSEARCH_TEST_DATA, or ../shared/data).
"""

import argparse
import ast
import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "walkthrough.md"
IMAGES = "images"  # beside the page
BEGIN, END = "<!-- output -->", "<!-- end of output -->"
_WIDTH = 96  # characters of a line of output
_BLOCK = re.compile(
    r"```python(?P<mark>[^\n]*)\n(?P<code>.*?)```\n"
    r"(?:\n<!-- output -->\n.*?<!-- end of output -->\n)?",
    re.DOTALL,
)
# What makes the same searches take seconds.
_QUICK = {
    r"train_samples=\d+": "train_samples=40",
    r"folds=\d+": "folds=2",
    r"epochs=\d+": "epochs=2",
    r"trials=\d+": "trials=4",
}


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a block came to."""

    text: str = ""
    figure: Figure | None = None

    def written(self, number: int, folder: Path) -> str:
        """As Markdown; a figure is saved.

        Args:
            number: of the block, from 1.
            folder: of the page.
        """
        parts = [f"```text\n{self.text.rstrip()}\n```"] if self.text.strip() else []
        if self.figure is not None:
            name = f"{IMAGES}/walkthrough-{number}.png"
            self.figure.savefig(folder / name, dpi=110)
            parts.append(f"![What block {number} drew]({name})")
        shown = "\n\n".join(parts)
        return f"\n{BEGIN}\n\n{shown}\n\n{END}\n" if parts else ""


def run_block(code: str, names: dict[str, Any]) -> Output:
    """Runs a block as a notebook does: the value of its last line is shown."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(tree, "walkthrough.md", "exec"), names)  # noqa: S102 (our own page)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(  # noqa: S307 (the same)
                compile(ast.Expression(last.value), "walkthrough.md", "eval"), names
            )
    if isinstance(value, Figure):
        return Output(text=said.getvalue(), figure=value)
    return Output(text=said.getvalue() + _shown(value))


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "to_string"):  # a table of pandas
        text: str = value.to_string()
        return text
    if hasattr(value, "__rich__"):
        console = Console(file=io.StringIO(), width=_WIDTH, record=True, highlight=False)
        console.print(value)
        return "\n".join(line.rstrip() for line in console.export_text().splitlines())
    return repr(value)


def made_anew(page: str, *, folder: Path, quick: bool) -> str:
    """The page with the output of its blocks as they run now.

    Args:
        page: Markdown.
        folder: where figures are saved, in `images/`.
        quick: whether searches are made short.
    """
    names: dict[str, Any] = {"__name__": "walkthrough"}
    blocks = 0

    def again(found: re.Match[str]) -> str:
        nonlocal blocks
        blocks += 1
        if "needs=data" in found["mark"] and not Path("../shared/data").is_dir():
            return found[0]
        code = found["code"]
        if quick:
            for long, short in _QUICK.items():
                code = re.sub(long, short, code)
        head = f"```python{found['mark']}\n{found['code']}```\n"
        return head + run_block(code, names).written(blocks, folder)

    return _BLOCK.sub(again, page)


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder to run in, with the search spaces, and the data beside it if there is any."""
    data = Path(os.environ.get("LAYERSEARCH_TEST_DATA", ROOT.parent / "shared" / "data"))
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="layersearch-walk-") as made:
        place = Path(made) / "here"
        place.mkdir()
        (place / "search_spaces").symlink_to(ROOT / "search_spaces")
        if data.is_dir():
            (Path(made) / "shared").mkdir()
            (Path(made) / "shared" / "data").symlink_to(data.resolve())
        os.chdir(place)
        try:
            yield place
        finally:
            os.chdir(before)


def main() -> None:
    """Writes the page, or only runs it."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="on less data, and writes nothing")
    quick = parser.parse_args().quick
    with workplace(), tempfile.TemporaryDirectory() as elsewhere:
        folder = Path(elsewhere) if quick else PAGE.parent
        (folder / IMAGES).mkdir(exist_ok=True)
        page = made_anew(PAGE.read_text(encoding="utf-8"), folder=folder, quick=quick)
    if not quick:
        PAGE.write_text(page, encoding="utf-8")
    print(f"{PAGE.name}: {page.count(BEGIN)} outputs", file=sys.stderr)


if __name__ == "__main__":
    main()
