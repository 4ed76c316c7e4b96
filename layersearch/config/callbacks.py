"""Who else is told what happens: the section `callbacks`."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from layersearch.config.values import Options, Section, is_object_name, wrong

# Trackers, and the options of each.
CALLBACKS: Mapping[str, tuple[str, ...]] = {
    "tensorboard": ("directory", "curves"),
    "mlflow": ("tracking_uri", "experiment", "run_name", "curves"),
    "wandb": ("project", "entity", "run_name", "mode", "directory", "curves"),
}


class CallbackConfig(Section):
    """A tracker, or a callback of the user's own; it runs in the driver."""

    # tensorboard, mlflow, wandb (each needs the extra of its name), or 'package.module:callable',
    # which is called once with the options and gives an object with methods of Observer
    name: Annotated[str, Field(min_length=1)]
    # Its own: directory, tracking_uri, experiment, project, entity, run_name, mode, curves …
    options: Options = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> Self:
        from layersearch.space.names import did_you_mean  # it would load NumPy for every search

        if is_object_name(self.name):
            return self
        if self.name not in CALLBACKS:
            raise wrong(
                f"there is no callback {self.name!r}",
                f"{did_you_mean(self.name, CALLBACKS)}, or write 'package.module:callable'",
            )
        for option in self.options:
            if option not in CALLBACKS[self.name]:
                raise wrong(
                    f"{self.name} takes no option {option!r}",
                    did_you_mean(option, CALLBACKS[self.name]),
                )
        return self


def read_callbacks(value: object) -> object:
    """'tensorboard' as [{name: tensorboard}]; options may stand beside the name."""
    if value is None:
        return ()
    found = value if isinstance(value, list | tuple) else [value]
    return tuple(_read(item) for item in found)


def _read(value: object) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping) and "name" in value and "options" not in value:
        options = {key: value[key] for key in value if key != "name"}
        return {"name": value["name"], "options": options}
    return value
