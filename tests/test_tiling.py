"""Register tiles: they fit into the registers, cover every row and block, and cut no chunk."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gatewright.schedule.loop import Nest
from gatewright.schedule.tiling import (
    CHUNK_ROWS,
    SUMS_IN_FLIGHT,
    Tile,
    Tiling,
    gradient_tile,
)

REGISTERS = pytest.mark.parametrize("registers", [16, 32])


def tiling(gates: int, registers: int) -> Tiling:
    """The tiling of a nest with so many sums of products."""
    nest: Any = SimpleNamespace(sums=dict.fromkeys(range(gates)))
    return Tiling.of(cast(Nest, nest), registers)


@REGISTERS
@pytest.mark.parametrize("gates", range(1, 40))
def test_the_sums_of_a_pass_fit_into_the_registers(gates: int, registers: int):
    tiles = tiling(gates, registers)
    per_pass = tiles.gates_per_pass(gates)
    for tile in tiles.columns[-1]:
        sums = per_pass * tile.rows * tile.blocks
        assert sums <= tiles.accumulators
        # One vector of each matrix and a broadcast number are in registers too.
        assert sums + per_pass * tile.blocks + 1 <= registers
    assert gates * tiles.columns[0][0].blocks >= SUMS_IN_FLIGHT  # for a single row


@REGISTERS
@pytest.mark.parametrize("gates", range(40))
def test_tiles_cover_every_row_and_block(gates: int, registers: int):
    tiles = tiling(gates, registers)
    assert tiles.columns[-1][-1] == Tile(1, 1)
    assert len(set(tiles.tiles)) == len(tiles.tiles)  # each is one function of the module
    for column in tiles.columns:
        assert len({tile.blocks for tile in column}) == 1
        assert column[-1].rows == 1
        assert [tile.rows for tile in column] == sorted((t.rows for t in column), reverse=True)
        for tile in column:
            assert CHUNK_ROWS % tile.rows == 0


def test_large_cells_take_several_passes():
    assert tiling(4, 32).gates_per_pass(4) == 4
    assert tiling(16, 32).gates_per_pass(16) == 6
    assert tiling(16, 16).gates_per_pass(16) == 3
    # A source may have more products than the nest has gates.
    assert tiling(4, 32).gates_per_pass(8) == 4


@REGISTERS
def test_the_tile_of_a_gradient_fits_too(registers: int):
    tile = gradient_tile(registers)
    assert tile.rows * tile.blocks + tile.blocks + 1 <= registers
    assert CHUNK_ROWS % tile.rows == 0


def test_a_tiling_is_printed_for_explain():
    assert str(tiling(4, 32)) == (
        "4 sum(s) in 1 pass(es) over K, in tiles of 1x2, 6x1, 2x1, 1x1 rows x vectors"
    )
