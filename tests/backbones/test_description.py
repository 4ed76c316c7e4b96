"""The list of units as plain values."""

import pytest

from layersearch.backbones import build_chain, describe_chain, load_backbone


def test_rows_tell_size_share_cost_and_shape_of_each_unit() -> None:
    chain = build_chain(load_backbone("cifar_resnet14", weights=None))
    description = describe_chain(chain)
    assert [row.unit for row in description.rows] == [unit.name for unit in chain.units]
    head = 64 * 10 + 10
    assert sum(row.parameters for row in description.rows) == description.parameters - head
    assert sum(row.share for row in description.rows) == pytest.approx(
        1 - head / description.parameters
    )
    stem = description.rows[0]
    assert (stem.multiply_adds, stem.output_shape) == (32 * 32 * 16 * 27, (16, 32, 32))
    assert description.multiply_adds == sum(row.multiply_adds for row in description.rows) + 640
    assert description.traced
