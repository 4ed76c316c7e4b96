"""A search as plain lines, for log files and pipes: one a trial, and signs of life between."""

import threading

from rich.console import Console
from rich.text import Text

from layersearch.execution.standing import Beginning
from layersearch.execution.watching.estimate import time_left
from layersearch.execution.watching.picture import Picture
from layersearch.execution.watching.wording import between, duration, plural, score
from layersearch.space import contender_name

HEARTBEAT = 60.0  # seconds without a line until there is one


class PlainLines:
    """Prints lines as they come.

    Args:
        console: where.
        picture: what to say.
        lock: held by whoever changes the picture.
        heartbeat: seconds without a line until there is one.
    """

    def __init__(
        self, console: Console, picture: Picture, lock: "threading.RLock", *, heartbeat: float
    ) -> None:
        self._console = console
        self._picture = picture
        self._lock = lock
        self._heartbeat = heartbeat
        self._last = picture.clock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="progress", daemon=True)

    def start(self) -> None:
        """Begins to look for long silences."""
        self._thread.start()

    def stop(self) -> None:
        """Ends that."""
        self._over.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def ended_trial(self, text: str) -> None:
        """A line on a trial, with where the search stands."""
        self.line(f"{text}  ({standing(self._picture)})")

    def line(self, text: str) -> None:
        """Prints one."""
        self._last = self._picture.clock()
        self._console.print(Text(text), soft_wrap=True)

    def _beat(self) -> None:
        while not self._over.wait(min(1.0, self._heartbeat / 4)):
            with self._lock:
                if self._picture.clock() - self._last >= self._heartbeat:
                    self.line(f"… {heartbeat(self._picture)}")


def about(beginning: Beginning) -> str:
    """What runs, in a line."""
    earlier = f", {plural(beginning.ended, 'trial')} known" if beginning.ended else ""
    return (
        f"{beginning.study}: {beginning.strategy} over {beginning.units} units of "
        f"{beginning.backbone} on {beginning.data}{earlier}"
    )


def standing(picture: Picture) -> str:
    """One line: where the search stands, epochs per second, time left."""
    status, parts = picture.status, []
    if status is not None and status.phase:
        parts.append(status.phase)
    parts.append(f"{plural(picture.done, 'trial')} done")
    if picture.running:
        parts.append(f"{len(picture.running)} running")
    if status is not None and status.remaining is not None:
        parts.append(f"{status.remaining} to begin")
    rate = picture.epochs_per_second()
    if rate:
        parts.append(f"{rate:.1f} epochs/s")
    left = left_in_words(picture)
    if left:
        parts.append(left)
    parts.append(duration(picture.elapsed))
    return " · ".join(parts)


def left_in_words(picture: Picture, *, word: str = " left") -> str:
    """'about 40 s left in this round'; '' where nothing can be said.

    Args:
        picture: of the search.
        word: '' where it is said already what the time is.
    """
    left = time_left(picture)
    if left is None:
        return ""
    if left.covers == "budget":
        return f"at most {duration(left.high)}{word}"
    where = ""
    if left.covers == "phase":
        rounds = picture.status is not None and picture.status.round is not None
        where = " in this round" if rounds else " for these"
    return f"{between(left.low, left.high)}{word}{where}"


def heartbeat(picture: Picture) -> str:
    """What goes on in a long silence."""
    now = picture.retraining
    if now is not None:
        return (
            f"{contender_name(now.name)}, retraining {now.seed + 1} of {now.seeds}: epoch "
            f"{now.epoch} of {now.epochs} · {duration(picture.elapsed)}"
        )
    if not picture.running:
        return f"{picture.doing or 'waiting'} · {standing(picture)}"
    told = []
    for number, trial in list(picture.running.items())[:4]:
        report = trial.report
        if report is None:
            told.append(f"trial {number} begins")
            continue
        of = f" of {report.epochs_total}" if report.epochs_total else ""
        told.append(f"trial {number} epoch {report.epochs_done}{of} {score(report.score)}")
    more = len(picture.running) - len(told)
    if more:
        told.append(f"{more} more")
    return f"{', '.join(told)} · {standing(picture)}"
