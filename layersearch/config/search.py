"""SearchConfig: one description of a search, validated."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr

from layersearch.config.callbacks import CallbackConfig, read_callbacks
from layersearch.config.execution import (
    ExecutionConfig,
    FinalConfig,
    StudyConfig,
    mask_password,
)
from layersearch.config.recipe import RecipeConfig
from layersearch.config.strategy import AnyStrategy, GreedyConfig
from layersearch.config.task import BackboneConfig, DataConfig, ObjectiveConfig, SpaceConfig
from layersearch.config.values import Section


class SearchConfig(Section):
    """A whole search. Made by `load_config` or `config_from`, which also check across sections."""

    # Decides folds, picks, batches, augmentation, heads and what samplers draw.
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    backbone: BackboneConfig
    data: DataConfig
    space: SpaceConfig = SpaceConfig()
    recipe: RecipeConfig = RecipeConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    strategy: AnyStrategy = GreedyConfig()
    execution: ExecutionConfig = ExecutionConfig()
    study: StudyConfig = StudyConfig()
    final: FinalConfig = FinalConfig()
    # Who else is told what happens: tensorboard, mlflow, wandb, 'package.module:callable'; each
    # as a name, or as {name, option: value}.
    callbacks: Annotated[tuple[CallbackConfig, ...], BeforeValidator(read_callbacks)] = ()

    _source: Path | None = PrivateAttr(default=None)
    _notes: tuple[str, ...] = PrivateAttr(default=())

    def locate(self, source: Path | None, *, notes: tuple[str, ...]) -> None:
        """Says where the description came from; only for those who make one."""
        self._source = source
        self._notes = notes

    @property
    def source(self) -> Path | None:
        """The file that it came from."""
        return self._source

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about how it was read: options that were set aside."""
        return self._notes

    @property
    def study_name(self) -> str:
        """The study's name: its own, or made from the file's."""
        if self.study.name is not None:
            return self.study.name
        stem = self._source.stem if self._source is not None else "search"
        return re.sub(r"[^\w.-]+", "-", stem).strip(".-")[:100] or "search"

    def find(self, path: str) -> Path:
        """Where a relative path of the description points: from here, else from the file's folder.

        Returns: the first of the two that exists; if none does, the one from here.
        """
        return find_path(path, self._source)

    def resolved(self) -> dict[str, Any]:
        """Every field with its value, as plain JSON values; passwords are masked."""
        plain: dict[str, Any] = self.model_dump(mode="json")
        plain["study"]["name"] = self.study_name
        if self.study.storage is not None:
            plain["study"]["storage"] = mask_password(self.study.storage)
        for callback in plain["callbacks"]:
            options = callback["options"]
            callback["options"] = {
                name: mask_password(value) if isinstance(value, str) else value
                for name, value in options.items()
            }
        return plain


def find_path(path: str, source: Path | None) -> Path:
    """`path` from the current directory, else from the folder of the file `source`."""
    here = Path(path).expanduser()
    if source is not None and not here.is_absolute() and not here.exists():
        beside = source.parent / here
        if beside.exists():
            return beside
    return here
