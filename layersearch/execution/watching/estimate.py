"""How long what can be foreseen will still take.

Only trials that are known to come are counted: those of a list, those that a budget of trials or
epochs leaves, or the rest of greedy's round. Each is given the mean time of the trials that ended,
or what the running ones let expect, with the error of that mean; free workers take the next in
turn. Of a search by rounds nobody knows how many will follow: then it is said for the round alone.
"""

import heapq
import statistics
from dataclasses import dataclass
from typing import Literal

from layersearch.execution.standing import Status
from layersearch.execution.watching.picture import Picture

_FIRST = 0.2  # share of a trial that must be done before its own pace counts
_ONE_BY_ONE = 5000  # trials that are given to workers one by one; more are divided


@dataclass(frozen=True, kw_only=True)
class TimeLeft:
    """Seconds, from the least to the most that is to be expected."""

    low: float
    high: float
    covers: Literal["search", "phase", "budget", "retraining"]  # budget: at most so long


def time_left(picture: Picture) -> TimeLeft | None:
    """What is left; None where nothing can be said yet."""
    if picture.retraining is not None:
        return _of_retraining(picture)
    status = picture.status
    if status is None or not picture.searching:
        return None
    bound = _of_budget(picture, status)
    each = _seconds_a_trial(picture)
    if each is None or status.remaining is None:
        return None if bound is None else TimeLeft(low=bound, high=bound, covers="budget")
    mean, error = each
    low = _makespan(picture, status, max(mean - 2 * error, mean / 4))
    high = _makespan(picture, status, mean + 2 * error)
    if bound is not None and low > bound:
        return TimeLeft(low=bound, high=bound, covers="budget")
    return TimeLeft(low=low, high=high if bound is None else min(high, bound), covers=status.covers)


def _seconds_a_trial(picture: Picture) -> tuple[float, float] | None:
    """The mean and its standard error."""
    known = list(picture.trained)
    if not known:
        now = picture.clock()
        for trial in picture.running.values():
            share = trial.share_done()
            if share is not None and share >= _FIRST:
                known.append((now - trial.began) / share)
        if not known:
            return None
    mean = statistics.fmean(known)
    if len(known) < 3:
        return mean, 0.0
    return mean, statistics.stdev(known) / len(known) ** 0.5


def _makespan(picture: Picture, status: Status, each: float) -> float:
    """Seconds until the last trial ends, if each takes `each`."""
    now = picture.clock()
    ends = []
    for trial in picture.running.values():
        share = trial.share_done()
        # Without a report: as long as the others, less what has passed.
        rest = each * (1 - share) if share is not None else each - (now - trial.began)
        ends.append(max(0.0, rest))
    theirs = sum(not worker.own for worker in status.crew)
    ends += [each / 2] * theirs  # on average half done
    ends += [0.0] * max(0, status.workers + theirs - len(ends))
    remaining = status.remaining or 0
    if not ends:
        return remaining * each
    if remaining > _ONE_BY_ONE:
        return (sum(ends) + remaining * each) / len(ends)
    heapq.heapify(ends)
    for _ in range(remaining):
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def _of_budget(picture: Picture, status: Status) -> float | None:
    """Seconds that a budget of time leaves; trials that run then are left to finish."""
    since = picture.clock() - picture.status_at
    for bound in status.budget:
        if bound.name == "seconds":
            return max(0.0, bound.limit - bound.used - since)
    return None


def _of_retraining(picture: Picture) -> TimeLeft | None:
    now = picture.retraining
    assert now is not None
    spent = picture.clock() - picture.retraining_began
    share = now.epoch / now.epochs if now.epochs else 0.0
    running = now.score is None
    if picture.retrained:
        each = statistics.fmean(picture.retrained)
    elif running and share >= _FIRST:
        each = spent / share
    else:
        return None
    rest = now.total - now.done - running
    left = rest * each + (max(0.0, each - spent) if running else 0.0)
    return TimeLeft(low=left, high=left, covers="retraining")
