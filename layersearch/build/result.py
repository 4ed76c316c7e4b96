"""Result: what a search gives back to a Python program."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layersearch.report import load_result
from layersearch.serving import Task, load_task
from layersearch.space import Subset


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came out of a search; `values` is what result.json holds (see `report.results`)."""

    values: Mapping[str, Any]
    folder: Path  # result.json, the saved task and the figures lie here

    @classmethod
    def load(cls, folder: str | Path) -> "Result":
        """Reads the result of an earlier search from its folder.

        Raises:
            LayersearchError: there is no result, or it is damaged.
        """
        folder = Path(folder)
        return cls(values=load_result(folder / "result.json"), folder=folder)

    @property
    def study(self) -> str:
        """The name of the study."""
        return str(self.values["study"])

    @property
    def subset(self) -> Subset:
        """The units to tune; empty: the head alone."""
        return Subset(self.values["subset"])

    @property
    def score(self) -> Mapping[str, float | None]:
        """`mean` and `stderr` on the validation samples, during the search."""
        return dict(self.values["score"])

    @property
    def front(self) -> Sequence[Mapping[str, Any]]:
        """With several values, the Pareto front, the best first value first; else empty.

        Each member has `subset`, `values` (by name), `stderrs`, `costs`, `trial`, `recipe` and
        whether it is the one that was `chosen`.
        """
        return list(self.values.get("front", ()))

    @property
    def test(self) -> Mapping[str, Mapping[str, Any]]:
        """Test scores of `chosen` and of the baselines, each with `mean`, `stderr`, `seeds`."""
        return dict(self.values.get("test", {}))

    @property
    def cost(self) -> Mapping[str, float]:
        """`trainings`, `epochs`, `flops` and `seconds` of the search."""
        return dict(self.values["cost"])

    @property
    def interrupted(self) -> bool:
        """Whether the search was stopped early; the result is then that of what was done."""
        return bool(self.values.get("interrupted", False))

    @property
    def task_path(self) -> Path | None:
        """The file with the tuned units and the head."""
        name = self.values.get("task")
        return None if name is None else self.folder / str(name)

    def load_task(self) -> Task:
        """The tuned units and head, ready to be attached to the backbone.

        Raises:
            TaskError: the file is missing or damaged.
        """
        return load_task(self.task_path or self.folder / "task.safetensors")
