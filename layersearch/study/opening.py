"""Opens a study: checks its name, storage and fingerprint, takes the lease, fails orphans."""

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import optuna
from optuna.exceptions import DuplicatedStudyError, OptunaError
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from sqlalchemy.exc import SQLAlchemyError

from layersearch.errors import StudyError
from layersearch.space.records import History
from layersearch.study.fingerprint import Fingerprint, keep_fingerprint
from layersearch.study.history import history
from layersearch.study.lease import Lease
from layersearch.study.names import check_study_name
from layersearch.study.orphans import Orphans
from layersearch.study.patience import STORAGE_TIMEOUT, Patience, Say, log
from layersearch.study.resilient import ResilientStorage
from layersearch.study.storages import masked, open_storage, resilient, resolve_storage
from layersearch.study.troubles import one_line

Direction = Literal["minimize", "maximize"]
# Seconds between the time a driver waits for its storage and its death in the eyes of others: to
# notice, to end its workers, and for clocks that differ.
_MARGIN = 90.0


class OpenStudy:
    """A study that this process may drive; a context manager that lets go of it at the end."""

    def __init__(
        self, *, study: optuna.Study, storage: ResilientStorage, url: str, lease: Lease
    ) -> None:
        self.study = study
        self.storage = storage
        self.url = url  # holds the password, if there is one; show `address` instead
        self.lease = lease
        self._orphans = Orphans(study, storage, lease)
        self.orphans: tuple[int, ...] = ()  # trials of a dead driver, failed when it was opened
        self._closed = False

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.study_name

    @property
    def address(self) -> str:
        """The storage, without password."""
        return masked(self.url)

    def history(self) -> History:
        """The study's trials as records."""
        return history(self.study)

    def fail_orphans(self) -> list[int]:
        """Fails the trials of drivers that died; gives their numbers."""
        return self._orphans.fail()

    def close(self) -> None:
        """Fails what was begun and not ended, and releases the lease; may be called again."""
        if self._closed:
            return
        self._closed = True
        # A storage that is away cannot be told; others will find that this driver is dead.
        with contextlib.suppress(StudyError):
            if not self.lease.lost:
                self._orphans.fail_own()
        with contextlib.suppress(StudyError):
            self.lease.release()
        self.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_study(
    name: str,
    *,
    storage: str | Path | BaseStorage | None = None,
    directory: str | Path = "runs",
    directions: Sequence[Direction] = ("maximize",),
    metrics: Sequence[str] | None = None,
    sampler: BaseSampler | None = None,
    pruner: BasePruner | None = None,
    fingerprint: Fingerprint | None = None,
    join: bool = False,
    worker: bool = False,
    storage_timeout: float = STORAGE_TIMEOUT,
    stale_after: float | None = None,
    say: Say = log,
) -> OpenStudy:
    """The study `name`, made if it does not exist, held by this process.

    Args:
        name: of the study; also of its folder under `directory`.
        storage: see `resolve_storage`; or any Optuna storage object.
        directory: where studies keep their folders.
        directions: 'maximize' or 'minimize', one an objective.
        metrics: names of the objectives, as Optuna and its dashboard show them.
        sampler: Optuna's own, or an adapter of a strategy.
        pruner: None: nothing is pruned.
        fingerprint: section -> description of what the scores depend on; None: not checked.
        join: whether to share the study with drivers that hold it already.
        worker: whether to help whoever drives it, now or later.
        storage_timeout: seconds to wait for a storage that does not answer any more, or is locked;
            less where `stale_after` is so short that others would take its work meanwhile.
        stale_after: seconds without a heartbeat after which this driver counts as dead on other
            machines; None: 90 more than it waits for its storage.
        say: is told when the storage does not answer, when it does again, and what was mended.

    Raises:
        StudyError: the name is unsafe, the storage cannot be opened, another driver holds it, or
            its directions differ.
        FingerprintError: it was made with something else.
    """
    check_study_name(name)
    if stale_after is None:
        stale_after = storage_timeout + _MARGIN
    storage_timeout = min(storage_timeout, max(stale_after - _MARGIN, stale_after / 2))
    url, opened = _open(
        storage, name=name, directory=Path(directory), timeout=storage_timeout, say=say
    )
    try:
        study = optuna.create_study(
            study_name=name,
            storage=opened,
            directions=list(directions),
            sampler=sampler,
            pruner=pruner or NopPruner(),
            load_if_exists=True,
        )
        _check_directions(study, directions)
        lease = Lease(
            study,
            join=join,
            worker=worker,
            stale_after=stale_after,
            at_once=opened.without_waiting,
        )
    except (OptunaError, SQLAlchemyError) as error:
        raise _unreachable(url, error) from error
    opened.driver = lease.token
    result = OpenStudy(study=study, storage=opened, url=url, lease=lease)
    try:
        if fingerprint is not None:
            keep_fingerprint(study, fingerprint)
        if metrics is not None and study.metric_names != list(metrics):
            with warnings.catch_warnings():  # that Optuna calls it experimental
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(list(metrics))
        result.orphans = tuple(result.fail_orphans())
    except BaseException:
        result.close()
        raise
    return result


def read_study(
    name: str, *, storage: str | Path | BaseStorage | None = None, directory: str | Path = "runs"
) -> optuna.Study:
    """An existing study, to look at: no lease, nothing is changed.

    Raises:
        StudyError: there is none of that name; lists those there are.
    """
    check_study_name(name)
    folder = Path(directory)
    if storage is None and not (folder / name / "study.db").is_file():
        present = sorted(path.parent.name for path in folder.glob("*/study.db"))
        raise StudyError(_no_study(name, str(folder), present))
    url, opened = _open(storage, name=name, directory=folder, timeout=STORAGE_TIMEOUT, say=log)
    try:
        return optuna.load_study(study_name=name, storage=opened)
    except KeyError:
        present = [study.study_name for study in opened.get_all_studies()]
        raise StudyError(_no_study(name, masked(url), present)) from None
    except (OptunaError, SQLAlchemyError) as error:
        raise _unreachable(url, error) from error


def _open(
    storage: str | Path | BaseStorage | None,
    *,
    name: str,
    directory: Path,
    timeout: float,
    say: Say,
) -> tuple[str, ResilientStorage]:
    if isinstance(storage, BaseStorage):
        named = type(storage).__name__
        if isinstance(storage, ResilientStorage):
            return named, storage
        return named, resilient(storage, Patience(named, timeout=timeout, say=say))
    url = resolve_storage(storage, name=name, directory=directory)
    return url, open_storage(url, timeout=timeout, say=say)


def _check_directions(study: optuna.Study, directions: Sequence[Direction]) -> None:
    have = [direction.name.lower() for direction in study.directions]
    if have != list(directions):
        raise StudyError(
            f"objective.direction: the study '{study.study_name}' was made to {', '.join(have)}, "
            f"not to {', '.join(directions)}; set it back, or give this search another study.name"
        )


def _unreachable(url: str, error: Exception) -> StudyError:
    if isinstance(error, DuplicatedStudyError):
        return StudyError(f"study.name: the study was made twice at the same moment ({error})")
    return StudyError(
        f"study.storage: {masked(url)} does not answer ({one_line(error.__cause__ or error)})"
    )


def _no_study(name: str, place: str, present: Sequence[str]) -> str:
    have = ", ".join(repr(other) for other in present[:10]) or "none"
    return f"study.name: there is no study '{name}' in {place}; it has: {have}"
