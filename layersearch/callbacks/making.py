"""Makes the callbacks that a description names: trackers, and the user's own."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from layersearch.errors import ConfigError, Problem
from layersearch.execution import Observer
from layersearch.strategies.options import called, imported

METHODS = tuple(name for name in vars(Observer) if not name.startswith("_"))

# name: module and class here, and the library's module and package
_TRACKERS = {
    "tensorboard": ("tensorboard_files", "TensorBoardCallback", "tensorboard"),
    "mlflow": ("mlflow_runs", "MlflowCallback", "mlflow"),
    "wandb": ("wandb_runs", "WandbCallback", "wandb"),
}


def make_callback(name: str, options: Mapping[str, Any], *, where: str) -> Any:
    """An object with methods of `Observer`.

    Args:
        name: 'tensorboard', 'mlflow', 'wandb', or 'package.module:callable', which is called once
            with the options as keywords.
        options: its own.
        where: the field that describes it, for errors.

    Raises:
        ConfigError: its library is not installed, there is no such callable, it does not take
            these options, or it raises.
    """
    if name not in _TRACKERS:
        return _own(name, options, where=where)
    module, cls, library = _TRACKERS[name]
    try:
        import_module(library)
    except ImportError as error:
        what = f"{name} is not installed ({error})"
        remedy = f"pip install 'layersearch[{name}]'"
        raise ConfigError([Problem(where=where, what=what, remedy=remedy)]) from error
    make = getattr(import_module(f"layersearch.callbacks.{module}"), cls)
    return called(make, options, where=where)


def _own(name: str, options: Mapping[str, Any], *, where: str) -> Any:
    make = imported(name, where=where)
    if not callable(make):
        what = f"{name!r} cannot be called (it is a {type(make).__name__})"
        remedy = "name a class or a function that gives an object with methods of Observer"
        raise ConfigError([Problem(where=where, what=what, remedy=remedy)])
    try:
        made = called(make, options, where=where)
    except ConfigError:
        raise
    except Exception as error:
        what = f"{name} raised {error!r}"
        raise ConfigError([Problem(where=where, what=what)]) from error
    if not any(callable(getattr(made, method, None)) for method in METHODS):
        what = f"{name} gave a {type(made).__name__} that listens to nothing"
        remedy = f"give it at least one of the methods {', '.join(METHODS)}"
        raise ConfigError([Problem(where=where, what=what, remedy=remedy)])
    return made
