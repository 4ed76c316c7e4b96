"""The latency table of a search: read from where it is kept, or measured, once.

Who finds the study without a table measures before anything is trained and keeps the table with the
study; everybody after that (the same search resumed, another driver, a worker on any machine) goes
by those numbers, so that a subset is over a limit for all or for none.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch

from layersearch.backbones import Backbone, Chain
from layersearch.config import SearchConfig
from layersearch.config.latency import LatencyConfig
from layersearch.errors import ConfigError, Problem
from layersearch.objectives import Objective
from layersearch.objectives.latency import LatencyTable, StageTiming
from layersearch.serving.latency import architecture_key, measure_latency
from layersearch.space.files import write_whole
from layersearch.study.kept import LATENCY, keep, read_kept

NAME = "latency_ms"  # of the cost
FILE = "latency.json"  # the table, in the study's folder
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class LatencyDepth:
    """What tuning one unit adds, one line of the listing."""

    unit: str
    depth: int
    added: float  # milliseconds, of a task that tunes this unit alone
    stage: StageTiming  # of the unit's first stage


def is_wanted(config: SearchConfig, objective: Objective) -> bool:
    """Whether a value, a constraint or the description asks for latency."""
    return NAME in objective.costs or config.objective.latency is not None


def asks(config: SearchConfig) -> bool:
    """Whether a description by itself asks for latency."""
    section = config.objective
    return NAME in section.metric or NAME in section.constraints or section.latency is not None


def find_table(
    config: SearchConfig,
    objective: Objective,
    *,
    backbone: Backbone,
    chain: Chain,
    classes: int,
    siamese: bool = False,
    device: str,
    tell: Tell = lambda _: None,
) -> LatencyTable | None:
    """The table of this search, measured if nobody has; None if nothing asks for it.

    Args:
        config: the description.
        objective: its values and constraints.
        backbone: that serves.
        chain: it, cut at the search's units, on the CPU; stays as it is.
        classes: of the new task.
        siamese: whether the head sees the original's features too.
        device: to measure on where the description says auto.
        tell: is told what is measured, and what came out.

    Raises:
        ConfigError: the device is not there, or the table named is of something else.
        ObjectiveError: a table cannot be read.
    """
    if not is_wanted(config, objective):
        return None
    section = config.objective.latency or LatencyConfig()
    study = config.study
    kept = read_kept(config.study_name, LATENCY, storage=study.storage, directory=study.directory)
    if kept is not None:
        table = LatencyTable.from_json(kept, where=f"study '{config.study_name}'")
        return _checked(table, chain, where="study.name", remedy="give this search another one")
    if section.table is not None:
        path = config.find(section.table)
        table = LatencyTable.read(_text(path), where=str(path))
        return _checked(
            table,
            chain,
            where="objective.latency.table",
            remedy="measure it for this one: layersearch latency FILE.yaml --output table.json",
            section=section,
        )
    return measured(
        section,
        backbone=backbone,
        chain=chain,
        classes=classes,
        siamese=siamese,
        device=device,
        tell=tell,
    )


def measured(
    section: LatencyConfig,
    *,
    backbone: Backbone,
    chain: Chain,
    classes: int,
    siamese: bool = False,
    device: str = "cpu",
    tell: Tell = lambda _: None,
) -> LatencyTable:
    """Measures a table; arguments as of `find_table`.

    Raises: ConfigError: the device is not there.
    """
    place = torch.device(device if section.device == "auto" else section.device)
    check_device(place)
    where = "" if chain.traced else "; the network is not cut: a task is a second whole one"
    tell(
        f"measuring the serving latency of {backbone.name} on {place}, "
        f"{section.batch_size} at a time, for up to {section.seconds:g} s{where}"
    )
    table = measure_latency(
        chain if place.type == "cpu" else copy.deepcopy(chain).to(place),
        backbone=backbone.name,
        classes=classes,
        batch_size=section.batch_size,
        precision=section.precision,
        threads=section.threads,
        repeats=section.repeats,
        warm_up=section.warm_up,
        held_out=section.held_out,
        seconds=section.seconds,
        siamese=siamese,
    )
    tell(in_words(table))
    return table


def in_words(table: LatencyTable) -> str:
    """The range of the table and its error, in a line."""
    least = table.predict([])
    most = table.predict(table.units)
    text = (
        f"{table.backbone} takes {table.original.median:.3g} ms a batch of {table.batch_size} on "
        f"{table.device}; a task beside it adds {least:.3g} ms (its head alone) to {most:.3g} ms"
    )
    error = table.error
    if error is None:
        return text
    return (
        f"{text}; predictions were {error.mean:.2g} ms off on average, {error.largest:.2g} ms at "
        f"most, for {error.subsets} subsets that were timed whole"
    )


def conditions(config: SearchConfig) -> dict[str, Any]:
    """What must not change while a study goes on."""
    section = config.objective.latency or LatencyConfig()
    return section.model_dump(include={"device", "batch_size", "precision", "threads", "table"})


def keep_table(study: optuna.Study, table: LatencyTable | None) -> None:
    """Keeps the table with the study.

    Raises: StudyError: the study goes by another table: somebody measured at the same time.
    """
    if table is not None:
        keep(study, LATENCY, table.to_json(), what="latency table")


def write_table(path: Path, table: LatencyTable) -> Path:
    """Writes a table as a file that `objective.latency.table` reads."""
    return write_whole(path, json.dumps(table.to_json(), indent=1).encode())


def check_device(device: torch.device) -> None:
    """Raises: ConfigError: this machine does not have the device."""
    there = {
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
    }
    if not there[device.type]:
        raise _refused(
            "objective.latency.device",
            f"{device} is not on this machine, which has {torch.cuda.device_count()} GPUs",
            "measure where it is (layersearch latency BACKBONE --output table.json), and set "
            "objective.latency.table",
        )


def _checked(
    table: LatencyTable,
    chain: Chain,
    *,
    where: str,
    remedy: str,
    section: LatencyConfig | None = None,
) -> LatencyTable:
    """The table, if it is of this chain and, where a section is given, under its conditions."""
    missing = sorted({unit.name for unit in chain.units} - table.units.keys())
    if missing or table.architecture != architecture_key(chain):
        units = f" (it has no {', '.join(missing[:3])})" if missing else ""
        raise _refused(
            where,
            f"the latency table is of {table.backbone}, cut otherwise than this search's{units}",
            remedy,
        )
    given = {} if section is None else section.model_dump(exclude_unset=True)
    for name in ("batch_size", "precision", "threads"):
        wanted, found = given.get(name), getattr(table, name)
        if wanted is not None and wanted != found:
            raise _refused(
                f"objective.latency.{name}",
                f"is {wanted}, and objective.latency.table was measured with {found}",
                "leave it out, or measure again",
            )
    return table


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(
            "objective.latency.table",
            f"'{path}' cannot be read ({getattr(error, 'strerror', None) or 'it is no text'})",
            "write one with layersearch latency BACKBONE --output",
        ) from error


def _refused(where: str, what: str, remedy: str) -> ConfigError:
    return ConfigError([Problem(where=where, what=what, remedy=remedy)])
