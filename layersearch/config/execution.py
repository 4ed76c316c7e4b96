"""Where a search runs and what is kept: the sections `execution`, `study` and `final`."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from layersearch.config.values import (
    Bytes,
    Options,
    Seconds,
    Section,
    listed,
    one_or_more,
    read_amounts,
    wrong,
)

# Ray Tune's schedulers, and the options that are not set by the search itself.
SCHEDULERS: Mapping[str, tuple[str, ...]] = {
    "fifo": (),
    "asha": ("grace_period", "reduction_factor", "brackets", "max_t"),
    "hyperband": ("reduction_factor", "max_t"),
    "median": ("grace_period", "min_samples_required", "min_time_slice", "hard_stop"),
}
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_STUDY_NAME = re.compile(r"\w[\w .+=@-]{0,99}")  # it becomes a folder: no way out of it


def _devices(value: object) -> object:
    """'cuda:0,1' as ('cuda:0', 'cuda:1')."""
    if not isinstance(value, str):
        return listed(value)
    first, *others = (part.strip() for part in value.split(","))
    return (first, *(f"cuda:{part}" if part.isdigit() else part for part in others))


def _known_devices(devices: tuple[str, ...]) -> tuple[str, ...]:
    remedy = "write auto, cpu, cuda, cuda:0, 'cuda:0,1', mps or a list of these"
    if not devices:
        raise wrong("must name a device, got none", remedy)
    for device in devices:
        if _DEVICE.fullmatch(device) is None:
            raise wrong(f"must be a device, got {device!r}", remedy)
    if len(devices) > 1 and not all(device.startswith("cuda:") for device in devices):
        raise wrong(f"several devices must be GPUs, got {', '.join(devices)}", "write 'cuda:0,1'")
    if len(set(devices)) < len(devices):
        raise wrong(
            f"names a device twice: {', '.join(devices)}",
            "for several workers a GPU set execution.workers_per_device",
        )
    return devices


def _budget(value: object) -> object:
    """'2h 200epochs' as {seconds: 7200, epochs: 200}."""
    if not isinstance(value, str):
        return value
    amounts = read_amounts(value)
    if not amounts or set(amounts) - {"seconds", "trainings", "epochs"}:
        raise wrong(
            f"must be amounts of time, trainings or epochs, got {value!r}",
            "write '30m', '200epochs' or '2h 50trainings'",
        )
    whole = {name: int(amount) for name, amount in amounts.items() if name != "seconds"}
    return {**amounts, **whole}


class BudgetConfig(Section):
    """What a search may use in all, over all its workers and runs; null: no bound."""

    # In which a driver works on the study. `budget: 2h 200epochs` says two at once.
    seconds: Seconds | None = None
    trainings: Annotated[int, Field(ge=1)] | None = None  # a training is one fold of one trial
    epochs: Annotated[int, Field(ge=1)] | None = None  # over all folds

    def __bool__(self) -> bool:
        """Whether there is a bound at all."""
        return any(bound is not None for bound in (self.seconds, self.trainings, self.epochs))


class CacheConfig(Section):
    """Memory for the features of frozen prefixes, on each machine; sizes such as 4GiB."""

    device: Bytes = 1 << 30  # on each training device; its workers divide it
    host: Bytes = 4 << 30  # of main memory, shared by all workers
    disk: Bytes = 0  # of files, shared by all workers
    directory: str | None = None  # of these files; null: in the study's folder


class SchedulerConfig(Section):
    """Which of Ray Tune's schedulers ends hopeless trials early; its clock is a trial's epochs."""

    name: Annotated[str, Field(min_length=1)]  # or 'package.module:callable'
    # Its own: grace_period, reduction_factor, brackets, max_t, min_samples_required …
    options: Options = Field(default_factory=dict)


def _scheduler(value: object) -> object:
    """'asha' as {name: asha}; {name: asha, grace_period: 2} with its options by themselves."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping) and "options" not in value:
        options = {key: value[key] for key in value if key != "name"}
        return {**{key: value[key] for key in value if key == "name"}, "options": options}
    return value


class ExecutionConfig(Section):
    """Who trains: worker processes of this machine or a Ray cluster, devices, bounds."""

    # local: processes of this machine; ray: Ray Tune, on this machine or the cluster at `address`
    runner: Literal["local", "ray"] = "local"
    # Subsets trained at once, a process each; null: 1, and under Ray as many as there is room for.
    workers: Annotated[int, Field(ge=1)] | None = None
    # A worker's CPU threads; null: the cores are divided, under Ray cpus_per_trial.
    threads: Annotated[int, Field(ge=1)] | None = None
    # auto (all GPUs, else the CPU), cpu, cuda, cuda:0, 'cuda:0,1', or mps
    device: Annotated[
        tuple[str, ...], BeforeValidator(_devices), AfterValidator(_known_devices)
    ] = ("auto",)
    workers_per_device: Annotated[int, Field(ge=1)] = 1  # the most that share a GPU
    # Of a Ray cluster: auto, or host:port; null: RAY_ADDRESS, else a Ray started for the search.
    address: str | None = None
    cpus_per_trial: Annotated[float, Field(gt=0)] = 1.0  # under Ray; parts are allowed
    # Under Ray; parts are allowed. null: one, divided by workers_per_device, if there are any.
    gpus_per_trial: Annotated[float, Field(ge=0)] | None = None
    # Under Ray: fifo, asha, hyperband or median; a mapping sets options beside the name. null: fifo
    scheduler: Annotated[SchedulerConfig, BeforeValidator(_scheduler)] | None = None
    # Under Ray, for trials that a scheduler pauses: a folder that all nodes share, or s3://…
    storage_path: str | None = None
    resource_timeout: Seconds = 600.0  # under Ray, while no node has what a trial takes
    # What the search may use in all, over all workers and runs.
    budget: Annotated[BudgetConfig, BeforeValidator(_budget)] = BudgetConfig()
    trial_timeout: Seconds | None = None  # without a report, then the worker is replaced
    max_failures: Annotated[int, Field(ge=1)] = 3  # trials that fail of themselves, then it stops
    # Between two saved states of a running trial, from which it resumes after an interruption or
    # the loss of its worker; rarer where that would take more than 1% of its time. null: it
    # starts over.
    checkpoint_every: Seconds | None = 60.0
    # A trial that memory does not take fails, or runs again in a fresh worker on half as many
    # samples at a time: batches stay as they are, their gradients are summed up.
    out_of_memory: Literal["fail", "smaller_batch"] = "smaller_batch"
    cache: CacheConfig = CacheConfig()

    @property
    def local_workers(self) -> int:
        """Worker processes of this machine."""
        return self.workers or 1


def _study_name(name: str) -> str:
    if _STUDY_NAME.fullmatch(name) is None or ".." in name or name[-1] in ". ":
        raise wrong(
            f"must be the name of a folder, got {name[:100]!a}",
            "use up to 100 letters, digits, '_', '-', '.', '+', '=', '@' and spaces, "
            "a letter or digit first",
        )
    return name


class StudyConfig(Section):
    """Where the search is remembered."""

    name: Annotated[str, AfterValidator(_study_name)] | None = None  # null: the file's name
    # An Optuna storage URL or a path (*.db: SQLite, *.log: journal); null: SQLite in its folder
    storage: str | None = None
    directory: str = "runs"  # where studies have their folders
    join: bool = False  # share the work with another driver of the same study
    # How long to wait for a storage that is locked or answers no more; then the search ends
    storage_timeout: Seconds = 300.0
    # Without a sign of life for so long, a driver or worker on another machine counts as dead, and
    # its trials run again; the clocks of the machines may differ by much less. null: 90 s more
    # than storage_timeout; if it is less, the storage is waited for less long
    stale_after: Annotated[Seconds, Field(ge=1)] | None = None


class FinalConfig(Section):
    """What is trained on all training data at the end, and compared on the test split."""

    seeds: Annotated[int, Field(ge=1)] = 3  # how often each is retrained
    # What the winner is compared with; runner_up: the next best subset of the search, if there is
    # one, retrained and tested as the winner is.
    baselines: Annotated[
        tuple[Literal["linear_probe", "full_finetune", "lp_ft", "runner_up"], ...],
        BeforeValidator(one_or_more),
    ] = ("linear_probe", "full_finetune", "lp_ft")


def mask_password(url: str) -> str:
    """The storage URL with every password as '***'."""
    masked = re.sub(r"(://[^:/?#@]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*(?:pass|secret|token)[^=&]*)=[^&]*", r"\1=***", masked)
