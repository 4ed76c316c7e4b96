"""Tells the audience of a search where it stands."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from layersearch.execution.budgets import Budgets, Spending
from layersearch.execution.desk import Desk
from layersearch.execution.observer import Observers
from layersearch.execution.proposals import Foreseeing, Planner
from layersearch.execution.standing import Allowance, Status, WorkerNow
from layersearch.space.records import Follower, History, TrialRecord, TrialState
from layersearch.strategies.protocol import Progress
from layersearch.study import attributes as names
from layersearch.study.drivers import driver_records
from layersearch.study.lease import seconds_driven
from layersearch.study.opening import OpenStudy

_TELL = 0.5  # seconds between two statuses, at least
_AGAIN = 5.0  # seconds after which it is told again though nothing seems to have changed


@dataclass
class _Tally:
    """How the trials of a study ended."""

    scored: int = 0
    pruned: int = 0
    failed: int = 0
    interrupted: int = 0
    last_pruned: str = ""
    last_failed: str = ""
    front: list[tuple[float, ...]] = field(default_factory=list)


class Statuses:
    """Makes and tells statuses.

    Args:
        opened: the study.
        desk: knows what runs.
        audience: is told.
        planner: explains the strategy, if it can.
        budgets: of the study.
    """

    def __init__(
        self,
        opened: OpenStudy,
        desk: Desk,
        audience: Observers,
        *,
        planner: Planner | None,
        budgets: Budgets,
    ) -> None:
        self._opened = opened
        self._desk = desk
        self._audience = audience
        self._planner = planner
        self._budgets = budgets
        self._spending = Spending(budgets)
        self._tally = Follower(_Tally, _add)
        self._told = float("-inf")
        self._crew: tuple[WorkerNow, ...] | None = None

    def tell(self, crew: Sequence[WorkerNow], *, now: bool = False) -> None:
        """Tells the audience where the search stands, if there is news.

        Args:
            crew: the workers of this process and what they do.
            now: though it was told a moment ago.
        """
        since = time.monotonic() - self._told
        if not now and (since < _TELL or (tuple(crew) == self._crew and since < _AGAIN)):
            return
        self._told, self._crew = time.monotonic(), tuple(crew)
        self._audience.status(self._status(self._crew))

    def _status(self, crew: tuple[WorkerNow, ...]) -> Status:
        history = self._opened.history()
        progress = self._planner.explain(history) if self._planner else None
        best = max(history.scores.values(), key=lambda found: found.score or 0.0, default=None)
        minimised = self._opened.study.directions[0].name == "MINIMIZE"
        score = None if best is None else best.score
        tally = self._tally.of(history)
        remaining, covers = self._remaining(history, progress)
        return Status(
            done=history.known,
            running=len(self._desk.running),
            workers=sum(worker.doing != "waits" for worker in crew),
            phase=progress.phase if progress else "",
            remaining=remaining,
            covers="phase" if covers == "phase" else "search",
            best=best.subset if best else None,
            best_score=-score if minimised and score is not None else score,
            best_stderr=best.stderr if best else None,
            best_trial=best.number if best else None,
            front=len(tally.front) or None,
            answer=progress.best if progress else None,
            round=progress.round if progress else None,
            candidates=progress.candidates if progress else 0,
            candidates_done=progress.candidates_done if progress else 0,
            scored=tally.scored,
            pruned=tally.pruned,
            failed=tally.failed,
            interrupted=tally.interrupted,
            last_pruned=tally.last_pruned,
            last_failed=tally.last_failed,
            budget=tuple(self._allowances(history)),
            crew=(*crew, *self._others(history)),
        )

    def _remaining(self, history: History, progress: Progress | None) -> tuple[int | None, str]:
        """How many trials are still to begin as far as can be foreseen, and until when."""
        budgets, used = self._budgets, self._spending.of(history)
        epochs = None
        planner: object = self._planner
        if budgets.epochs is not None and isinstance(planner, Foreseeing):
            epochs = planner.next_epochs(history)
        left: list[tuple[int, str]] = []
        if budgets.trials is not None:
            left.append((budgets.trials - used.trials, "search"))
        for limit, so_far, each in (
            (budgets.trainings, used.trainings, budgets.trainings_per_trial),
            (budgets.epochs, used.epochs, budgets.epochs_of(epochs)),
        ):
            if limit is not None and each:
                left.append(((limit - so_far) // each, "search"))
        if progress is not None and progress.candidates:
            open_ones = progress.candidates - progress.candidates_done - len(history.active)
            left.append((open_ones, "search" if progress.whole else "phase"))
        if not left:
            return None, "search"
        fewest, covers = min(left)
        return max(0, fewest), covers

    def _allowances(self, history: History) -> Iterator[Allowance]:
        budgets, used = self._budgets, self._spending.of(history)
        if budgets.trials is not None:
            yield Allowance(name="trials", limit=budgets.trials, used=used.trials)
        if budgets.trainings is not None:
            yield Allowance(name="trainings", limit=budgets.trainings, used=used.trainings)
        if budgets.epochs is not None:
            yield Allowance(name="epochs", limit=budgets.epochs, used=used.epochs)
        if budgets.seconds is not None:
            attrs, token = self._opened.study.user_attrs, self._opened.lease.token
            driven = seconds_driven(attrs, now=time.time(), token=token)
            yield Allowance(name="seconds", limit=budgets.seconds, used=round(driven, 1))

    def _others(self, history: History) -> Iterator[WorkerNow]:
        """The trials that other processes run for this study."""
        theirs = [record for record in history.active if record.number not in self._desk.running]
        theirs = [record for record in theirs if record.attributes.get(names.DRIVER)]
        if not theirs:
            return
        drivers = {record.token: record for record in driver_records(self._opened.study.user_attrs)}
        for record in theirs:
            driver = drivers.get(record.attributes[names.DRIVER])
            if driver is not None and driver.token != self._opened.lease.token:
                yield WorkerNow(
                    name=f"process {driver.pid}",
                    doing="trains",
                    where=driver.host,
                    trial=record.number,
                    own=False,
                )


def _add(tally: _Tally, record: TrialRecord) -> None:
    attributes = record.attributes
    what = f"trial {record.number}, {record.subset}: "
    reason = str(attributes.get(names.REASON) or attributes.get(names.FAILURE) or "")
    first = (reason.splitlines() or [""])[0]
    if record.state is TrialState.COMPLETE:
        tally.scored += 1
        _join_front(tally.front, record.values)
    elif record.state is TrialState.PRUNED:
        tally.pruned += 1
        tally.last_pruned = what + first
    elif attributes.get(names.INTERRUPTED):
        tally.interrupted += 1
    else:
        tally.failed += 1
        tally.last_failed = what + first


def _join_front(front: list[tuple[float, ...]], values: tuple[float, ...]) -> None:
    """Puts in what no other beats, and takes out what it beats; higher is better."""
    if len(values) < 2 or any(_beats(other, values) or other == values for other in front):
        return
    front[:] = [other for other in front if not _beats(values, other)]
    front.append(values)


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
