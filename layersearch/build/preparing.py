"""What driver and workers of a search do alike before the first trial: parts, devices, study."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna
import torch

from layersearch.build.components import Components, build_components
from layersearch.build.given import Given
from layersearch.build.latency import keep_table
from layersearch.build.proposing import Proposing, build_proposing, least_look_of
from layersearch.build.running import driver_devices
from layersearch.config import SearchConfig
from layersearch.execution import Observer
from layersearch.execution.observer import Observers
from layersearch.study import OpenStudy, open_study
from layersearch.subtuning import resolve_precision


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A search that is checked and may begin."""

    config: SearchConfig
    devices: list[str]  # of this machine
    parts: Components
    proposing: Proposing

    def open_study(self, observers: Sequence[Observer], *, worker: bool = False) -> OpenStudy:
        """The study, held by this process.

        Args:
            observers: are told when its storage is waited for.
            worker: whether to help whoever drives it.

        Raises:
            StudyError: as `layersearch.study.open_study`; it goes by another latency table.
            FingerprintError: it was made with something else.
        """
        section = self.config.study
        opened = open_study(
            self.config.study_name,
            storage=section.storage,
            directory=section.directory,
            directions=self.parts.objective.directions,
            metrics=self.parts.objective.names,
            sampler=self.proposing.sampler,
            pruner=self.proposing.pruner,
            fingerprint=self.parts.fingerprint,
            join=section.join,
            worker=worker,
            storage_timeout=section.storage_timeout,
            stale_after=section.stale_after,
            say=Observers(observers).message,
        )
        try:
            keep_table(opened.study, self.parts.latency)
        except BaseException:
            opened.close()
            raise
        return opened


def prepare(
    config: SearchConfig, given: Given, *, tell: Callable[[str], None] = lambda _: None
) -> Prepared:
    """Loads and checks everything; nothing is trained, and no study is made.

    Args:
        config: the description.
        given: objects of the user's in place of names.
        tell: is told what takes long.

    Raises:
        LayersearchError: whatever is wrong: the field, the value, the remedy.
    """
    # Our own progress says what Optuna's log would.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    devices = driver_devices(config)
    for device in dict.fromkeys(devices):
        resolve_precision(config.recipe.precision, torch.device(device))
    parts = build_components(config, given, tell=tell)
    least = least_look_of(parts.materials)
    proposing = build_proposing(config, given, parts.space, least_look=least)
    return Prepared(config=config, devices=devices, parts=parts, proposing=proposing)
