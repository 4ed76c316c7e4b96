"""What crosses between the driver of a search and whatever runs its trials: plain values.

The driver hands a `Proposal` to a `Job` in some process; the job calls back with a `Report` an
epoch and ends with a `TrialResult`, or with an exception. A `JobFactory` makes the job once in each
worker: it loads backbone, data and caches there, on the `WorkerPlace` it is given.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layersearch.space.subset import Subset


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """One trial to run."""

    number: int  # of the trial in its study, from 0
    subset: Subset
    recipe: Mapping[str, float | int | str] = field(default_factory=dict)  # sampled numbers, if any
    snapshot: bytes | None = field(default=None, repr=False)  # state to resume from
    look: int | None = None  # epochs of a schedule shorter than the recipe's; also in `recipe`
    batch_parts: int = 1  # that each batch is trained in, where memory does not take it whole


@dataclass(frozen=True, kw_only=True)
class SoFar:
    """Which validation samples a trial had right, of those of the folds that have ended.

    Both hold a bit for each of the pooled validation samples, in the order of their ids, as
    `pack_correct` makes them.
    """

    correct: bytes
    known: bytes  # of which samples it is known
    count: int  # samples of all folds


@dataclass(frozen=True, kw_only=True)
class Report:
    """The score after an epoch of one fold.

    `step` orders the reports of a trial and compares them between trials: fold * epochs + epoch.
    """

    fold: int  # from 0
    epoch: int  # within the fold, from 0
    score: float  # in the study's own direction (not oriented)
    step: int
    epochs_done: int = 0  # by the trial so far, over all folds
    epochs_total: int = 0  # that the trial will train if it is not stopped; 0: not known
    replayed: bool = False  # said before, by the trial that this one resumes: it cost nothing now
    notes: tuple[str, ...] = ()  # what the user should know, in words
    # At the end of every fold but the last, where the score is a share of samples.
    so_far: SoFar | None = field(default=None, compare=False, repr=False)
    # The trial's state after this epoch, to resume from; callable only while the reporter runs.
    snapshot: Callable[[], bytes] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a finished trial found.

    `correct` and `count`: which of the pooled validation samples were classified rightly, in the
    order of their ids, as `pack_correct` makes them; for paired comparisons.
    """

    values: tuple[float, ...]  # one an objective, in the study's own directions
    stderr: float | None = None  # of the first value, over the validation samples or folds
    fold_scores: tuple[float, ...] = ()
    correct: bytes | None = None
    count: int = 0  # samples in `correct`
    costs: Mapping[str, float] = field(default_factory=dict)  # e.g. trainable_parameters, flops
    constraints: Mapping[str, float] = field(default_factory=dict)  # feasible when all are <= 0
    attributes: Mapping[str, Any] = field(default_factory=dict)  # JSON values, for the study


@dataclass(frozen=True, kw_only=True)
class WorkerPlace:
    """Where a worker runs."""

    number: int  # of the worker, from 0
    device: str = "cpu"  # 'cpu', 'cuda:0', 'mps' …
    threads: int = 1  # CPU threads that the worker may use
    workers_on_node: int = 1  # they share the node's memory and cache files
    workers_on_device: int = 1  # they share its memory


Reporter = Callable[[Report], None]  # raises TrialStopped when the trial shall end
Job = Callable[[Proposal, Reporter], TrialResult]  # lets TrialStopped pass
JobFactory = Callable[[WorkerPlace], Job]  # can be pickled by cloudpickle


def pack_correct(correct: NDArray[np.bool_]) -> bytes:
    """The bits of `correct` (N,), eight a byte."""
    return np.packbits(correct).tobytes()


def unpack_correct(packed: bytes, count: int) -> NDArray[np.bool_]:
    """The inverse of `pack_correct`: (count,)."""
    bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=count)
    return bits.astype(np.bool_)
