"""Between Ray Tune and the study: Tune asks here for trials, and says here what became of them."""

import logging
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.search import SearchAlgorithm

from layersearch.errors import SearchError, TrialStopped
from layersearch.execution.messages import (
    Event,
    Failed,
    Finished,
    Lost,
    Reported,
    Stopped,
    Unready,
)
from layersearch.execution.proposals import Ask, End, Rest
from layersearch.execution.ray_tune.trainable import (
    NUMBER,
    PARTS,
    RECIPE,
    SAID,
    SUBSET,
    TERMS,
    WHERE,
    Whereabouts,
    WorkerSpent,
    why_hangs,
)
from layersearch.execution.session import Session
from layersearch.execution.standing import Doing, WorkerNow
from layersearch.space.trial import Report

_log = logging.getLogger(__name__)
_ASK = 0.5  # seconds between two looks at what other drivers did
_TELLING = ("died", "exit", "unavailable", "memory")  # words in what Ray says of a death
_RESTARTS = 3  # workers a slot that may die one after another, no trial finishing in between


@dataclass(frozen=True, kw_only=True)
class Making:
    """How Tune's trials are made."""

    trainable: str  # the registered name
    terms: Mapping[str, Any]  # references to what workers need
    resources: Any  # a PlacementGroupFactory
    storage: Any  # a StorageContext
    checkpoints: Any  # a CheckpointConfig


class Bridge:
    """Knows which of Tune's trials is which of the study's.

    Args:
        session: the study, what to run next, what to record.
        making: how Tune's trials are made.
        limit: trials at once.
        trial_timeout: see ClusterOptions.
    """

    def __init__(
        self,
        session: Session,
        *,
        making: Making,
        limit: Callable[[], int],
        trial_timeout: float | None,
    ) -> None:
        self._session = session
        self._desk = session.desk
        self._proposals = session.proposals
        self._making = making
        self._limit = limit
        self._timeout = trial_timeout
        self._live: dict[int, Trial] = {}  # number in the study -> Tune's trial
        self._heard: dict[int, float] = {}
        self._news = True  # whether a trial ended since the last question
        self._asked = float("-inf")
        self._died = 0  # workers, one after another
        self.interrupted = False
        self.yields = False  # whether only trials of other drivers are left to wait for
        self.end: End | None = None  # why there is nothing to begin any more
        self.error: BaseException | None = None  # what went wrong within a callback of Tune's
        self.trials = 0
        # Not held: Ray ends a worker, and frees its room, when nobody refers to it any more.
        self._actors: WeakKeyDictionary[Any, Whereabouts] = WeakKeyDictionary()
        self._concluding: list[Any] = []

    @property
    def resources(self) -> Any:
        """What a worker takes: a PlacementGroupFactory."""
        return self._making.resources

    @property
    def runs(self) -> bool:
        """Whether any trial has a worker."""
        return any(trial.status == Trial.RUNNING for trial in self._live.values())

    @property
    def live(self) -> dict[int, Trial]:
        """Tune's trials that have not ended, by their number in the study."""
        return self._live

    # --- What Tune asks ---------------------------------------------------------------------------

    def next_trial(self) -> Trial | None:
        """The next trial to begin, if there is one now."""
        self._session.check_lease()
        if self.interrupted or self.error is not None:
            return None
        if self._busy() >= self._limit():
            return None
        if not self._news and time.monotonic() - self._asked < _ASK:
            return None
        verdict = self._proposals.next()
        self.yields = isinstance(verdict, Rest) and verdict.others and not self._desk.running
        if isinstance(verdict, Ask):
            return self._open(verdict)
        self._news, self._asked = False, time.monotonic()
        if not self._desk.running:
            if isinstance(verdict, End):
                self.end = verdict
            elif not verdict.others:
                raise SearchError(
                    f"strategy.name: it waits, but nothing is running: {verdict.reason}"
                )
        return None

    def _busy(self) -> int:
        return sum(trial.status != Trial.PAUSED for trial in self._live.values())

    def _open(self, ask: Ask) -> Trial:
        proposal, making = ask.proposal, self._making
        self._desk.open(ask.trial, proposal)
        self.trials += 1
        trial = Trial(
            making.trainable,
            config={
                NUMBER: proposal.number,
                SUBSET: list(proposal.subset.names),
                RECIPE: dict(proposal.recipe),
                PARTS: proposal.batch_parts,
                TERMS: making.terms,
            },
            trial_id=f"trial-{proposal.number}",
            experiment_tag=str(proposal.number),
            placement_group_factory=making.resources,
            storage=making.storage,
            checkpoint_config=making.checkpoints,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        )
        self._live[proposal.number] = trial
        self._heard[proposal.number] = time.monotonic()
        return trial

    # --- What Tune tells --------------------------------------------------------------------------

    def hear(self, trial: Trial, result: Mapping[str, Any]) -> list[Report] | None:
        """Records what a trial said; the reports that may go on to a scheduler, None if it ended.

        An error is kept for the driver, since Tune would wrap it up, and ends the trial.
        """
        number = int(trial.config[NUMBER])
        if number not in self._live:
            _log.warning("trial %d has ended; what its worker said late is dropped", number)
            return None
        self._heard[number] = time.monotonic()
        actor = trial.temporary_state.ray_actor
        if actor is not None:
            self._actors[actor] = result.get(WHERE) or Whereabouts()
        passed: list[Report] = []
        said = pickle.loads(result[SAID])  # noqa: S301 - from our own worker
        for item in said:
            if isinstance(item, Unready):
                text = f"a worker could not make its job: {item.reason}\n{item.traceback}"
                self.error = SearchError(text)
                return None
            if not isinstance(item, Report):
                self._ended(number, item)
                return None
            stop = self._told(Reported(number=number, report=item))
            if stop is not None:
                self._stop(number, stop)
                return None
            passed.append(item)
        return passed

    def prune(self, trial: Trial, report: Report | None) -> None:
        """Records that a scheduler has stopped a trial, if it has not ended."""
        number = int(trial.config[NUMBER])
        if number not in self._live:
            return
        if self.interrupted:
            stop = TrialStopped("interrupted", pruned=False)
        else:
            where = f" after epoch {report.epoch} of fold {report.fold}" if report else ""
            stop = TrialStopped(f"stopped by the scheduler{where}")
        self._stop(number, stop)

    def lost(self, trial: Trial, error: Exception) -> None:
        """Records that a trial's worker died, or was given up."""
        number = int(trial.config[NUMBER])
        if number not in self._live:
            return
        cause = error.cause if isinstance(error, RayTaskError) else error
        silent = time.monotonic() - self._heard[number]
        if isinstance(cause, WorkerSpent):
            self._ended(number, cause.event)
        elif isinstance(error, RayActorError):
            if self._timeout is not None and silent > self._timeout:
                self._ended(number, Failed(number=number, reason=why_hangs(self._timeout)))
                return
            self._ended(number, _lost(number, error))
        else:
            reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
            self._ended(number, Failed(number=number, reason=reason, traceback=str(error)))

    def drop_waiting(self) -> list[Trial]:
        """Trials that neither run nor will, because the search was interrupted."""
        waiting = [trial for trial in self._live.values() if trial.status != Trial.RUNNING]
        for trial in waiting:
            self._stop(int(trial.config[NUMBER]), TrialStopped("interrupted", pruned=False))
        return waiting

    # --- Workers ----------------------------------------------------------------------------------

    def began(self, trial: Trial) -> None:
        """A worker has the trial now."""
        self._actors.setdefault(trial.temporary_state.ray_actor, Whereabouts())

    def crew(self) -> tuple[WorkerNow, ...]:
        """The workers by node, what each does now, and trials that wait for room."""
        has = {
            trial.temporary_state.ray_actor: number
            for number, trial in self._live.items()
            if trial.status == Trial.RUNNING
        }
        found = []
        for actor, where in list(self._actors.items()):
            trial = has.pop(actor, None)
            doing: Doing = "idle" if trial is None else "trains" if where.pid else "starts"
            found.append(
                WorkerNow(
                    name=str(where.pid or "new"),
                    doing=doing,
                    where=where.node,
                    device=where.device,
                    trial=trial,
                )
            )
        found.sort(key=lambda worker: (worker.where, worker.name, worker.trial or 0))
        waiting = [n for n, t in self._live.items() if t.status in (Trial.PENDING, Trial.PAUSED)]
        return (
            *found,
            *(WorkerNow(name="", doing="waits", trial=number) for number in sorted(waiting)),
        )

    def await_conclusions(self) -> None:
        """Waits until the workers of interrupted trials have written down their states."""
        if self.interrupted and self._concluding:
            ray.wait(self._concluding, num_returns=len(self._concluding))

    def kill(self) -> None:
        """Kills all workers, whatever they do."""
        for actor in list(self._actors):
            ray.kill(actor)

    # --- Ends -------------------------------------------------------------------------------------

    def _stop(self, number: int, stop: TrialStopped) -> None:
        actor = self._live[number].temporary_state.ray_actor
        if actor is not None:
            # It hears why before Tune gives it to another trial: only what was interrupted is kept.
            self._concluding.append(actor.conclude.remote(stop.reason, stop.pruned))
        self._ended(number, Stopped(number=number, stop=stop))

    def _ended(self, number: int, event: Event) -> None:
        del self._live[number]
        self._heard.pop(number, None)
        self._news = True
        if isinstance(event, Lost):
            self._died += 1
        elif isinstance(event, Finished | Stopped):
            self._died = 0
        self._told(event)
        if self._died > _RESTARTS * max(1, self._limit()) and isinstance(event, Lost):
            self.error = self.error or SearchError(
                f"workers keep dying: {self._died} one after another, and no trial finished in "
                f"between; the last: {event.reason}"
            )

    def _told(self, event: Event) -> TrialStopped | None:
        try:
            return self._desk.handle(event)
        except Exception as error:  # noqa: BLE001 - the driver raises it
            self.error = self.error or error
            return TrialStopped("the search ended", pruned=False)


class StudySearch(SearchAlgorithm):
    """Where Tune gets its trials."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def next_trial(self) -> Trial | None:
        """See Bridge."""
        return self._bridge.next_trial()

    def is_finished(self) -> bool:
        """Whether nothing more will begin."""
        bridge = self._bridge
        over = bridge.end is not None or bridge.interrupted or bridge.error is not None
        return bool(self._finished) or over


class Recorder(Callback):
    """Hears what Tune does not tell its scheduler: results that end a trial, and beginnings."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002 (Tune's signature)
        trials: Sequence[Trial],  # noqa: ARG002
        trial: Trial,
        result: dict[str, Any],
        **info: Any,  # noqa: ARG002
    ) -> None:
        """The last thing that a trial says."""
        # Tune marks as done what the scheduler stops, too: that is recorded.
        if result.get("done") and int(trial.config[NUMBER]) in self._bridge.live:
            self._bridge.hear(trial, result)
        result.pop(SAID, None)  # Tune would keep it

    def on_trial_start(
        self,
        iteration: int,  # noqa: ARG002 (Tune's signature)
        trials: Sequence[Trial],  # noqa: ARG002
        trial: Trial,
        **info: Any,  # noqa: ARG002
    ) -> None:
        """A worker has a trial."""
        self._bridge.began(trial)


def _lost(number: int, error: RayActorError) -> Lost:
    """A worker's death in words."""
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    known = [line for line in lines if any(word in line for word in _TELLING)]
    reason = f"its worker died ({'; '.join(dict.fromkeys(known[:3])) or lines[0]})"
    return Lost(number=number, reason=reason, out_of_memory="memory" in text and "low" in text)
