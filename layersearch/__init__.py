"""layersearch: finds which layers of a pretrained network to finetune for a new task.

    import layersearch

    result = layersearch.search(backbone="resnet50", data=(x, y), strategy="greedy")
    print(result.subset)

Names are loaded when they are first used, so that `import layersearch` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layersearch.backbones import (
        Backbone,
        Chain,
        backbone_from_module,
        build_chain,
        load_backbone,
    )
    from layersearch.build import (
        Given,
        Plan,
        Profile,
        Result,
        export,
        plan,
        profile,
        run_profile,
        run_search,
        search,
    )
    from layersearch.config import SearchConfig, load_config
    from layersearch.data import DataSplits, load_data
    from layersearch.errors import LayersearchError
    from layersearch.objectives import Outcome, make_objective
    from layersearch.serving import MultiTaskNetwork, Task, load_model, load_task
    from layersearch.space import Bounds, SearchSpace, Subset, Unit
    from layersearch.subtuning import Recipe, subtune

_HOMES = {
    "backbones": ("Backbone", "Chain", "backbone_from_module", "build_chain", "load_backbone"),
    "build": (
        "Given",
        "Plan",
        "Profile",
        "Result",
        "export",
        "plan",
        "profile",
        "run_profile",
        "run_search",
        "search",
    ),
    "config": ("SearchConfig", "load_config"),
    "data": ("DataSplits", "load_data"),
    "errors": ("LayersearchError",),
    "objectives": ("Outcome", "make_objective"),
    "serving": ("MultiTaskNetwork", "Task", "load_model", "load_task"),
    "space": ("Bounds", "SearchSpace", "Subset", "Unit"),
    "subtuning": ("Recipe", "subtune"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Backbone",
    "Bounds",
    "Chain",
    "DataSplits",
    "Given",
    "LayersearchError",
    "MultiTaskNetwork",
    "Outcome",
    "Plan",
    "Profile",
    "Recipe",
    "Result",
    "SearchConfig",
    "SearchSpace",
    "Subset",
    "Task",
    "Unit",
    "backbone_from_module",
    "build_chain",
    "export",
    "load_backbone",
    "load_config",
    "load_data",
    "load_model",
    "load_task",
    "make_objective",
    "plan",
    "profile",
    "run_profile",
    "run_search",
    "search",
    "subtune",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'layersearch' has no attribute {name!r}")
    return getattr(import_module(f"layersearch.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
