"""`layersearch.search`: the search of a YAML file as one Python call."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from layersearch.backbones import Backbone
from layersearch.build.given import Given
from layersearch.build.result import Result
from layersearch.build.search import run_search
from layersearch.config import SearchConfig, config_from
from layersearch.config.reading import read_document
from layersearch.execution import Observer, SearchProgress

_SECTIONS = ("space", "recipe", "objective", "execution", "study", "final")


def search(
    config: str | Path | Mapping[str, Any] | None = None,
    *,
    backbone: str | Mapping[str, Any] | nn.Module | Backbone | None = None,
    data: Any = None,
    strategy: Any = None,
    metric: str | Callable[[Any], Any] | None = None,
    pruner: Any = None,
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
        metric: a metric's name, or a callable that takes the `Outcome` and returns a number.
        pruner: the name of one of Optuna's pruners, or such an object.
        overrides: 'recipe.epochs=5', as `-o` on the command line; they have the last word.
        observers: are told what happens; None: progress is shown on the terminal.
        **sections: the other sections as mappings: `space`, `recipe`, `objective`, `execution`,
            `study`, `final`; `seed`, a number; and `data_options`, a mapping of fields of the
            section `data` that go with data given as objects: `{'folds': 5}`.

    Returns:
        The chosen subset, its scores and costs, and where the tuned units were saved.

    Raises:
        LayersearchError: whatever a user can mend; see `layersearch.errors`.
        TypeError: an unknown keyword.
    """
    unknown = set(sections) - {*_SECTIONS, "seed", "data_options"}
    if unknown:
        raise TypeError(f"search() has no argument {', '.join(sorted(unknown))}")
    given = Given(
        backbone=backbone if isinstance(backbone, nn.Module | Backbone) else None,
        data=None if data is None or isinstance(data, str | Mapping) else data,
        strategy=None if strategy is None or isinstance(strategy, str | Mapping) else strategy,
        pruner=None if pruner is None or isinstance(pruner, str | Mapping) else pruner,
        metric=metric if callable(metric) else None,
    )
    resolved = _describe(
        config, given, backbone, data, strategy, metric, pruner, sections, overrides
    )
    if observers is not None:
        return run_search(resolved, given=given, observers=observers)
    with SearchProgress() as progress:
        return run_search(resolved, given=given, observers=[progress])


def _describe(
    config: str | Path | Mapping[str, Any] | None,
    given: Given,
    backbone: Any,
    data: Any,
    strategy: Any,
    metric: Any,
    pruner: Any,
    sections: Mapping[str, Any],
    overrides: Sequence[str],
) -> SearchConfig:
    """The description that the arguments of `search` amount to."""
    source = Path(config) if isinstance(config, str | Path) else None
    base: dict[str, Any] = {}
    if source is not None:
        base = read_document(source)
    elif isinstance(config, Mapping):
        base = dict(config)
    changes: dict[str, Any] = {
        name: value for name, value in sections.items() if name != "data_options"
    }
    named = {
        "backbone": (backbone, "name"),
        "data": (data, "source"),
        "strategy": (strategy, "name"),
        "objective": (metric, "metric"),
    }
    objects = []
    for section, (value, key) in named.items():
        if value is None:
            continue
        if isinstance(value, str | Mapping):
            told = dict(value) if isinstance(value, Mapping) else {key: value}
            changes[section] = _merged(changes.get(section, {}), told)
        else:
            objects.append(section)
            base[section] = {k: v for k, v in dict(base.get(section, {})).items() if k != key}
    if "data_options" in sections:
        changes["data"] = _merged(changes.get("data", {}), sections["data_options"])
    if pruner is not None and given.pruner is None:
        changes["strategy"] = _merged(changes.get("strategy", {}), {"pruner": pruner})
    return config_from(_merged(base, changes), overrides, source=source, given=objects)


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
