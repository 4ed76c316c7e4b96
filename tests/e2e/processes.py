"""Searches and workers as processes: begun, watched through their study, killed, checked."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from layersearch.errors import StudyError
from layersearch.study import read_study
from tests.e2e.conftest import ROOT, environment
from tests.e2e.gate import METRIC, VARIABLE, Gate

DIGITS = ROOT / "search_spaces" / "digits.yaml"
# All seven units, one epoch: about twenty trials of half a second.
TINY = (
    "data.train_samples=40",
    "data.test_samples=100",
    "data.folds=2",
    "recipe.epochs=1",
    "recipe.batch_size=20",
    "execution.threads=1",
    "execution.workers=1",
    "final.seeds=1",
    "final.baselines=linear_probe",
    f"objective.metric={METRIC}",
)
PATIENCE = 300  # seconds for anything to happen


def settings(*more: str) -> list[str]:
    """The tiny search's, then more."""
    return [word for setting in (*TINY, *more) for word in ("-o", setting)]


class Run:
    """`layersearch WORDS` in the background.

    Args:
        words: of the command line; the tiny search's settings follow the second.
        folder: where to run it; its output goes to files there.
        name: of these files.
        more: settings, after the tiny search's.
        prefix: what runs the command, such as nsenter with its arguments.
        gate: that its trials stop at.
    """

    def __init__(
        self,
        *words: str,
        folder: Path,
        name: str,
        more: Sequence[str] = (),
        prefix: Sequence[str] = (),
        gate: Gate | None = None,
    ) -> None:
        self.out_file, self.err_file = folder / f"{name}.out", folder / f"{name}.err"
        command = [*prefix, sys.executable, "-m", "layersearch", *words[:2], *settings(*more)]
        with self.out_file.open("w") as out, self.err_file.open("w") as err:
            self.process = subprocess.Popen(
                [*command, *words[2:]],
                cwd=folder,
                env=environment() | ({VARIABLE: str(gate.path)} if gate else {}),
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        """What it has printed."""
        return self.out_file.read_text()

    @property
    def err(self) -> str:
        """Its messages, on one line each whatever the width of the terminal."""
        return self.err_file.read_text()

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(timeout=PATIENCE)

    def finish(self) -> "Run":
        """Waits for a good end."""
        assert self.wait() == 0, f"{self.out}\n{self.err}"
        return self

    def end(self) -> None:
        """Kills what is left of it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Watched:
    """A study, as anybody reads it.

    Args:
        name: of the study.
        storage: its URL; None: SQLite in its folder.
        directory: where studies lie.
    """

    def __init__(
        self, directory: Path, *, name: str = "digits", storage: str | None = None
    ) -> None:
        self._name, self._storage, self._directory = name, storage, directory
        self._study: optuna.Study | None = None

    @property
    def study(self) -> optuna.Study | None:
        """None while it is not there."""
        if self._study is None:
            try:
                self._study = read_study(
                    self._name, storage=self._storage, directory=self._directory
                )
            except StudyError:
                return None
        return self._study

    def trials(self, *states: str) -> list[FrozenTrial]:
        """Those in these states; all without any."""
        if self.study is None:
            return []
        found = self.study.get_trials(deepcopy=False)
        return [trial for trial in found if not states or trial.state.name in states]

    @property
    def attributes(self) -> dict[str, Any]:
        """Those of the study."""
        return {} if self.study is None else self.study.user_attrs

    def by_driver(self, *states: str) -> Counter[str]:
        """How many trials each driver or worker has in these states."""
        return Counter(
            trial.user_attrs["driver"]
            for trial in self.trials(*states)
            if "driver" in trial.user_attrs
        )

    def scores(self) -> dict[tuple[str, ...], float]:
        """Subset -> score; checks that none was trained twice."""
        done = [trial for trial in self.trials("COMPLETE") if "memo_of" not in trial.user_attrs]
        scores = {tuple(trial.user_attrs["subset"]): trial.values[0] for trial in done}
        assert len(scores) == len(done), "a subset was trained twice"
        return scores

    def check_whole(self) -> None:
        """Nothing runs any more, and nothing failed of itself."""
        assert not self.trials("RUNNING", "WAITING")
        for trial in self.trials("FAIL"):
            assert trial.user_attrs.get("interrupted"), trial.user_attrs


def wait_until(condition: Callable[[], Any], *, running: Sequence[Run] = ()) -> None:
    """Returns when it holds; fails when a process that should run has ended."""
    end = time.monotonic() + PATIENCE
    while not condition():
        for run in running:
            assert run.process.poll() is None, f"it ended:\n{run.out}\n{run.err}"
        assert time.monotonic() < end, "\n".join(run.err for run in running)
        time.sleep(0.05)


def result_of(folder: Path, study: str = "digits") -> dict[str, Any]:
    """The result.json of a search that ended."""
    loaded: dict[str, Any] = json.loads((folder / "runs" / study / "result.json").read_text())
    return loaded
