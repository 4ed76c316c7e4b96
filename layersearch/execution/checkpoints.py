"""Checkpoints: the states of running trials in files, so that an interrupted trial goes on.

A trial's state is written at most every so many seconds, and when the trial is interrupted; the
next trial of the same subset and recipe, in whatever process, looks for it when it starts. A worker
reads and writes; the driver removes the file when the trial has ended for good and is recorded.

A file holds a mark, a checksum and the state. It is written aside and renamed, so that a full disk
or a crash leaves the previous one. A damaged file, or that of another trial, is not used.
"""

import contextlib
import errno
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from layersearch.errors import SnapshotError, TrialStopped
from layersearch.space.files import write_whole
from layersearch.space.trial import (
    Job,
    JobFactory,
    Proposal,
    Report,
    Reporter,
    TrialResult,
    WorkerPlace,
)

EVERY = 60.0  # seconds between two checkpoints of a trial
_SHARE = 0.01  # of a trial's time that checkpoints may take, at most
_MARK = b"layersearch checkpoint 1\n"
_DIGEST = 32  # bytes
_SUFFIX = ".ckpt"


class Checkpoints:
    """The checkpoint files of a search; it can be pickled, and belongs to no process.

    Args:
        directory: where they are, for all workers; None: nothing is kept.
        every: seconds between two of a trial, more where writing one takes more than a hundredth
            of that; 0: after every report, whatever it takes.
        key: changes whenever a trial of the same subset and recipe would give something else.
    """

    def __init__(self, directory: Path | None, *, every: float = EVERY, key: str = "") -> None:
        self.directory = None if directory is None else Path(directory).absolute()
        self.every = every
        self._key = key

    def path(self, proposal: Proposal) -> Path | None:
        """The file of a trial, whether or not there is one."""
        if self.directory is None:
            return None
        return self.directory / f"{self._identity(proposal).hex()}{_SUFFIX}"

    def read(self, proposal: Proposal) -> tuple[bytes | None, str]:
        """The trial's state, if there is one that can be used; and why not, if a file is there."""
        path = self.path(proposal)
        if path is None:
            return None, ""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None, ""
        except OSError as error:
            return None, f"{path}: cannot be read ({error.strerror}); the trial starts over"
        mark, digest, state = _parts(content)
        if mark == _MARK and digest == self._checksum(proposal, state):
            return state, ""
        return None, f"{path}: is damaged and not used; the trial starts over"

    def write(self, proposal: Proposal, state: bytes) -> None:
        """Keeps a state; raises OSError, and then the one before is still there."""
        path = self.path(proposal)
        if path is not None:
            write_whole(path, b"".join((_MARK, self._checksum(proposal, state), state)))

    def remove(self, proposal: Proposal) -> None:
        """Removes the trial's file, if there is one."""
        path = self.path(proposal)
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes all files, and the folder if nothing else is in it."""
        if self.directory is None:
            return
        with contextlib.suppress(OSError):
            for path in (*self.directory.glob(f"*{_SUFFIX}"), *self.directory.glob(".*.part")):
                path.unlink(missing_ok=True)
            self.directory.rmdir()

    def wrap(self, factory: JobFactory) -> JobFactory:
        """The factory, its jobs kept and resumed; for the driver, which makes the folder.

        Workers do not: on a machine that does not share the folder nothing is to be written.
        """
        if self.directory is None:
            return factory
        with contextlib.suppress(OSError):
            self.directory.mkdir(parents=True, exist_ok=True)
        return _Factory(factory, self)

    def _identity(self, proposal: Proposal) -> bytes:
        parts = [self._key, list(proposal.subset.names), dict(proposal.recipe)]
        trial = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.blake2b(trial.encode(), digest_size=16).digest()

    def _checksum(self, proposal: Proposal, state: bytes) -> bytes:
        # Of the trial too: a file under another's name is not used.
        key = self._identity(proposal)
        return hashlib.blake2b(state, digest_size=_DIGEST, key=key).digest()


class _Factory:
    """Makes jobs that are kept and resumed."""

    def __init__(self, factory: JobFactory, checkpoints: Checkpoints) -> None:
        self._factory = factory
        self._checkpoints = checkpoints

    def __call__(self, place: WorkerPlace) -> Job:
        return _Job(self._factory(place), self._checkpoints)


class _Job:
    """A job whose trials are resumed from their checkpoints and leave some."""

    def __init__(self, job: Job, checkpoints: Checkpoints) -> None:
        self._job = job
        self._checkpoints = checkpoints
        self._pace = _Pace(checkpoints.every)

    def __call__(self, proposal: Proposal, report: Reporter) -> TrialResult:
        if proposal.snapshot is not None:
            return self._job(proposal, self._keeper(proposal, report))
        state, why_not = self._checkpoints.read(proposal)
        keeper = self._keeper(proposal, report, note=why_not)
        try:
            return self._job(replace(proposal, snapshot=state), keeper)
        except SnapshotError as error:
            if state is None or keeper.reported:
                raise
            path = self._checkpoints.path(proposal)
            note = f"{path}: is not used ({error}); the trial starts over"
            return self._job(proposal, self._keeper(proposal, report, note=note))

    def _keeper(self, proposal: Proposal, report: Reporter, *, note: str = "") -> "_Keeper":
        return _Keeper(proposal, self._checkpoints, report, pace=self._pace, note=note)


class _Pace:
    """How long it is from one checkpoint to the next, by what the last one took."""

    def __init__(self, every: float) -> None:
        self._every = every
        self.took = 0.0  # seconds

    @property
    def pause(self) -> float:
        return max(self._every, self.took / _SHARE) if self._every else 0.0


class _Keeper:
    """A trial's reporter that writes a checkpoint now and then."""

    def __init__(
        self,
        proposal: Proposal,
        checkpoints: Checkpoints,
        report: Reporter,
        *,
        pace: _Pace,
        note: str,
    ) -> None:
        self._proposal = proposal
        self._checkpoints = checkpoints
        self._report = report
        self._note = note
        self._pace = pace
        self._next = time.monotonic() + pace.pause
        self.reported = False

    def __call__(self, said: Report) -> None:
        if self._note:
            said = replace(said, notes=(*said.notes, self._note))
            self._note = ""
        self.reported = True
        try:
            self._report(said)
        except TrialStopped as stop:
            if stop.pruned or said.snapshot is None:
                raise
            trouble = self._keep(said.snapshot)
            if trouble:
                raise TrialStopped(f"{stop.reason}; {trouble}", pruned=False) from stop
            raise
        if said.snapshot is None or said.replayed or time.monotonic() < self._next:
            return
        self._note = self._keep(said.snapshot)

    def _keep(self, snapshot: Callable[[], bytes]) -> str:
        """Writes the state; why it could not, or ''."""
        began = time.monotonic()
        trouble = ""
        try:
            directory = self._checkpoints.directory
            if directory is None or not directory.is_dir():
                raise FileNotFoundError(errno.ENOENT, "there is no such folder on this machine")
            self._checkpoints.write(self._proposal, snapshot())
        except Exception as error:  # noqa: BLE001 - a trial is worth more than its checkpoint
            text = error.strerror if isinstance(error, OSError) else repr(error)
            trouble = (
                f"{self._checkpoints.directory}: a checkpoint cannot be written ({text}); trials "
                "go on, but one that is interrupted may start over"
            )
        now = time.monotonic()
        self._pace.took = now - began
        self._next = now + self._pace.pause
        return trouble


def _parts(content: bytes) -> tuple[bytes, bytes, bytes]:
    end = len(_MARK) + _DIGEST
    return content[: len(_MARK)], content[len(_MARK) : end], content[end:]
