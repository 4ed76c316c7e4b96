"""Those who watch a search, from its first step to its last: displays and callbacks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from layersearch.build.components import Components
from layersearch.config import SearchConfig
from layersearch.execution import Ending, Observer, SearchRun
from layersearch.execution.observer import Observers
from layersearch.execution.standing import Beginning, Ended
from layersearch.space import Subset
from layersearch.study import OpenStudy
from layersearch.study.drivers import driver_records


class Watch:
    """Those who watch one run; tells them once how it ends.

    Args:
        observers: all of them.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._audience = Observers(observers)
        self._over = False

    @property
    def observers(self) -> tuple[Observer, ...]:
        """To hand on: one that raises is dropped for all the rest of the run."""
        return (self._audience,)

    def join(self, observers: Sequence[Observer]) -> None:
        """Has more of them watch, from now on."""
        self._audience.join(observers)

    def over(self, ended: Ended) -> None:
        """Tells how it ended, the first time."""
        if not self._over:
            self._over = True
            self._audience.ended(ended)


@contextmanager
def watching(observers: Sequence[Observer]) -> Iterator[Watch]:
    """Has the observers told how it ends, whatever is raised."""
    watch = Watch(observers)
    try:
        yield watch
    except KeyboardInterrupt:
        watch.over(Ended(ending="interrupted", reason="stopped at once"))
        raise
    except BaseException as error:
        watch.over(Ended(ending="failed", reason=str(error) or type(error).__name__))
        raise


def beginning(config: SearchConfig, parts: Components, opened: OpenStudy, **more: Any) -> Beginning:
    """What watchers are told when all is checked and the study is open.

    Args:
        config: the description.
        parts: of the search.
        opened: its study.
        **more: the other fields of Beginning: command, strategy, folder.
    """
    data = parts.materials.data
    drivers = driver_records(opened.study.user_attrs)
    return Beginning(
        study=config.study_name,
        identity=drivers[0].token if drivers else opened.lease.token,
        metrics=tuple(parts.objective.names),
        directions=tuple(parts.objective.directions),
        backbone=parts.materials.backbone.name,
        data=_data(config, len(data.train), len(data.classes)),
        units=len(parts.space.units),
        folds=len(data.folds),
        epochs=parts.materials.recipe.epochs,
        runner=config.execution.runner,
        storage=opened.address,
        ended=opened.history().known,
        notes=tuple(data.notes),
        config=config.resolved(),
        **more,
    )


def _data(config: SearchConfig, samples: int, classes: int) -> str:
    name = config.data.name or config.data.source
    return f"{name}, {samples} samples, {classes} classes"


def ended_as(run: SearchRun, values: Mapping[str, Any], *, folder: str) -> Ended:
    """How a search ended, from its result."""
    score, test = values["score"], values.get("test") or {}
    scored = score["mean"] is not None
    return Ended(
        ending="interrupted" if values.get("interrupted") else _word(run.ending),
        reason=str(values["ending"]),
        subset=Subset(values["subset"]) if scored else None,
        score=score["mean"],
        stderr=score["stderr"],
        test_score=test.get("chosen", {}).get("mean"),
        folder=folder,
    )


def _word(ending: Ending) -> Any:
    return ending.value
