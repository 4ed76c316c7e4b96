"""What there is to know of a backbone's units before a search, as plain values."""

from dataclasses import dataclass

from layersearch.backbones.chain import Chain


@dataclass(frozen=True, kw_only=True)
class UnitRow:
    """One line of the list of units."""

    unit: str
    depth: int
    parameters: int  # values in its parameters
    share: float  # of all parameters of the backbone, its classifier included; in [0, 1]
    multiply_adds: int  # of its stage, forward, one sample
    output_shape: tuple[int, ...]  # of its stage, one sample


@dataclass(frozen=True, kw_only=True)
class ChainDescription:
    """A backbone and its units."""

    rows: tuple[UnitRow, ...]  # by depth
    parameters: int  # of the whole network
    multiply_adds: int  # of the whole network, forward, one sample
    input_shape: tuple[int, ...]
    head: str
    head_features: int
    traced: bool  # False: uncut; the multiply-adds of every row are those of the whole network


def describe_chain(chain: Chain) -> ChainDescription:
    """The units of a chain with their sizes and costs."""
    total = sum(parameter.numel() for parameter in chain.network.parameters())
    rows = tuple(
        UnitRow(
            unit=unit.name,
            depth=unit.depth,
            parameters=unit.numel,
            share=unit.numel / total,
            multiply_adds=unit.multiply_adds,
            output_shape=unit.output_shape,
        )
        for unit in chain.units
    )
    return ChainDescription(
        rows=rows,
        parameters=total,
        multiply_adds=sum(chain.multiply_adds),
        input_shape=chain.input_shape,
        head=chain.head,
        head_features=chain.head_features,
        traced=chain.traced,
    )
