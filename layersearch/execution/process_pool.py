"""Local worker processes: each runs trials for the driver, over a pipe.

A worker that dies is noticed at once (its pipe closes) and replaced; one that reports nothing for
`trial_timeout` seconds is killed and replaced, and so is one that ran out of memory. Workers are
their own process groups, so that Ctrl-C reaches the driver alone, and die with it.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import IO, Any

import cloudpickle

from layersearch.errors import SearchError, TrialStopped
from layersearch.execution.messages import (
    Answer,
    Event,
    Exit,
    Failed,
    Finished,
    Lost,
    Ready,
    Reported,
    Run,
    Start,
    Stopped,
    Unready,
)
from layersearch.execution.pool import Handler
from layersearch.execution.standing import Doing, WorkerNow
from layersearch.space.trial import JobFactory, Proposal, WorkerPlace

_LOOK = 0.5  # seconds between two looks at workers that say nothing
_GRACE = 5.0  # seconds for workers to leave when asked
_TAIL = 2000  # bytes of a dead worker's output that are shown
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class ProcessPool:
    """A worker process for each place.

    Args:
        places: where they run.
        trial_timeout: seconds that a trial may go without a report before its worker is killed; the
            first report of a worker's first trial includes filling its caches. None: for ever.
        max_restarts: workers that may die one after another, no trial finishing in between, before
            the search gives up; None: 3 a worker.
        log_directory: where to keep what workers print, in `worker-<number>.log`; None: only the
            end of it is shown, when a worker dies.
    """

    def __init__(
        self,
        places: Sequence[WorkerPlace],
        *,
        trial_timeout: float | None = None,
        max_restarts: int | None = None,
        log_directory: Path | None = None,
    ) -> None:
        self._places = tuple(places)
        self._timeout = trial_timeout
        self._max_restarts = 3 * len(self._places) if max_restarts is None else max_restarts
        self._logs = log_directory
        self._restarts = 0
        self._factory = b""
        self._workers: list[_Worker] = []

    @property
    def places(self) -> tuple[WorkerPlace, ...]:
        """Where the workers run."""
        return self._places

    @property
    def free(self) -> int:
        """Workers that are ready and have no trial."""
        return sum(worker.is_free for worker in self._workers)

    @property
    def crew(self) -> tuple[WorkerNow, ...]:
        """The workers and what each does now; one that is replaced starts."""
        return tuple(worker.now for worker in self._workers)

    @property
    def pids(self) -> tuple[int, ...]:
        """Their process ids, in the order of their places."""
        return tuple(worker.pid for worker in self._workers)

    def start(self, factory: JobFactory) -> None:
        """Starts all workers at the same time and waits until each has made its job."""
        try:
            self._factory = cloudpickle.dumps(factory)
        except Exception as error:
            raise SearchError(
                f"execution.workers: the job cannot be sent to worker processes ({error}); keep "
                "open files, locks and generators out of it, or use one worker in this process"
            ) from error
        try:
            self._workers = [self._launch(place) for place in self._places]
            while not all(worker.ready for worker in self._workers):
                self._await_messages(_LOOK)
                for worker in self._workers:
                    for message in worker.messages():
                        _check_ready(worker, message)
                    if worker.is_dead:
                        raise SearchError(_died_starting(worker))
        except BaseException:
            self.close(now=True)
            raise

    def submit(self, proposal: Proposal, *, answered: bool) -> None:
        """Gives a trial to a free worker."""
        worker = next(worker for worker in self._workers if worker.is_free)
        worker.trial = proposal.number
        worker.answered = answered
        worker.killings = _kernel_killings()
        worker.heard = time.monotonic()
        worker.send(Run(proposal=proposal, answered=answered))

    def wait(self, handle: Handler, *, seconds: float) -> None:
        """Hands over what happened; replaces workers that died or hang."""
        self._await_messages(min(seconds, _LOOK))
        for index, worker in enumerate(self._workers):
            for message in worker.messages():
                self._take(worker, message, handle)
            if worker.spent:
                self._replace(index, handle, None)
            elif worker.is_dead:
                reason, starved = worker.why_dead(), worker.was_starved
                lost = Lost(number=-1, reason=reason, out_of_memory=starved)
                self._replace(index, handle, lost)
            elif self._hangs(worker):
                reason = (
                    f"no report for {self._timeout:g} s (execution.trial_timeout): the worker "
                    "hangs and was killed"
                )
                self._replace(index, handle, Failed(number=-1, reason=reason))

    def stop(self, stop: TrialStopped) -> None:
        """Asks all running trials to end at their next report."""
        for worker in self._workers:
            if worker.trial is not None:
                worker.send(Answer(number=worker.trial, stop=stop))

    def close(self, *, now: bool = False) -> None:
        """Ends the workers and waits for them: no zombie is left."""
        workers, self._workers = self._workers, []
        if not now:
            for worker in workers:
                worker.send(Exit())
            deadline = time.monotonic() + _GRACE
            while any(worker.runs for worker in workers) and time.monotonic() < deadline:
                time.sleep(0.01)
        for worker in workers:
            worker.kill()

    def _launch(self, place: WorkerPlace) -> "_Worker":
        worker = _Worker(place, self._logs)
        worker.send(Start(place=place, path=_import_path(), factory=self._factory))
        return worker

    def _await_messages(self, seconds: float) -> None:
        connections = [worker.connection for worker in self._workers]
        if connections:
            wait_for(connections, timeout=seconds)
        else:
            time.sleep(seconds)

    def _take(self, worker: "_Worker", message: Any, handle: Handler) -> None:
        if isinstance(message, Ready | Unready):
            _check_ready(worker, message)
            return
        if message.number != worker.trial:
            return  # of a trial that has ended
        worker.heard = time.monotonic()
        if not isinstance(message, Reported):
            worker.trial = None
            if isinstance(message, Finished | Stopped):
                self._restarts = 0
            worker.spent = isinstance(message, Failed) and message.out_of_memory
            handle(message)
            return
        stop = handle(message)
        # The storage may have been away: the worker waited for its answer, and did not hang.
        worker.heard = time.monotonic()
        if worker.answered or stop is not None:
            worker.send(Answer(number=message.number, stop=stop))

    def _hangs(self, worker: "_Worker") -> bool:
        if self._timeout is None or worker.trial is None:
            return False
        return time.monotonic() - worker.heard > self._timeout

    def _replace(self, index: int, handle: Handler, event: Lost | Failed | None) -> None:
        worker = self._workers[index]
        worker.kill()
        number, worker.trial = worker.trial, None
        if number is not None and event is not None:
            handle(replace(event, number=number))
        if isinstance(event, Lost):
            self._restarts += 1
            if self._restarts > self._max_restarts:
                raise SearchError(
                    f"workers keep dying: {self._restarts} one after another, and no trial "
                    f"finished in between; the last: {event.reason}"
                )
        self._workers[index] = self._launch(worker.place)


class _Worker:
    """One worker process and what it is doing."""

    def __init__(self, place: WorkerPlace, logs: Path | None) -> None:
        self.place = place
        self.ready = False
        self.trial: int | None = None
        self.answered = True
        self.spent = False  # to be replaced, though it runs
        self.killings = 0  # by the kernel, for want of memory, before its trial began
        self.heard = time.monotonic()  # when it last said something
        self._closed = False
        self._log = _open_log(place, logs)
        self.connection: Connection[Any, Any]
        self.connection, theirs = Pipe()
        # The driver never writes here: the worker sees the end of it when the driver is gone.
        read_end, self._lifeline = os.pipe()
        command = [sys.executable, "-P", "-m", "layersearch.execution.worker_process"]
        try:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(read_end), str(os.getpid())],
                pass_fds=(theirs.fileno(), read_end),
                process_group=0,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env=_environment(place),
            )
        finally:
            theirs.close()
            os.close(read_end)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_free(self) -> bool:
        return self.ready and self.trial is None and not self.spent and not self.is_dead

    @property
    def now(self) -> WorkerNow:
        """What it does."""
        doing: Doing = "idle" if self.trial is None else "trains"
        return WorkerNow(
            name=str(self.place.number),
            doing=doing if self.ready else "starts",
            device=self.place.device,
            trial=self.trial,
        )

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    @property
    def is_dead(self) -> bool:
        """Gone, and all it said has been read."""
        return self._closed or (not self.runs and not self._has_message())

    def send(self, message: Any) -> None:
        # A worker that is gone is met when its messages are read.
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def messages(self) -> list[Any]:
        """All that it has said since the last time."""
        found: list[Any] = []
        while not self._closed and self._has_message():
            try:
                packed = self.connection.recv_bytes()
            except (EOFError, OSError):
                self._closed = True
                break
            found.append(self._unpack(packed))
        return found

    def why_dead(self) -> str:
        """In words, with the end of what it printed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_GRACE)  # its pipe may close moments before it ends
        code = self._process.returncode
        text = f"worker {self.place.number} died ({_exit_words(code)})"
        tail = self._tail()
        return f"{text}; it last printed:\n{tail}" if tail else text

    @property
    def was_starved(self) -> bool:
        """Whether, as far as can be told, the kernel killed it for want of memory."""
        killed = self._process.poll() == -signal.SIGKILL
        return killed and self.trial is not None and _kernel_killings() > self.killings

    def kill(self) -> None:
        """Kills it and its children, and waits for it."""
        if not self._lifeline_open:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.connection.close()
        os.close(self._lifeline)
        self._lifeline = -1
        self._closed = True
        self._close_log()

    def _close_log(self) -> None:
        """Keeps what it printed, if it printed anything."""
        silent = self._log.seek(0, os.SEEK_END) == 0
        self._log.close()
        if silent and isinstance(self._log.name, str):
            Path(self._log.name).unlink(missing_ok=True)

    @property
    def _lifeline_open(self) -> bool:
        return self._lifeline >= 0

    def _has_message(self) -> bool:
        try:
            return self.connection.poll()
        except (EOFError, OSError):
            self._closed = True
            return False

    def _unpack(self, packed: bytes) -> Event | Ready | Unready:
        try:
            message: Event | Ready | Unready = pickle.loads(packed)  # noqa: S301 - our own worker
        except Exception as error:  # noqa: BLE001 - a result may hold classes not known here
            reason = f"what the worker sent cannot be read: {error}"
            return Failed(number=-1 if self.trial is None else self.trial, reason=reason)
        return message

    def _tail(self) -> str:
        try:
            size = self._log.seek(0, os.SEEK_END)
            self._log.seek(max(0, size - _TAIL))
            return self._log.read().decode("utf-8", "replace").strip()
        except (OSError, ValueError):
            return ""


def _check_ready(worker: _Worker, message: Any) -> None:
    if isinstance(message, Unready):
        raise SearchError(
            f"worker {worker.place.number} could not make its job: {message.reason}\n"
            f"{message.traceback}"
        )
    worker.ready = True


def _died_starting(worker: _Worker) -> str:
    return f"a worker died before it could make its job: {worker.why_dead()}"


def _exit_words(code: int | None) -> str:
    if code is None:
        return "its pipe closed"
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
    return f"signal {-code}, {name}{hint}"


def _kernel_killings() -> int:
    """Processes that the kernel has killed for want of memory since the machine started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _environment(place: WorkerPlace) -> dict[str, str]:
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(_import_path())
    environment.update(dict.fromkeys(_THREADS, str(place.threads)))
    return environment


def _import_path() -> tuple[str, ...]:
    return tuple(str(Path(entry).absolute()) if entry else str(Path.cwd()) for entry in sys.path)


def _open_log(place: WorkerPlace, logs: Path | None) -> IO[bytes]:
    if logs is None:
        return tempfile.TemporaryFile(prefix="layersearch-worker-")
    logs.mkdir(parents=True, exist_ok=True)
    return (logs / f"worker-{place.number}.log").open("a+b")
