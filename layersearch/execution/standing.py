"""What watchers of a search are told, as plain values: how it begins, where it stands, how it ends.

Scores are in the study's own direction; times are seconds. Nothing here holds a password: addresses
and settings are masked by whoever makes these values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from layersearch.space.subset import Subset

Doing = Literal["trains", "idle", "starts", "waits"]  # waits: for room in a cluster


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What runs: comes once, before the first trial."""

    command: str  # 'search', 'profile' or 'worker'
    study: str
    identity: str  # the same in every run of this study, another one in any other study
    strategy: str
    metrics: tuple[str, ...]  # one a value
    directions: tuple[str, ...]  # 'maximize' or 'minimize', one a value
    backbone: str = ""
    data: str = ""
    units: int = 0  # that a search switches on or off
    folds: int = 0
    epochs: int = 0  # of a training
    runner: str = "local"
    folder: str = ""
    storage: str = ""
    ended: int = 0  # trials that ended in earlier runs
    notes: tuple[str, ...] = ()  # of the data: what a user should know
    config: Mapping[str, Any] = field(default_factory=dict)  # every setting, as JSON values


@dataclass(frozen=True, kw_only=True)
class WorkerNow:
    """A worker and what it does."""

    name: str
    doing: Doing
    where: str = ""  # its node in a cluster, or whose process it is
    device: str = ""
    trial: int | None = None
    own: bool = True  # False: of another process that works on the same study


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """One bound of a search, over all its workers and runs."""

    name: Literal["trials", "trainings", "epochs", "seconds"]
    limit: float
    used: float  # with what running trials will use; of seconds, until now


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a search stands."""

    done: int  # trials that ended, in this study
    running: int  # by this process
    workers: int  # of this process
    phase: str = ""  # of the strategy, in words
    remaining: int | None = None  # trials still to begin, in what `covers` says; None: not known
    covers: Literal["search", "phase"] = "search"
    best: Subset | None = None  # of the best score
    best_score: float | None = None
    best_stderr: float | None = None
    best_trial: int | None = None
    front: int | None = None  # of several values: subsets that no other beats in every value
    answer: Subset | None = None  # what the strategy would choose now
    round: int | None = None  # from 1; None: the strategy has no rounds
    candidates: int = 0  # of the round, or of a strategy with a list; 0: not known
    candidates_done: int = 0
    scored: int = 0  # of `done`: have a score
    pruned: int = 0
    failed: int = 0  # of themselves
    interrupted: int = 0  # to be run again
    last_pruned: str = ""  # the trial and why
    last_failed: str = ""
    budget: tuple[Allowance, ...] = ()
    crew: tuple[WorkerNow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RetrainingNow:
    """The winner or a baseline is being retrained, after the search, on all training samples."""

    name: str  # 'chosen', 'linear_probe', 'full_finetune', 'lp_ft'
    subset: Subset
    seed: int  # which of its retrainings, from 0
    seeds: int
    done: int  # retrainings that have ended, of all
    total: int  # retrainings in all
    epoch: int  # epochs done of this one
    epochs: int
    metric: str = ""
    score: float | None = None  # on the test split, once it has ended


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How it ended: comes once, whatever happened."""

    ending: Literal["done", "budget", "interrupted", "failed"]
    reason: str  # in words
    subset: Subset | None = None  # that was chosen
    score: float | None = None  # on validation samples
    stderr: float | None = None
    test_score: float | None = None  # the mean over retrainings, where there were any
    folder: str = ""
