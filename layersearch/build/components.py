"""From a description to the parts of a search: the only code that knows the config and the classes.

Everything that can be wrong with a description is found here, before any training starts.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from layersearch.backbones import (
    Backbone,
    Chain,
    Preprocessing,
    backbone_from_module,
    build_chain,
    load_backbone,
)
from layersearch.build.given import Given
from layersearch.build.latency import conditions, find_table
from layersearch.build.recipe import build_augmentation, build_recipe, describe_recipe, largest
from layersearch.config import GIVEN, SearchConfig
from layersearch.data import (
    Augmentation,
    DataSplits,
    load_data,
    splits_from_dataset,
    splits_from_tensors,
)
from layersearch.data.decoding import LARGEST_CHOSEN_CANVAS
from layersearch.errors import (
    BackboneError,
    ConfigError,
    DataError,
    Problem,
)
from layersearch.objectives import Objective, make_objective
from layersearch.objectives.latency import LatencyTable
from layersearch.space import Bounds, SearchSpace
from layersearch.subtuning import (
    Budget,
    Materials,
    known_costs,
    require_cut,
)
from layersearch.subtuning.footprint import memory_shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Components:
    """The parts of a search, checked and ready; nothing has been trained."""

    config: SearchConfig
    materials: Materials
    chain: Chain  # on the CPU, for names, sizes and costs
    space: SearchSpace
    objective: Objective
    fingerprint: Mapping[str, Any]
    latency: LatencyTable | None = None  # of serving, where something asks for it


def build_components(
    config: SearchConfig, given: Given, *, tell: Callable[[str], None] = lambda _: None
) -> Components:
    """Loads backbone and data and builds the space; measures latency, where it is asked for.

    Args:
        config: the description.
        given: objects of the user's in place of names.
        tell: is told what takes long.

    Raises:
        LayersearchError: whatever is wrong, in one message: the field, the value, the remedy.
    """
    objective = build_objective(config, given)
    own = given.backbone is not None and not isinstance(given.backbone, Backbone)
    # The user's own network takes images as they are; others tell how large they want them.
    named = None if own else build_backbone(config, given, None)
    data = build_data(config, given, None if named is None else named.preprocessing)
    recipe = build_recipe(config, given, data.folds)
    objective = objective.for_classes(data.classes)
    objective.try_out(
        [data.train.labels[fold.validation] for fold in data.folds], classes=len(data.classes)
    )
    backbone = build_backbone(config, given, data) if named is None else named
    units = unit_choices(config)
    cache = config.execution.cache
    folder = Path(config.study.directory) / config.study_name
    chain = build_chain(backbone, **units)
    if recipe.siamese:
        require_cut(chain)
    augmentation = build_augmentation(config)
    fingerprint = {
        "backbone": {
            "name": backbone.name,
            "weights_hash": backbone.weights_hash,
            "preprocessing": _plain(backbone.preprocessing),
        },
        "data": data.describe(),
        "recipe": describe_recipe(config, recipe),
        "objective": objective.describe(),
        "seed": config.seed,
    }
    classes = len(data.classes)
    latency = find_table(
        config,
        objective,
        backbone=backbone,
        chain=chain,
        classes=classes,
        siamese=recipe.siamese,
        device=_serving_device(config),
        tell=tell,
    )
    if latency is not None:
        fingerprint["latency"] = conditions(config)
    memory = memory_shape(
        chain,
        recipe,
        classes=classes,
        # What auto means differs from machine to machine; a limit must not.
        precision=recipe.precision if recipe.precision != "auto" else "fp32",
        batch_size=largest(config.recipe.batch_size),
    )
    materials = Materials(
        backbone=backbone,
        units=units,
        data=data,
        augmentation=augmentation,
        views=_views(config, augmentation),
        recipe=recipe,
        objective=objective,
        seed=config.seed,
        cache=Budget(
            device_bytes=cache.device,
            host_bytes=cache.host,
            disk_bytes=cache.disk,
        ),
        cache_directory=Path(cache.directory) if cache.directory else folder / "features",
        chain=chain,
        latency=latency,
        memory=memory,
        cache_key=_key([fingerprint["backbone"], data.train.digest, _plain(augmentation), units,
                        config.seed]),
    )  # fmt: skip
    space = SearchSpace(
        chain.units,
        bounds=Bounds(
            min_units=config.space.min_units,
            max_units=config.space.max_units,
            always=config.space.always,
            never=config.space.never,
            contiguous=config.space.contiguous,
        ),
        limits=objective.limits,
        floors=objective.floors,
        costs=lambda subset: known_costs(chain, subset, classes, materials),
        shapes={"training_memory_bytes": memory}
        | ({} if latency is None else {"latency_ms": latency.shape}),
    )
    fingerprint["space"] = space.describe()
    return Components(
        config=config,
        materials=materials,
        chain=chain,
        space=space,
        objective=objective,
        fingerprint=fingerprint,
        latency=latency,
    )


def unit_choices(config: SearchConfig) -> dict[str, Any]:
    """What `build_chain` is told about units."""
    section = config.space
    return {
        "granularity": section.granularity,
        "kinds": section.kinds,
        "patterns": None
        if section.units is None
        else {k: list(v) for k, v in section.units.items()},
        "exclude": section.exclude,
    }


def build_objective(config: SearchConfig, given: Given) -> Objective:
    """The values, their directions and the constraints; it does not know the classes yet."""
    section = config.objective
    return make_objective(
        section.metric if given.metric is None else given.metric,
        direction=section.direction,
        names=section.names,
        constraints={
            name: limit.model_dump(exclude_none=True) for name, limit in section.constraints.items()
        },
    )


def build_backbone(config: SearchConfig, given: Given, data: DataSplits | None) -> Backbone:
    """The pretrained network, the user's own module or one by name."""
    section = config.backbone
    if isinstance(given.backbone, Backbone):
        return replace(given.backbone, network=_copied(given.backbone.network))
    if given.backbone is not None:
        side = section.input_size or 224
        size = (side, side)
        if section.input_size is None and data is not None and data.train.images.ndim == 4:
            height, width = data.train.images.shape[-2:]
            size = (height, width)
        return backbone_from_module(
            _copied(given.backbone),
            input_size=size,
            mean=section.mean or (0.0, 0.0, 0.0),
            std=section.std or (1.0, 1.0, 1.0),
            centre=section.centre,
            head=section.head,
        )
    weights = section.weights
    if weights is not None and config.find(weights).is_file():
        weights = str(config.find(weights))
    return load_backbone(
        section.name,
        weights=weights,
        input_size=section.input_size,
        factory_args=section.arguments,
        head=section.head,
        mean=section.mean,
        std=section.std,
        centre=section.centre,
    )


def _copied(network: nn.Module) -> nn.Module:
    """A copy on the CPU to freeze and to lay out anew: the user's own stays as it is."""
    try:
        return copy.deepcopy(network).cpu()
    except Exception as error:
        raise BackboneError(
            f"backbone: {type(network).__name__} cannot be copied ({error}); give a module that "
            "copy.deepcopy takes, without tensors that are results of a computation"
        ) from error


def build_data(
    config: SearchConfig, given: Given, preprocessing: Preprocessing | None = None
) -> DataSplits:
    """Training samples, folds and the sealed test split; images as large as the backbone needs."""
    section = config.data
    largest = LARGEST_CHOSEN_CANVAS if preprocessing is None else preprocessing.resize
    if config.recipe.augmentation.random_resized_crop is not None:
        largest = max(largest, LARGEST_CHOSEN_CANVAS)  # small parts are enlarged from it
    sizes: dict[str, Any] = {
        "train_samples": section.train_samples,
        "samples_per_class": section.samples_per_class,
        "test_samples": section.test_samples,
        "folds": section.folds,
        "holdout": section.holdout,
        "retrain_on": section.retrain_on,
        "overlap": section.overlap,
        "image_size": section.image_size,
        "largest_image": largest,
        "seed": config.seed,
    }
    if isinstance(given.data, DataSplits):
        return given.data
    if isinstance(given.data, (tuple, list)) and all(torch.is_tensor(t) or hasattr(t, "__array__")
                                                     for t in given.data):  # fmt: skip
        if len(given.data) not in (2, 4):
            raise DataError(
                f"data: {len(given.data)} arrays; give (x, y) or (x, y, x_test, y_test)"
            )
        return splits_from_tensors(*given.data, **sizes)
    if isinstance(given.data, (tuple, list)):
        if len(given.data) not in (1, 2):
            raise DataError(
                f"data: {len(given.data)} objects that are not all arrays; give a Dataset, or one "
                "to train and one to test on"
            )
        return splits_from_dataset(*given.data, **sizes)
    if given.data is not None:
        return splits_from_dataset(given.data, **sizes)
    if section.source == GIVEN:
        raise DataError(
            "data: this search was made from Python objects; give them to search() again"
        )
    return load_data(
        section.source,
        path=None if section.path is None else config.find(section.path),
        name=section.name,
        options=section.options,
        download=section.download,
        **sizes,
    )


def worker_devices(config: SearchConfig) -> list[str]:
    """The devices that workers are given in turn.

    Raises:
        ConfigError: a device that this machine does not have, or too few of them.
    """
    section = config.execution
    devices = _devices(section.device)
    room = len(devices) * section.workers_per_device
    if devices[0] != "cpu" and section.local_workers > room:
        raise ConfigError(
            [
                Problem(
                    where="execution.workers",
                    what=f"{len(devices)} GPUs take {room} workers, got {section.local_workers}",
                    remedy="raise execution.workers_per_device for several workers a GPU",
                )
            ]
        )
    return devices


def _serving_device(config: SearchConfig) -> str:
    """Where latency is measured unless the description says: the driver's first device."""
    if config.execution.runner == "local":
        return _devices(config.execution.device)[0]
    kind = config.execution.device[0]
    if kind in ("auto", "cuda"):
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    return kind


def _devices(names: tuple[str, ...]) -> list[str]:
    if names == ("auto",):
        count = torch.cuda.device_count()
        return [f"cuda:{index}" for index in range(count)] or ["cpu"]
    if names == ("cuda",):
        names = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count())) or names
    for name in names:
        _check_device(name)
    return list(names)


def _check_device(name: str) -> None:
    kind, _, index = name.partition(":")
    there = {
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
        "cuda": torch.cuda.is_available() and int(index or 0) < torch.cuda.device_count(),
    }
    if not there[kind]:
        count = torch.cuda.device_count()
        raise ConfigError(
            [
                Problem(
                    where="execution.device",
                    what=f"{name} is not on this machine, which has {count} GPUs",
                    remedy="use auto or cpu",
                )
            ]
        )


def _views(config: SearchConfig, augmentation: Augmentation) -> int | None:
    """One view is enough where views do not differ."""
    return 1 if augmentation == Augmentation() else config.recipe.augmentation.views


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(vars(value) if hasattr(value, "__dict__") else value, default=str))


def _key(parts: list[Any]) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
