"""`layersearch.search`: the search of a YAML file as one Python call."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from torch import nn

from layersearch.backbones import Backbone
from layersearch.build.dry_run import run_plan
from layersearch.build.given import Given
from layersearch.build.planning import Plan
from layersearch.build.profiling import run_profile
from layersearch.build.result import Profile, Result
from layersearch.build.search import run_search
from layersearch.config import GIVEN, SearchConfig, config_from
from layersearch.config.overrides import forget_other_strategy
from layersearch.config.reading import read_document
from layersearch.errors import ConfigError, Problem
from layersearch.execution import Observer, SearchProgress
from layersearch.execution.observer import Observers
from layersearch.objectives.objective import NamedMetric
from layersearch.strategies import Strategy

# Arguments that name something in their section, and the fields that belong to what is named.
_NAMED = {"backbone": "name", "data": "source", "strategy": "name", "objective": "metric"}
_BELONG = {
    "backbone": ("name", "weights", "head", "input_size", "mean", "std", "arguments"),
    "data": ("source", "path", "name", "options"),
    "objective": ("metric", "direction", "names", "choose"),
}
Found = TypeVar("Found", bound=Result)
_SECTIONS = ("space", "recipe", "objective", "execution", "study", "final", "callbacks")


def search(
    config: str | Path | Mapping[str, Any] | None = None,
    *,
    backbone: str | Mapping[str, Any] | nn.Module | Backbone | None = None,
    data: Any = None,
    strategy: Any = None,
    metric: NamedMetric | Sequence[NamedMetric] | None = None,
    pruner: Any = None,
    trials: int | None = None,
    overrides: Sequence[str] = (),
    observers: Sequence[Observer] | None = None,
    **sections: Any,
) -> Result:
    """Finds which units of a backbone to finetune; the same as `layersearch search`.

    Args:
        config: a YAML file, or a mapping of the same form; None: everything is given below.
        backbone: a name ('resnet50'), a mapping of the section `backbone`, the user's own module
            (images are then normalised by `mean` and `std` of the config's section `backbone`, or
            not at all), or a `Backbone` (see `backbone_from_module`, which takes mean, std and
            input size).
        data: a source ('digits'), a mapping of the section `data`; or tensors or arrays (x, y) or
            (x, y, x_test, y_test), a Dataset, a pair (train, test) of Datasets, or `DataSplits`.
            How tensors and Datasets are divided is said by `data_options`; `DataSplits` are
            divided already.
        strategy: a name, a mapping of the section `strategy`, an Optuna sampler, or an object with
            `propose` and `answer` (see `layersearch.strategies`).
        metric: a metric's name, or a callable that takes the `Outcome` and returns a number (or
            several, or a mapping: see `layersearch.objectives.custom`); or a list of these, after
            which costs may be named: ['accuracy', 'trainable_parameters'].
        pruner: the name of one of Optuna's pruners, or such an object.
        trials: at most; samplers need it, or `execution={'budget': …}`, for they never end.
        overrides: 'recipe.epochs=5', as `-o` on the command line; they have the last word.
        observers: are told what happens; None: progress is shown on the terminal.
        **sections: the other sections as mappings: `space`, `recipe`, `objective`, `execution`,
            `study`, `final`; `callbacks`, a list; `seed`, a number; `data_options` and
            `strategy_options`, mappings of fields of the sections `data` and `strategy` that go
            with objects given for these: `{'folds': 5}`, `{'enqueue': ['linear_probe']}`.

    What a file says of the backbone, data set, strategy or metric that an argument replaces is set
    aside; the rest of the file holds.

    Returns:
        The chosen subset, its scores and costs, and where the tuned units were saved.

    Raises:
        LayersearchError: whatever a user can mend; see `layersearch.errors`.
        TypeError: an unknown keyword.
    """
    arguments = {
        "backbone": backbone,
        "data": data,
        "strategy": strategy,
        "objective": metric,
        "pruner": pruner,
        "trials": trials,
    }
    resolved, given = _understood("search", config, arguments, sections, overrides)
    return _run(run_search, resolved, given, observers)


def plan(
    config: str | Path | Mapping[str, Any] | None = None,
    *,
    backbone: str | Mapping[str, Any] | nn.Module | Backbone | None = None,
    data: Any = None,
    strategy: Any = None,
    metric: NamedMetric | Sequence[NamedMetric] | None = None,
    pruner: Any = None,
    trials: int | None = None,
    overrides: Sequence[str] = (),
    observers: Sequence[Observer] | None = None,
    **sections: Any,
) -> Plan:
    """What `search` with the same arguments would cost; the same as `layersearch search --dry-run`.

    A few batches are trained to measure this machine; nothing is written to a study. Of a study
    that exists, what is left to do is planned.

    Args:
        config: as of `search`, and all others too.
        backbone: the pretrained network.
        data: to train and to validate on.
        strategy: what proposes subsets.
        metric: that scores.
        pruner: ends trials early, which a plan does not foresee.
        trials: at most.
        overrides: 'recipe.epochs=5'.
        observers: are told what there is to say of the description.
        **sections: the other sections; `execution={'budget': '30m'}` plans for a budget.

    Returns:
        The plan, which prints as a table; see its `cases`, `to_json` and `to_frame`.

    Raises:
        LayersearchError: whatever a user can mend; see `layersearch.errors`.
        TypeError: an unknown keyword.
    """
    arguments = {
        "backbone": backbone,
        "data": data,
        "strategy": strategy,
        "objective": metric,
        "pruner": pruner,
        "trials": trials,
    }
    resolved, given = _understood("plan", config, arguments, sections, overrides)
    for note in resolved.notes:
        Observers(observers or ()).message(note)
    return run_plan(resolved, given=given)


def profile(
    config: str | Path | Mapping[str, Any] | None = None,
    *,
    backbone: str | Mapping[str, Any] | nn.Module | Backbone | None = None,
    data: Any = None,
    metric: NamedMetric | Sequence[NamedMetric] | None = None,
    overrides: Sequence[str] = (),
    observers: Sequence[Observer] | None = None,
    **sections: Any,
) -> Profile:
    """Scores units by themselves, in runs and in pairs; the same as `layersearch profile`.

    Args:
        config: as of `search`, and all others too; nothing is retrained or tested.
        backbone: the pretrained network.
        data: to train and to validate on.
        metric: that scores.
        overrides: 'strategy.parts=[linear_probe, single]' keeps it short.
        observers: are told what happens; None: progress is shown on the terminal.
        **sections: the other sections.

    Returns:
        The profile, which can be plotted.

    Raises:
        LayersearchError: whatever a user can mend; see `layersearch.errors`.
        TypeError: an unknown keyword.
    """
    arguments = {
        "backbone": backbone,
        "data": data,
        "strategy": "profile",
        "objective": metric,
        "pruner": None,
        "trials": None,
    }
    resolved, given = _understood("profile", config, arguments, sections, overrides)
    return _run(run_profile, resolved, given, observers)


def _understood(
    name: str,
    config: str | Path | Mapping[str, Any] | None,
    arguments: Mapping[str, Any],
    sections: Mapping[str, Any],
    overrides: Sequence[str],
) -> tuple[SearchConfig, Given]:
    """The description that the arguments amount to, and the objects among them."""
    unknown = set(sections) - {*_SECTIONS, "seed", "data_options", "strategy_options"}
    if unknown:
        raise TypeError(f"{name}() has no argument {', '.join(sorted(unknown))}")
    _check_objects(arguments)
    backbone, metric = arguments["backbone"], arguments["objective"]
    own = {
        key: None if isinstance(arguments[key], str | Mapping) else arguments[key]
        for key in ("data", "strategy", "pruner")
    }
    given = Given(
        backbone=backbone if isinstance(backbone, nn.Module | Backbone) else None,
        metric=metric if _has_callable(metric) else None,
        **own,
    )
    return _describe(config, arguments, sections, overrides), given


def _run(
    run: Callable[..., Found],
    config: SearchConfig,
    given: Given,
    observers: Sequence[Observer] | None,
) -> Found:
    """Runs a search or a profile, with progress on the terminal unless observers are given."""
    if observers is None:
        with SearchProgress() as progress:
            return _run(run, config, given, [progress])
    for note in config.notes:
        Observers(observers).message(note)
    return run(config, given=given, observers=observers)


def _describe(
    config: str | Path | Mapping[str, Any] | None,
    arguments: Mapping[str, Any],
    sections: Mapping[str, Any],
    overrides: Sequence[str],
) -> SearchConfig:
    """The description that the arguments of `search` amount to."""
    source = Path(config) if isinstance(config, str | Path) else None
    base: dict[str, Any] = {}
    if source is not None:
        base = read_document(source)
    elif isinstance(config, Mapping):
        base = copy.deepcopy(dict(config))
    changes: dict[str, Any] = {
        name: value for name, value in sections.items() if not name.endswith("_options")
    }
    notes: list[str] = []
    objects = []
    for section, key in _NAMED.items():
        value = arguments[section]
        if value is None:
            continue
        told = _told(value, key)
        if told is None:
            objects.append(section)
            told = {}
        if told.get(key, GIVEN if section in objects else None) is not None:
            notes += _forget(base, section, key, told.get(key, GIVEN))
        changes[section] = _merged(changes.get(section, {}), told)
    for section in ("data", "strategy"):
        options = sections.get(f"{section}_options", {})
        changes[section] = _merged(changes.get(section, {}), options)
    if arguments["trials"] is not None:
        changes["strategy"] = _merged(changes["strategy"], {"trials": arguments["trials"]})
    if isinstance(arguments["pruner"], str | Mapping):
        changes["strategy"] = _merged(changes["strategy"], {"pruner": arguments["pruner"]})
    changes = {name: value for name, value in changes.items() if value != {}}
    described = config_from(_merged(base, changes), overrides, source=source, given=objects)
    described.locate(source, notes=(*notes, *described.notes))
    return described


def _told(value: Any, key: str) -> dict[str, Any] | None:
    """What an argument says in a description's words; None: it is an object."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str):
        return {key: value}
    if key == "metric" and isinstance(value, list | tuple):
        if not all(isinstance(part, str) or callable(part) for part in value):
            return None
        # What is no name has one that stands for it.
        return {
            key: [part if isinstance(part, str) else f"{GIVEN}{i}" for i, part in enumerate(value)]
        }
    return None


def _has_callable(metric: Any) -> bool:
    parts = metric if isinstance(metric, list | tuple) else [metric]
    return any(callable(part) for part in parts)


def _forget(base: dict[str, Any], section: str, key: str, name: object) -> list[str]:
    """Takes out of `base` what it says of another backbone, data set, strategy or metric only."""
    if section == "strategy":
        notes = [
            note.removesuffix(f", not of '{GIVEN}'") for note in forget_other_strategy(base, name)
        ]
        if name == GIVEN and isinstance(base.get(section), dict):
            base[section].pop(key, None)
        return notes
    said = base.get(section)
    if not isinstance(said, dict) or said.get(key) in (None, name):
        return []
    kept = {field: said[field] for field in said if field not in _BELONG[section]}
    gone = [field for field in said if field in _BELONG[section] and field != key]
    base[section] = kept
    return [f"{section}: {', '.join(gone)} set aside: of '{said[key]}'"] if gone else []


def _check_objects(arguments: Mapping[str, Any]) -> None:
    """Refuses objects that can be no backbone, strategy, metric or pruner.

    Raises:
        ConfigError: with all of them.
    """
    kinds: dict[str, tuple[Any, str]] = {
        "backbone": (nn.Module | Backbone, "a name, an nn.Module or a Backbone"),
        "strategy": (
            Strategy | BaseSampler,
            "a name, an Optuna sampler, or an object with propose, answer and explain",
        ),
        "objective": (
            Callable,
            "a name, a callable that takes the outcome, or a list of these",
        ),
        "pruner": (BasePruner, "a name or an Optuna pruner"),
    }
    problems = []
    for name, (kind, rule) in kinds.items():
        value = arguments[name]
        if value is None or _told(value, _NAMED.get(name, "name")) is not None:
            continue
        is_class = isinstance(value, type) and name != "objective"
        if is_class or not isinstance(value, kind):
            got = f"the class {value.__name__}" if is_class else type(value).__name__
            problems.append(
                Problem(
                    where="metric" if name == "objective" else name,
                    what=f"must be {rule}, got {got}",
                    remedy=f"give an object of it: {value.__name__}(…)" if is_class else "",
                )
            )
    if problems:
        raise ConfigError(problems)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with the changes written over it, section by section; neither is changed."""
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[name] = _merged(old, value)
        else:
            merged[name] = value
    return merged
