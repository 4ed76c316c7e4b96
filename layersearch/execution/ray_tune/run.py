"""Runs a search's trials by Ray Tune.

Tune's controller asks for trials, starts workers, has its scheduler stop and pause trials. This
process alone talks to the study: in the controller's callbacks, all in one thread. Tune itself
keeps nothing that matters; a search goes on from its study.
"""

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray
from optuna.trial import TrialState as OptunaState
from ray.tune import PlacementGroupFactory
from ray.tune.error import TuneError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment
from ray.tune.schedulers import FIFOScheduler

from layersearch.errors import SearchError
from layersearch.execution.checkpoints import Checkpoints
from layersearch.execution.desk import NO_CHECKPOINTS
from layersearch.execution.ray_tune.bridge import Bridge, Making, Recorder, StudySearch
from layersearch.execution.ray_tune.cluster import Cluster, environment
from layersearch.execution.ray_tune.options import ClusterOptions, SchedulerOptions
from layersearch.execution.ray_tune.schedulers import (
    Curve,
    RecordingScheduler,
    make_scheduler,
    replay,
)
from layersearch.execution.ray_tune.shipping import pack
from layersearch.execution.ray_tune.slots import Slots
from layersearch.execution.ray_tune.trainable import Terms, TrialActor
from layersearch.execution.session import SearchRun, Session
from layersearch.execution.signals import Interrupts
from layersearch.space.trial import JobFactory
from layersearch.study.opening import OpenStudy

FIFO = SchedulerOptions()
_REST = 0.05  # seconds between two looks for a trial while none is there
_SAY_AFTER = 15.0  # seconds without a running trial until the user is told what is missing
# Tune's own records of a search, which nobody reads: the study has all of it.
_TUNE = {"TUNE_PRINT_ALL_TRIAL_ERRORS": "0", "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1"}


def run_ray_search(
    opened: OpenStudy,
    job_factory: JobFactory,
    *,
    cluster: ClusterOptions,
    scheduler: SchedulerOptions = FIFO,
    at_end: Callable[[], object] | None = None,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
    **options: Any,
) -> SearchRun:
    """Runs trials until the strategy is done, a budget is used up, or the user interrupts.

    Args:
        opened: as of `run_search`.
        job_factory: as of `run_search`; called once in each worker.
        cluster: where trials run, and what each takes.
        scheduler: ends hopeless trials early. FIFO: none does, but the study's own pruner.
        at_end: called once on every node of a cluster that was joined, when the workers have ended.
        checkpoints: of trials; on several machines the folder of the study must be shared.
        **options: as of `run_search`: planner, claimed, recipe, costs, why_not, budgets …

    Raises:
        SearchError: there is no such cluster or scheduler, nothing in the cluster can run a trial
            for `resource_timeout`, workers keep dying, or too many trials failed. What ended before
            is recorded.
        StudyError: another driver took the study, because this one seemed dead.
        KeyboardInterrupt: the user interrupted twice.
    """
    session = Session(opened, checkpoints=checkpoints, **options)
    if scheduler != FIFO and len(opened.study.directions) > 1:
        raise SearchError("execution.scheduler: trials with several values cannot be compared")
    made = make_scheduler(
        scheduler,
        mode="min" if opened.study.directions[0].name == "MINIMIZE" else "max",
        epochs=session.budgets.epochs_per_trial,
    )
    session.audience.phase("joining the Ray cluster" if cluster.address else "starting Ray")
    with Cluster(cluster) as joined:
        session.audience.message(f"Ray: {joined.describe()}")
        try:
            driver = _Driver(session, joined, cluster, made)
            return driver.run(checkpoints.wrap(job_factory))
        finally:
            if at_end is not None:
                joined.clean(at_end)


class _Driver:
    """The loop around Tune's controller."""

    def __init__(
        self,
        session: Session,
        cluster: Cluster,
        options: ClusterOptions,
        scheduler: Any,
    ) -> None:
        self._session = session
        self._desk = session.desk
        self._cluster = cluster
        self._options = options
        self._scheduler = scheduler
        self._ahead = type(scheduler) is FIFOScheduler and not self._desk.prunes
        self._idle: float | None = None  # since when no trial has run
        self._said = 0.0

    def run(self, job_factory: JobFactory) -> SearchRun:
        """See run_ray_search."""
        with Interrupts(self._session.say_interrupted) as interrupts:
            self._desk.interrupted = lambda: interrupts.count > 0
            with _experiment(self._options.storage_path, self._session.opened) as experiment:
                bridge = self._bridge(job_factory, experiment)
                try:
                    controller = self._controller(bridge, experiment)
                    self._desk.begin()
                    self._session.audience.phase("searching")
                    self._loop(controller, bridge, interrupts)
                    bridge.await_conclusions()
                    self._session.statuses.tell(bridge.crew(), now=True)
                except BaseException:
                    bridge.kill()  # nobody reports any more
                    self._desk.abandon()
                    raise
                controller.cleanup()
        return self._session.ended(bridge.end, trials=bridge.trials)

    def _limit(self) -> int:
        # A trial is asked for even where there is no room: a cluster that grows sees the wish.
        return self._options.workers or max(1, self._cluster.room())

    def _bridge(self, job_factory: JobFactory, experiment: Experiment) -> Bridge:
        options, needs = self._options, self._cluster.needs
        try:
            packed = pack(job_factory)
        except Exception as error:
            raise SearchError(
                f"execution.runner: the job cannot be sent to Ray's workers ({error}); keep open "
                "files, locks and generators out of it"
            ) from error
        here = max(1, self._cluster.room_of_largest_node())
        terms = Terms(
            path=tuple(sys.path),
            device=options.device,
            threads=options.threads or max(1, int(options.cpus)),
            trials_on_node=min(here, options.workers or here),
            trials_on_gpu=max(1, int(1 / needs["GPU"] + 1e-6)) if needs.get("GPU") else 1,
            trial_timeout=options.trial_timeout,
            ahead=self._ahead,
        )
        making = Making(
            trainable=experiment.run_identifier,
            terms={"terms": ray.put(terms), "factory": ray.put(packed)},
            resources=PlacementGroupFactory([dict(needs)]),
            storage=experiment.storage,
            checkpoints=experiment.checkpoint_config,
        )
        return Bridge(
            self._session,
            making=making,
            limit=self._limit,
            trial_timeout=options.trial_timeout,
        )

    def _controller(self, bridge: Bridge, experiment: Experiment) -> "_Controller":
        replay(self._scheduler, _curves(self._session.opened))
        scheduler = RecordingScheduler(self._scheduler, hear=bridge.hear, prune=bridge.prune)
        with environment(_TUNE):
            return _Controller(
                failed=bridge.lost,
                search_alg=StudySearch(bridge),
                scheduler=scheduler,
                callbacks=[Recorder(bridge)],
                storage=experiment.storage,
                reuse_actors=True,
                resource_manager_factory=lambda: Slots(self._limit),
            )

    def _loop(self, controller: "_Controller", bridge: Bridge, interrupts: Interrupts) -> None:
        while not controller.is_finished():
            controller.update_max_pending_trials(self._limit())
            # Other drivers of the study may wait for the room that idle workers take.
            controller.keep_workers(bridge.resources, 0 if bridge.yields else self._limit())
            try:
                controller.step()
            except TuneError as error:
                raise bridge.error or SearchError(f"Ray Tune failed: {error}") from error
            if bridge.error is not None:
                raise bridge.error
            if interrupts.count:
                bridge.interrupted = True
                for trial in bridge.drop_waiting():
                    controller.stop_trial(trial)
            self._watch(bridge)
            self._session.statuses.tell(bridge.crew())
            self._session.reap()
            if not bridge.live:
                time.sleep(_REST)

    def _watch(self, bridge: Bridge) -> None:
        """Says when nothing can run a trial, and gives up in the end."""
        if not bridge.live or bridge.runs:
            self._idle = None
            return
        now = time.monotonic()
        if self._idle is None:
            self._idle = self._said = now
        patience = self._options.resource_timeout
        if now - self._idle > patience:
            raise SearchError(
                f"execution.resource_timeout: nothing could run a trial for {patience:g} s: "
                f"{self._cluster.shortage()}; add nodes to the cluster, or lower "
                "execution.gpus_per_trial or execution.cpus_per_trial"
            )
        if now - self._said > min(_SAY_AFTER, patience / 4):
            self._said = now + 4 * _SAY_AFTER
            self._session.audience.message(
                f"waiting for resources, up to {patience:g} s: {self._cluster.shortage()}"
            )


class _Controller(TuneController):
    """Tune's controller, which writes nothing down: the study has it all."""

    def __init__(self, *, failed: Callable[[Any, Exception], None], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._failed = failed
        self._kept = 0

    def keep_workers(self, resources: PlacementGroupFactory, count: int) -> None:
        """Keeps so many idle workers; Tune by itself ends all but one of them.

        A round of greedy that waits for its last trials would otherwise end workers that the next
        round needs, with all that they have loaded.
        """
        self._actor_cache.increase_max(resources, by=count - self._kept)
        self._kept = count
        if not count:
            self._cleanup_cached_actors(force_all=True)

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Nothing to keep."""

    def _update_trial_queue(self, blocking: bool = False, timeout: int = 600) -> bool:
        """Never waits for a trial: an interruption or another driver's end would not be seen."""
        del blocking, timeout
        return bool(super()._update_trial_queue(blocking=False))

    def _process_trial_failure(self, trial: Any, exception: Exception) -> None:
        self._failed(trial, exception)  # callbacks are not told with what error
        super()._process_trial_failure(trial, exception)


@contextlib.contextmanager
def _experiment(storage_path: str | None, opened: OpenStudy) -> Iterator[Experiment]:
    """Where Tune keeps the states of paused trials, for as long as the search runs."""
    root = storage_path or tempfile.mkdtemp(prefix="layersearch-ray-")
    name = f"{opened.name}-{opened.lease.token}"
    try:
        experiment = Experiment(
            name, TrialActor, storage_path=root, checkpoint_config={"num_to_keep": 1}
        )
        try:
            yield experiment
        finally:
            storage = experiment.storage
            with contextlib.suppress(OSError):
                storage.storage_filesystem.delete_dir(storage.experiment_fs_path)
    finally:
        if storage_path is None:
            shutil.rmtree(root, ignore_errors=True)


def _curves(opened: OpenStudy) -> Iterator[tuple[int, Curve]]:
    """The curves of trials that have ended with a score or by evidence."""
    wanted = (OptunaState.COMPLETE, OptunaState.PRUNED)
    for trial in opened.study.get_trials(deepcopy=False, states=wanted):
        steps = sorted(trial.intermediate_values.items())
        yield trial.number, [(step + 1, score) for step, score in steps]
