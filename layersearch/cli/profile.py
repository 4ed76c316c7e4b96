"""What `layersearch profile` prints: the score of every single unit, by depth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BAR = 30  # characters between the lowest and the highest score


def print_profile(values: Mapping[str, Any], folder: Path) -> None:
    """Prints a table of single units, with bars from the lowest score to the highest.

    Args:
        values: the result of a profile; see `layersearch.report.results`.
        folder: where its files lie.
    """
    from rich.console import Console
    from rich.table import Table

    from layersearch.report.wording import Scale

    scale = Scale(values["metric"]["name"])
    points = values["profile"]
    low = min((point["mean"] for point in points), default=0.0)
    high = max((point["mean"] for point in points), default=0.0)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("tuned", no_wrap=True)
    table.add_column("parameters", justify="right")
    table.add_column(f"validation {values['metric']['name']}", justify="right", no_wrap=True)
    table.add_column("")
    for point in points:
        share = (point["mean"] - low) / (high - low) if high > low else 1.0
        table.add_row(
            " ".join(point["subset"]) or "head alone",
            f"{point['trainable_parameters']:,}",
            scale.value(point["mean"], point["stderr"]),
            "━" * (1 + round(share * (_BAR - 1))),
        )
    console = Console(highlight=False)
    console.print(f"{values['study']}: the finetuning profile, every unit by itself", style="bold")
    console.print(table)
    best = ", ".join(values["subset"]) or "the head alone"
    console.print(f"\nBest of all that was tried: {best}.")
    console.print(f"In {folder}: profile.json, profile.png and the study with every trial.")
