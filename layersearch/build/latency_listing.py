"""Added serving latency along the depth of a backbone, without any data: `layersearch latency`."""

from dataclasses import dataclass
from pathlib import Path

from layersearch.backbones import build_chain
from layersearch.build.components import build_backbone, unit_choices
from layersearch.build.given import NOTHING_GIVEN, Given
from layersearch.build.latency import Tell, measured, write_table
from layersearch.config import SearchConfig
from layersearch.config.latency import LatencyConfig
from layersearch.objectives.latency import LatencyTable
from layersearch.report import save_figure
from layersearch.report.latency_figure import latency_figure

CLASSES = 10  # of the new task, where nothing says: a linear head takes next to nothing


@dataclass(frozen=True, kw_only=True)
class LatencyListing:
    """A measured table and the units in order of depth."""

    table: LatencyTable
    units: tuple[str, ...]

    def added(self, unit: str) -> float:
        """Milliseconds that a task adds which tunes this unit alone."""
        return self.table.predict([unit])

    def draw(self, path: str | Path) -> Path:
        """Writes the figure, as PNG, SVG or PDF. Raises: LayersearchError: it cannot be."""
        table = self.table
        title = f"{table.backbone}, {table.batch_size} at a time, {table.precision}, {table.device}"
        return save_figure(latency_figure(table, self.units, title=title), path)

    def write(self, path: str | Path) -> Path:
        """Writes the table for `objective.latency.table`."""
        return write_table(Path(path), self.table)


def list_latency(
    config: SearchConfig,
    *,
    classes: int = CLASSES,
    given: Given = NOTHING_GIVEN,
    tell: Tell = lambda _: None,
) -> LatencyListing:
    """Measures what a description's `backbone` and `space` say, as `objective.latency` says.

    Args:
        config: the description; where it says auto, the device is the first GPU, or the CPU.
        classes: of the new task.
        given: objects of the user's in place of names.
        tell: is told what takes long.

    Raises:
        BackboneError: the backbone cannot be built.
        SpaceError: a pattern matches nothing.
        ConfigError: the device is not on this machine.
    """
    backbone = build_backbone(config, given, None)
    chain = build_chain(backbone, **unit_choices(config))
    table = measured(
        config.objective.latency or LatencyConfig(),
        backbone=backbone,
        chain=chain,
        classes=classes,
        siamese=config.recipe.siamese,
        tell=tell,
    )
    return LatencyListing(table=table, units=tuple(unit.name for unit in chain.units))
