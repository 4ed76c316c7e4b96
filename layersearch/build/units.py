"""What there is to search in a backbone, without any data."""

from dataclasses import dataclass

from layersearch.backbones import build_chain
from layersearch.build.components import build_backbone, unit_choices
from layersearch.build.given import NOTHING_GIVEN, Given
from layersearch.config import SearchConfig
from layersearch.space import Unit


@dataclass(frozen=True, kw_only=True)
class UnitListing:
    """The units of a backbone by depth."""

    backbone: str
    head: str  # module path of the classifier, which every trial replaces
    parameters: int  # values in the whole backbone, its own classifier included
    input_size: tuple[int, int]  # pixels (H, W)
    traced: bool  # False: it cannot be cut, and trials run all of it
    units: tuple[Unit, ...]


def describe_units(config: SearchConfig, *, given: Given = NOTHING_GIVEN) -> UnitListing:
    """The units that a description's `backbone` and `space` make.

    Raises:
        BackboneError: the backbone cannot be built.
        SpaceError: a pattern matches nothing.
    """
    backbone = build_backbone(config, given, None)
    chain = build_chain(backbone, **unit_choices(config))
    return UnitListing(
        backbone=backbone.name,
        head=backbone.head,
        parameters=sum(parameter.numel() for parameter in backbone.network.parameters()),
        input_size=backbone.preprocessing.input_size,
        traced=chain.traced,
        units=chain.units,
    )
