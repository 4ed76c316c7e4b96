"""A worker under Ray Tune: an actor that makes its job once and then runs one trial after another.

Tune's words for what happens to a trial: `train` (go on to the next report), `save` and `restore`
(pause and resume, perhaps on another node), `reset` (the next trial), `stop` (leave).
"""

import contextlib
import faulthandler
import os
import pickle
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle
import ray
from ray.tune import Trainable

from layersearch.errors import TrialStopped
from layersearch.execution.jobs import describe
from layersearch.execution.messages import Failed, Finished, Stopped, Unready
from layersearch.execution.ray_tune.shipping import unpack
from layersearch.execution.ray_tune.trial_thread import Said, TrialThread
from layersearch.space.subset import Subset
from layersearch.space.trial import Job, Proposal, Report, WorkerPlace

# Of a trial's config.
NUMBER, SUBSET, RECIPE, PARTS, TERMS = "number", "subset", "recipe", "batch_parts", "terms"
SAID, WHERE = "said", "where"  # of a result
SNAPSHOT = "trial.snapshot"  # the file in a checkpoint; the step it was made at is beside it
STEP = "trial.step"
_MARGIN = 10.0  # seconds after which a worker that holds the interpreter's lock ends itself


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What every worker of a search is told; it travels once a node."""

    path: tuple[str, ...]  # the driver's sys.path
    device: str | None
    threads: int
    trials_on_node: int
    trials_on_gpu: int
    trial_timeout: float | None
    ahead: bool  # whether trials go on without waiting for an answer to each report


@dataclass(frozen=True, kw_only=True)
class Whereabouts:
    """Which worker says something."""

    node: str = (
        ""  # its host, and the beginning of Ray's name for the node: a host may have several
    )
    pid: int = 0
    device: str = ""


class WorkerSpent(Exception):
    """A trial failed so that its worker cannot be used again: it hangs, or has no memory left.

    Args:
        event: how the trial ended.
    """

    def __init__(self, event: Failed) -> None:
        super().__init__(event)
        self.event = event


class TrialActor(Trainable):
    """Runs trials; see the module."""

    def __init__(self, config: dict[str, Any], **arguments: Any) -> None:
        os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # the user's paths stay what they are
        self._job: Job | None = None
        self._terms: Terms | None = None
        self._thread: TrialThread | None = None
        self._proposal: Proposal
        self._after: int | None = None  # the step of the last report that was passed on
        self._hangs = False
        self._spent: Failed | None = None
        super().__init__(config, **arguments)

    def setup(self, config: dict[str, Any]) -> None:
        """Keeps where the job comes from; it is made with the first trial, which may take long."""
        self._sent = config[TERMS]
        node = ray.get_runtime_context().get_node_id()[:6]
        self._where = Whereabouts(node=f"{socket.gethostname()}/{node}", pid=os.getpid())
        self._begin(config)

    def step(self) -> dict[str, Any]:
        """The trial's next reports, and its end.

        Raises:
            WorkerSpent: it was the end of this worker, too.
        """
        if self._spent is not None:
            raise WorkerSpent(self._spent)
        if self._job is None:
            unready = self._make_job()
            if unready is not None:
                return self._result([unready])
        assert self._job is not None
        assert self._terms is not None
        if self._thread is None:
            self._thread = TrialThread(
                self._job, self._proposal, ahead=self._terms.ahead, after=self._after
            )
        timeout = self._terms.trial_timeout
        try:
            with _watched(timeout):
                said = self._thread.next(timeout=timeout)
        except TimeoutError:
            self._hangs = True
            said = [Failed(number=self._proposal.number, reason=why_hangs(timeout))]
        last = said[-1]
        if isinstance(last, Failed) and (self._hangs or last.out_of_memory):
            self._spent = last
            if len(said) == 1:
                raise WorkerSpent(last)
            said = said[:-1]
        return self._result(said)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Ends what still runs and turns to the next trial."""
        if not self.conclude():
            os._exit(1)  # a trial that does not end: nobody shall wait for this worker
        self._begin(new_config)
        return True

    def conclude(self, reason: str = "stopped", pruned: bool = True) -> bool:
        """Ends the trial; whether it did. Called by the driver when it is not to go on."""
        thread, self._thread = self._thread, None
        if thread is None or self._terms is None:
            return True
        # As long as an epoch lasts; one that goes ahead hears of its end after the next only.
        return thread.end(TrialStopped(reason, pruned=pruned), seconds=self._terms.trial_timeout)

    def save_checkpoint(self, checkpoint_dir: str) -> str:
        """Writes the trial's state, if its job offers it."""
        folder = Path(checkpoint_dir)
        state = None if self._thread is None else self._thread.snapshot()
        if state is not None:
            (folder / SNAPSHOT).write_bytes(state)
        (folder / STEP).write_text("" if self._after is None else str(self._after))
        return checkpoint_dir

    def load_checkpoint(self, checkpoint: str) -> None:
        """Reads what `save_checkpoint` wrote; the trial goes on from there."""
        folder = Path(checkpoint)
        step = (folder / STEP).read_text()
        self._after = int(step) if step else None
        file = folder / SNAPSHOT
        state = file.read_bytes() if file.exists() else None
        self._proposal = replace(self._proposal, snapshot=state)

    def cleanup(self) -> None:
        """Ends what still runs."""
        if self._hangs or not self.conclude():
            os._exit(1)

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._proposal = Proposal(
            number=config[NUMBER],
            subset=Subset(config[SUBSET]),
            recipe=config[RECIPE],
            batch_parts=config[PARTS],
        )
        self._after = None
        self.config: dict[str, Any] = {}  # each result would carry it

    def _make_job(self) -> Unready | None:
        try:
            self._terms = ray.get(self._sent["terms"])
            assert self._terms is not None
            for entry in self._terms.path:
                if entry not in sys.path and Path(entry).exists():
                    sys.path.append(entry)
            factory = unpack(ray.get(self._sent["factory"]))
            place = self._place(self._terms)
            self._where = replace(self._where, device=place.device)
            self._job = factory(place)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the driver tells the user
            reason, traceback = describe(error)
            return Unready(reason=reason, traceback=traceback)
        return None

    def _place(self, terms: Terms) -> WorkerPlace:
        gpus = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
        # Ray shows a worker no other GPUs than its own: the first of them is always number 0.
        device = terms.device or ("cuda:0" if gpus else "cpu")
        return WorkerPlace(
            number=self._proposal.number,
            device=device,
            threads=terms.threads,
            workers_on_node=terms.trials_on_node,
            workers_on_device=terms.trials_on_gpu if device.startswith("cuda") else 1,
        )

    def _result(self, said: Sequence[Said | Unready]) -> dict[str, Any]:
        for item in said:
            if isinstance(item, Report):
                self._after = item.step
        # Large and of any type, it travels as bytes: Tune keeps and copies what it can look into.
        return {
            SAID: _packed(said, self._proposal.number),
            WHERE: self._where,
            "done": not isinstance(said[-1], Report),
        }


def why_hangs(timeout: float | None) -> str:
    """What the user is told of a trial that says nothing."""
    return (
        f"no report for {timeout or 0:g} s (execution.trial_timeout): the worker hangs and was "
        "killed"
    )


def _packed(said: Sequence[Any], number: int) -> bytes:
    try:
        packed: bytes = cloudpickle.dumps(list(said))
    except Exception as error:  # noqa: BLE001 - a result may hold anything
        reason, traceback = describe(error)
        text = f"the result cannot be sent to the driver: {reason}"
        kept = [item for item in said if not isinstance(item, Finished | Stopped)]
        packed = pickle.dumps([*kept, Failed(number=number, reason=text, traceback=traceback)])
    return packed


@contextlib.contextmanager
def _watched(timeout: float | None) -> Iterator[None]:
    """Ends this process, with its stacks printed, if it cannot even notice that time is up."""
    if timeout is None:
        yield
        return
    faulthandler.dump_traceback_later(timeout + _MARGIN, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
