"""Result and Profile: what a search gives back to a Python program, or shows in a notebook."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import optuna
from matplotlib.figure import Figure
from rich.console import RenderableType

from layersearch.errors import LayersearchError, StudyError
from layersearch.report import Scored, load_result, summary
from layersearch.report.confidence import as_good, runner_up
from layersearch.report.display import html as notebook_html
from layersearch.report.display import known_figures, plot, plot_profile
from layersearch.report.frames import frame
from layersearch.report.page import Evidence, read_evidence
from layersearch.serving import Task, load_task
from layersearch.space import History, Subset
from layersearch.study import history, read_study

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, repr=False)
class Result:
    """What came out of a search; `values` is what result.json holds (see `report.results`).

    Figures, tables and trials are read from the study, which must still be there.
    """

    values: Mapping[str, Any]
    folder: Path  # result.json, the saved task and the figures lie here
    storage: str | None = None  # of the study, if its password is not in `values`

    FILE: ClassVar[str] = "result.json"
    FIGURE: ClassVar[str | None] = None  # what `plot` draws if it is not told; None: see there
    FRAME: ClassVar[str] = "trials"  # what `to_frame` gives if it is not told

    @classmethod
    def load(cls, folder: str | Path, *, storage: str | None = None) -> Self:
        """Reads the result of an earlier search from its folder.

        Args:
            folder: `runs/<study>`.
            storage: of the study, if it is in a database whose password is not written down.

        Raises:
            LayersearchError: there is no result, or it is damaged.
        """
        folder = Path(folder)
        return cls(values=load_result(folder / cls.FILE), folder=folder, storage=storage)

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
        """`mean` and `stderr` on the validation samples, during the search.

        `look_epochs` says so if they are those of a look.
        """
        return dict(self.values["score"])

    @property
    def confidence(self) -> Mapping[str, Any] | None:
        """How sure the choice is: by each schedule, what was compared and what is as good.

        See `report.results`; None with several values, and for results of earlier versions.
        """
        return self.values.get("confidence")

    @property
    def runner_up(self) -> Mapping[str, Any] | None:
        """The next best subset of the search: `subset`, `score`, `costs`, and how it compares.

        `against`: by how much the chosen subset is better on the same validation samples:
        `difference`, `stderr`, and `low` and `high`, the 95% interval. None where there is none.
        """
        return runner_up(self.values)

    @property
    def as_good(self) -> Sequence[Mapping[str, Any]]:
        """Other subsets that are as good within noise, the cheapest first, as `runner_up`.

        With 95% confidence the best of all that were compared is among these or is the chosen one.
        At most 50: `confidence` says how many there are. In a race they go by looks, of which there
        are more than finalists.
        """
        return as_good(self.values)

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

    # --- What the study holds ---------------------------------------------------------------------

    def open_study(self) -> optuna.Study:
        """The Optuna study, to look at.

        Raises:
            StudyError: it is not there, or its storage needs a password.
        """
        recorded = (self.values.get("config") or {}).get("study", {}).get("storage")
        storage = self.storage or recorded
        if storage is not None and "***" in storage:
            raise StudyError(
                f"storage: the password of {storage} is not written down; give the whole address: "
                f"{type(self).__name__}.load(folder, storage=…)"
            )
        return read_study(self.study, storage=storage, directory=self.folder.parent)

    @property
    def trials(self) -> History:
        """The trials as records, by number: `subset`, `state`, `score`, `stderr`, `attributes`."""
        return history(self.open_study())

    @property
    def rounds(self) -> Sequence[Mapping[str, Any]]:
        """Greedy's path: `base`, `subset`, `score`, `gain`, `accepted`, `candidates` of each."""
        return list(self.values.get("rounds") or ())

    @property
    def profile(self) -> "Profile":
        """The finetuning profile, as far as this search scored units by themselves."""
        return Profile(values=self.values, folder=self.folder, storage=self.storage)

    @property
    def figures(self) -> Mapping[str, str]:
        """What `plot` can draw: name -> what it shows."""
        return known_figures(self._evidence())

    def plot(self, name: str | None = None) -> Figure:
        """A matplotlib figure of the search.

        Args:
            name: one of `figures`, such as 'profile', 'curves' or 'accuracy_against_parameters';
                None: the path of greedy, the objectives, the profile or the learning curves,
                whichever there is first.

        Raises:
            LayersearchError: there is no such figure, or the study is not there.
        """
        return plot(self._evidence(), name or self.FIGURE)

    def to_frame(self, what: str | None = None) -> "pd.DataFrame":
        """A pandas table.

        Args:
            what: 'trials', 'profile', 'rounds', 'front', 'tests' or 'as_good'.

        Raises:
            LayersearchError: pandas is not installed, there is no such table, or no study.
        """
        return frame(what or self.FRAME, self._evidence())

    def __repr__(self) -> str:
        score = self.score.get("mean")
        shown = "" if score is None else f", score={score:.4g}"
        return f"{type(self).__name__}({self.study!r}, {self.subset}{shown}, {str(self.folder)!r})"

    def __rich__(self) -> RenderableType:
        """What the program prints."""
        return summary(self.values)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        try:
            evidence = self._evidence()
        except StudyError as error:
            return f"<p>{html.escape(repr(self))}</p><p>{html.escape(str(error))}</p>"
        try:
            figure = self._shown(evidence)
        except LayersearchError:  # there may be nothing to draw
            figure = None
        return notebook_html(evidence, figure, what=self._title())

    def _shown(self, evidence: Evidence) -> Figure:
        return plot(evidence, self.FIGURE, width=7.0)

    def _title(self) -> str:
        return "The search"

    def _evidence(self) -> Evidence:
        return read_evidence(self.open_study(), self.values)


class Profile(Result):
    """The finetuning profile: every unit by itself, runs of neighbours, and pairs.

    It is what `layersearch.profile` gives, and a part of every search's `Result`.
    """

    FILE: ClassVar[str] = "profile.json"
    FRAME: ClassVar[str] = "profile"

    @property
    def units(self) -> tuple[str, ...]:
        """Names of the units, from input to output."""
        return self._evidence().unit_names

    @property
    def scores(self) -> Mapping[Subset, Scored]:
        """Every subset that has a score: `mean` and `stderr`."""
        return self._evidence().scores

    def plot(self, name: str | None = None) -> Figure:
        """The profile along the depth, with the heat map of pairs where there are any.

        Args:
            name: another figure, as of a `Result`.

        Raises:
            LayersearchError: nothing to draw has a score, or the study is not there.
        """
        return plot_profile(self._evidence()) if name is None else super().plot(name)

    def _shown(self, evidence: Evidence) -> Figure:
        return plot_profile(evidence)

    def _title(self) -> str:
        return "The finetuning profile of"
