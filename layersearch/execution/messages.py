"""What drivers and workers tell each other: plain frozen values, pickled on the way."""

from dataclasses import dataclass

from layersearch.errors import TrialStopped
from layersearch.space.trial import Proposal, Report, TrialResult, WorkerPlace

# --- From a worker, of one trial ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A trial finished an epoch; it may wait for the answer. The report comes without snapshot."""

    number: int
    report: Report


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A trial ended with a result."""

    number: int
    result: TrialResult


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """A trial ended because it was told to."""

    number: int
    stop: TrialStopped


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A trial ended with an error of its own."""

    number: int
    reason: str  # one line
    traceback: str = ""
    out_of_memory: bool = False  # then the worker is not used again
    splittable: bool = False  # whether fewer samples at a time would take less memory


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A trial's worker died."""

    number: int
    reason: str
    out_of_memory: bool = False  # the kernel killed it


Event = Reported | Finished | Stopped | Failed | Lost


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A worker has made its job."""


@dataclass(frozen=True, kw_only=True)
class Unready:
    """A worker could not make its job."""

    reason: str
    traceback: str


# --- To a worker ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Start:
    """Comes first: how to make the job."""

    place: WorkerPlace
    path: tuple[str, ...]  # the driver's sys.path
    factory: bytes  # a JobFactory, pickled by cloudpickle


@dataclass(frozen=True, kw_only=True)
class Run:
    """Run a trial.

    `answered`: whether each report waits for an Answer; otherwise only a stop is sent.
    """

    proposal: Proposal
    answered: bool


@dataclass(frozen=True, kw_only=True)
class Answer:
    """To a report: go on (None), or stop."""

    number: int
    stop: TrialStopped | None


@dataclass(frozen=True, kw_only=True)
class Exit:
    """Leave."""
