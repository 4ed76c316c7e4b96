"""Rules that hold between settings: what no single field can know. No torch, no file is opened."""

from collections.abc import Iterator
from pathlib import Path

from layersearch.config.execution import SCHEDULERS, ExecutionConfig
from layersearch.config.problems import did_you_mean
from layersearch.config.recipe import SEARCHABLE
from layersearch.config.search import SearchConfig
from layersearch.config.strategy import PRUNERS, SAMPLERS
from layersearch.config.task import NAMED_SOURCES, PATH_SOURCES, SOURCES
from layersearch.config.values import (
    GIVEN,
    FloatRange,
    IntRange,
    is_object_name,
)
from layersearch.errors import Problem

_WEIGHTS_FILES = (".pt", ".pth", ".th", ".bin", ".ckpt", ".safetensors")


def check(config: SearchConfig, *, paths: bool = True) -> Iterator[Problem]:
    """What is wrong with a description whose every field is possible by itself.

    Args:
        config: the description.
        paths: whether files and folders that it names must exist.
    """
    yield from _backbone(config)
    yield from _data(config)
    yield from _space(config)
    yield from _recipe(config)
    yield from _objective(config)
    yield from _strategy(config)
    yield from _execution(config)
    if paths:
        yield from _paths(config)


def _say(where: str, what: str, remedy: str = "") -> Problem:
    return Problem(where=where, what=what, remedy=remedy)


def _backbone(config: SearchConfig) -> Iterator[Problem]:
    backbone = config.backbone
    if ":" in backbone.name and not is_object_name(backbone.name):
        yield _say(
            "backbone.name",
            f"must be a name or 'package.module:factory', got {backbone.name!r}",
        )
    if backbone.std is not None and min(backbone.std) <= 0:
        yield _say("backbone.std", f"must be above 0, got {list(backbone.std)}")


def _data(config: SearchConfig) -> Iterator[Problem]:
    data = config.data
    own = is_object_name(data.source) or data.source == GIVEN
    if data.source not in SOURCES and not own:
        yield _say(
            "data.source",
            f"must be one of {', '.join(SOURCES)} or 'package.module:factory', got {data.source!r}",
            did_you_mean(data.source, SOURCES) if ":" not in data.source else "",
        )
    elif data.source in PATH_SOURCES and data.path is None:
        yield _say("data.path", f"is required by source '{data.source}'")
    elif data.source == "digits" and data.path is not None:
        yield _say("data.path", "is not used by source 'digits'", "leave it out")
    if data.source == "torchvision" and data.name is None:
        yield _say("data.name", "is required by source 'torchvision'", "write for example CIFAR100")
    elif data.source in SOURCES and data.source not in NAMED_SOURCES and data.name is not None:
        yield _say("data.name", f"is not used by source '{data.source}'", "leave it out")
    if data.options and data.source in SOURCES and data.source != "torchvision":
        yield _say("data.options", f"are not used by source '{data.source}'", "leave them out")
    if data.train_samples is not None and data.samples_per_class is not None:
        yield _say("data.samples_per_class", "and data.train_samples are both given", "keep one")
    if data.folds is not None and data.holdout is not None:
        yield _say("data.holdout", "and data.folds are both given", "keep one; set the other null")
    if (data.train_samples or data.folds or 0) < (data.folds or 0):
        yield _say(
            "data.train_samples",
            f"must be at least data.folds, got {data.train_samples} < {data.folds}",
        )


def _space(config: SearchConfig) -> Iterator[Problem]:
    space = config.space
    most = space.max_units
    if most is not None and most < space.min_units:
        yield _say(
            "space.max_units", f"must be at least space.min_units, got {most} < {space.min_units}"
        )
    both = sorted(set(space.always) & set(space.never))
    if both:
        yield _say("space.never", f"names units that are also in space.always: {', '.join(both)}")
    if most is not None and len(set(space.always)) > most:
        yield _say(
            "space.always",
            f"has more units than space.max_units allows, {len(set(space.always))} > {most}",
        )
    run = space.contiguous
    if run is not None and (run < space.min_units or (most is not None and run > most)):
        yield _say(
            "space.contiguous",
            f"must be between space.min_units and space.max_units, got {run}",
            "leave the bounds out: every subset has exactly so many units",
        )
    for name, patterns in (space.units or {}).items():
        if not patterns:
            yield _say(f"space.units.{name}", "must name parameters, got an empty list")


def _recipe(config: SearchConfig) -> Iterator[Problem]:
    recipe, strategy = config.recipe, config.strategy.name
    for name, (least, most, rule) in SEARCHABLE.items():
        value = getattr(recipe, name)
        if value is None:
            continue
        yield from _numbers(f"recipe.{name}", value, least, most, rule)
    for name in recipe.searched:
        if strategy not in SAMPLERS and strategy != GIVEN and not is_object_name(strategy):
            yield _say(
                f"recipe.{name}",
                f"a range can only be searched by a sampler, not by '{strategy}'",
                "give one number, or use --strategy tpe",
            )
    epochs, warmup = recipe.epochs, recipe.warmup_epochs
    if isinstance(epochs, int) and isinstance(warmup, (int, float)) and warmup > epochs:
        yield _say(
            "recipe.warmup_epochs",
            f"must be at most recipe.epochs, got {warmup:g} > {epochs}",
        )
    area = recipe.augmentation.random_resized_crop
    if area is not None and area[0] > area[1]:
        yield _say(
            "recipe.augmentation.random_resized_crop",
            f"must be [smallest, largest], got {list(area)}",
        )
    if recipe.precision == "fp16" and config.execution.device == ("cpu",):
        yield _say(
            "recipe.precision", "fp16 needs a GPU, and the device is cpu", "use bf16 or fp32"
        )


def _numbers(where: str, value: object, least: float, most: float, rule: str) -> Iterator[Problem]:
    """Whether a number, or all that a sampler may choose, is in bounds."""
    if isinstance(value, (FloatRange, IntRange)):
        if value.low >= value.high:
            yield _say(where, f"'low' must be below 'high', got {value.low:g} and {value.high:g}")
        if value.log and value.low <= 0:
            yield _say(where, f"'low' must be above 0 where log is true, got {value.low:g}")
        if isinstance(value, IntRange) and value.log and value.step != 1:
            yield _say(where, f"'step' must be 1 where log is true, got {value.step}")
        ends: tuple[float, ...] = (value.low, value.high)
    elif isinstance(value, (int, float)):
        ends = (value,)
    else:
        ends = tuple(getattr(value, "choices", ()))
    outside = [end for end in ends if not least <= end <= most]
    if outside:
        yield _say(where, f"must be {rule}, got {outside[0]:g}")


def _objective(config: SearchConfig) -> Iterator[Problem]:
    objective, strategy = config.objective, config.strategy
    several = objective.values
    if len(set(objective.metric)) < len(objective.metric):
        yield _say("objective.metric", f"names a metric twice: {', '.join(objective.metric)}")
        return
    for name in objective.metric:
        if ":" in name and not is_object_name(name):
            yield _say(
                "objective.metric", f"must be a name or 'package.module:object', got {name!r}"
            )
    if several == 1 and objective.choose != "best":
        yield _say("objective.choose", "is for several values, and there is one", "leave it out")
    if several > 1 and strategy.name in ("greedy", "nested"):
        yield _say(
            "objective.metric",
            f"'{strategy.name}' needs one order of subsets, got {several} values",
            "name one and make the others constraints, or use --strategy nsga2 --trials 100",
        )
    if several > 1 and strategy.pruner is not None and strategy.pruner.name != "none":
        yield _say(
            "strategy.pruner",
            f"trials with several values cannot be pruned, and there are {several}",
            "leave it out",
        )


def _strategy(config: SearchConfig) -> Iterator[Problem]:
    strategy = config.strategy
    endless = strategy.name == "random" or strategy.name in SAMPLERS
    if endless and strategy.trials is None and not config.execution.budget:
        yield _say(
            "strategy.trials",
            f"'{strategy.name}' has no end of its own",
            "say how many: --trials 100, or set execution.budget",
        )
    pruner = strategy.pruner
    if pruner is not None and pruner.name not in PRUNERS and not is_object_name(pruner.name):
        yield _say(
            "strategy.pruner",
            f"must be one of {', '.join(PRUNERS)} or 'package.module:callable', "
            f"got {pruner.name!r}",
            did_you_mean(pruner.name, PRUNERS),
        )
    for index, names in enumerate(strategy.enqueue):
        if not names:
            yield _say(f"strategy.enqueue[{index}]", "is empty", "write linear_probe")


def _execution(config: SearchConfig) -> Iterator[Problem]:
    execution = config.execution
    if execution.runner == "ray":
        yield from _ray(config)
    elif execution.address is not None:
        yield _say(
            "execution.address",
            f"is the address of a Ray cluster, and the runner is '{execution.runner}'",
            "leave it out, or use --runner ray",
        )
    if execution.runner == "local":
        yield from _not_local(execution)
    if config.study.storage == "":
        yield _say("study.storage", "must not be empty", "leave it out for SQLite")


def _ray(config: SearchConfig) -> Iterator[Problem]:
    execution, scheduler = config.execution, config.execution.scheduler
    if execution.address is not None and "://" in execution.address:
        yield _say(
            "execution.address",
            f"must be auto or host:port, got {execution.address!r}",
            "run the search on a node of the cluster, or join this machine to it (ray start)",
        )
    if any(":" in device for device in execution.device):
        yield _say(
            "execution.device",
            f"Ray gives each trial its GPUs, got {', '.join(execution.device)}",
            "set execution.gpus_per_trial",
        )
    if scheduler is None:
        return
    if config.strategy.pruner is not None and scheduler.name != "fifo":
        yield _say(
            "execution.scheduler",
            f"'{scheduler.name}' and strategy.pruner would both end trials",
            "keep one",
        )
    if config.objective.values > 1 and scheduler.name != "fifo":
        yield _say(
            "execution.scheduler",
            "trials with several values cannot be compared, and there are "
            f"{config.objective.values} values",
            "leave it out",
        )
    if is_object_name(scheduler.name):
        return
    known = SCHEDULERS.get(scheduler.name)
    if known is None:
        yield _say(
            "execution.scheduler",
            f"must be one of {', '.join(SCHEDULERS)} or 'package.module:callable', "
            f"got {scheduler.name!r}",
            did_you_mean(scheduler.name, SCHEDULERS),
        )
        return
    for name in scheduler.options:
        if name not in known:
            yield _say(
                f"execution.scheduler.{name}",
                f"is not an option of '{scheduler.name}'",
                did_you_mean(name, known) or f"its options are {', '.join(known) or 'none'}",
            )


def _not_local(execution: ExecutionConfig) -> Iterator[Problem]:
    if execution.scheduler is not None:
        yield _say(
            "execution.scheduler",
            "is of Ray Tune, and the runner is 'local'",
            "use strategy.pruner to end trials early, or --runner ray",
        )
    ours = {
        "gpus_per_trial": "execution.workers_per_device",
        "cpus_per_trial": "execution.threads",
        "storage_path": "",
    }
    for name, instead in ours.items():
        if getattr(execution, name) != ExecutionConfig.model_fields[name].default:
            yield _say(
                f"execution.{name}",
                "is for Ray, and the runner is 'local'",
                f"set {instead} instead" if instead else "leave it out",
            )


def _paths(config: SearchConfig) -> Iterator[Problem]:
    weights = config.backbone.weights
    # torchvision data sets may be downloaded to a folder that is not there yet.
    path = config.data.path if config.data.source in PATH_SOURCES else None
    named = {"data.path": path}
    if weights is not None and (weights.endswith(_WEIGHTS_FILES) or "/" in weights):
        named["backbone.weights"] = weights
    for where, path in named.items():
        if path is not None and not config.find(path).exists():
            yield _say(where, f"'{path}' does not exist", _looked(path, config.source))


def _looked(path: str, source: Path | None) -> str:
    if Path(path).expanduser().is_absolute():
        return ""
    places = [Path.cwd()]
    if source is not None and source.parent.resolve() != places[0]:
        places.append(source.parent.resolve())
    return f"looked from {' and from '.join(map(str, places))}"
