"""Searches and workers as processes: begun, watched through their study, killed, checked."""

import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import optuna
import pytest
from optuna.trial import FrozenTrial

from layersearch.study import open_storage, resolve_storage
from layersearch.study.drivers import DriverRecord, driver_records
from layersearch.study.resilient import ResilientStorage
from tests.e2e.conftest import ROOT, environment
from tests.e2e.gate import HOLDER, METRIC, VARIABLE, Gate
from tests.hosts import Host

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
IDLE = 20.0  # seconds without a trial while others train: waiting for them


def settings(*more: str) -> list[str]:
    """The tiny search's, then more."""
    return [word for setting in (*TINY, *more) for word in ("-o", setting)]


class Run:
    """`layersearch WORDS` in the background.

    Args:
        words: of the command line; the tiny search's settings follow the second.
        folder: where to run it; its output goes to files there.
        name: of these files, and of what the gate holds.
        more: settings, after the tiny search's.
        host: where it runs; None: here.
        env: variables besides this process's.
    """

    def __init__(
        self,
        *words: str,
        folder: Path,
        name: str,
        more: Sequence[str] = (),
        host: Host | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.out_file, self.err_file = folder / f"{name}.out", folder / f"{name}.err"
        self._host = host
        prefix = [] if host is None else host.prefix(folder=folder)
        command = [*prefix, sys.executable, "-m", "layersearch", *words[:2], *settings(*more)]
        with self.out_file.open("w") as out, self.err_file.open("w") as err:
            self.process = subprocess.Popen(
                [*command, *words[2:]],
                cwd=folder,
                env={**environment(), **(env or {})},
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
        """Its messages."""
        return self.err_file.read_text()

    @property
    def said(self) -> str:
        """Its messages as one line, whatever the width of the terminal."""
        return " ".join(self.err.split())

    def drives(self, record: DriverRecord) -> bool:
        """Whether it is the driver that the study has on record."""
        if self._host is not None:  # where its process has another id
            return record.host == self._host.name
        return record.pid == self.process.pid

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
        self._name = name
        self._file = directory / name / "study.db" if storage is None else None
        self._url = resolve_storage(storage, name=name, directory=directory)
        self._storage: ResilientStorage | None = None
        self._study: optuna.Study | None = None

    def close(self) -> None:
        """Leaves no connection open."""
        if self._storage is not None:
            self._storage.close()

    @property
    def study(self) -> optuna.Study | None:
        """None while it is not there."""
        if self._file is not None and not self._file.exists():
            return None
        if self._storage is None:
            self._storage = open_storage(self._url)
        if self._study is None:
            with contextlib.suppress(KeyError):
                self._study = optuna.load_study(study_name=self._name, storage=self._storage)
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

    def cut_short(self) -> list[FrozenTrial]:
        """Trials that failed; not those that found every subset taken when they began."""
        return [trial for trial in self.trials("FAIL") if "subset" in trial.user_attrs]

    def check_whole(self) -> None:
        """Nothing runs any more, and nothing failed of itself."""
        assert not self.trials("RUNNING", "WAITING")
        for trial in self.trials("FAIL"):
            assert trial.user_attrs.get("interrupted"), trial.user_attrs


class Place:
    """A folder, the study of a search, and what is started there; a context manager.

    Args:
        folder: where results are written; each host has a folder of its own there.
        storage: of the study, as commands are told it; None: SQLite.
        watched: the same as this process reaches it.
    """

    def __init__(
        self, folder: Path, *, storage: str | None = None, watched: str | None = None
    ) -> None:
        self.folder = folder
        self.study = Watched(folder / "runs", storage=watched or storage)
        self.gate = Gate(folder / "closed")
        self._settings = [] if storage is None else [f"study.storage={storage}"]
        self._runs: list[Run] = []
        self._ended: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Leaves nothing running."""
        self.gate.open()
        for run in self._runs:
            run.end()
        self.study.close()

    def start(
        self,
        *words: str,
        name: str,
        more: Sequence[str] = (),
        host: Host | None = None,
        env: Mapping[str, str] | None = None,
        folder: str = ".",
    ) -> Run:
        """`search` or `worker`, and more words."""
        (self.folder / folder).mkdir(exist_ok=True)
        run = Run(
            words[0],
            str(DIGITS),
            *words[1:],
            folder=self.folder / folder,
            name=name,
            more=[*self._settings, *more],
            host=host,
            env={VARIABLE: str(self.gate.path), HOLDER: name, **(env or {})},
        )
        self._runs.append(run)
        return run

    def all_train(self, *runs: Run) -> list[str]:
        """Closes the gate, and returns when it holds a trial of each; their tokens."""
        self.gate.close()
        wait_until(lambda: all(self._held(run) for run in runs), running=runs)
        return [self._held(run) for run in runs]

    def _held(self, run: Run) -> str:
        """The run's token if the gate holds its trial, else ''."""
        if not self.gate.holds(run.name):
            return ""
        # A driver that was killed may be RUNNING until another, between two trials, finds it dead.
        running = self.study.by_driver("RUNNING")
        mine = (r.token for r in driver_records(self.study.attributes) if run.drives(r))
        return next((token for token in mine if token in running), "")

    def some_end(self, token: str, *runs: Run) -> None:
        """Opens the gate until a driver has ended a trial; returns when it holds one of each."""
        before = self.study.by_driver("COMPLETE")[token]
        self.gate.open()
        wait_until(lambda: self.study.by_driver("COMPLETE")[token] > before, running=runs)
        self.gate.close()
        closed = time.monotonic()

        def all_held() -> bool:
            nonlocal closed
            if time.monotonic() - closed > IDLE:
                # It closed on the last trials of a round, and who has none waits for their end.
                self._let_one_end(runs)
                closed = time.monotonic()
            return all(self._held(run) for run in runs)

        wait_until(all_held, running=runs)

    def _let_one_end(self, runs: Sequence[Run]) -> None:
        before = len(self.study.trials("COMPLETE"))
        self.gate.open()
        wait_until(lambda: len(self.study.trials("COMPLETE")) > before, running=runs)
        self.gate.close()

    def remember(self) -> None:
        """What has ended now must still be there in the end."""
        self._ended |= {trial.number for trial in self.study.trials("COMPLETE")}

    def kill(self, run: Run) -> None:
        """SIGKILL."""
        self.remember()
        run.process.kill()
        run.process.wait()

    def check(self, undisturbed: Mapping[str, Any]) -> None:
        """The search ended as if nothing had happened."""
        self.study.check_whole()
        assert self._ended <= {trial.number for trial in self.study.trials("COMPLETE")}
        result, wanted = result_of(self.folder), undisturbed["result"]
        assert result["subset"] == wanted["subset"]
        assert result["score"] == wanted["score"]
        assert result["test"]["chosen"]["scores"] == wanted["test"]["chosen"]["scores"]
        scores = self.study.scores()
        shared = scores.keys() & undisturbed["scores"].keys()
        assert {s: scores[s] for s in shared} == {s: undisturbed["scores"][s] for s in shared}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the tiny search by itself finds: scores of subsets, and the result."""
    folder = tmp_path_factory.mktemp("undisturbed")
    Run("search", str(DIGITS), folder=folder, name="search").finish()
    study = Watched(folder / "runs")
    scores = study.scores()
    study.close()
    return {"scores": scores, "result": result_of(folder)}


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
