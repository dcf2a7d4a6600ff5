"""Register tiles: the blocking of every product of matrices, and the figures behind it.

A *block* is one vector of units. A *tile* is some rows by some blocks whose sums of products
all stay in vector registers, while the K-loop runs along the products' source once. For each
number of the source it loads one vector of every matrix, broadcasts one number of every row,
and multiplies each with each.

Speeds without another source are of one core of an AMD EPYC with AVX-512.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.schedule.loop import Nest

#: Rows of the tiles of a weight's gradient, and of a thread's share of rows, a multiple of them.
TILE_ROWS = 6
#: Fused multiply-adds of one iteration of the K-loop, at least: tiles with fewer take several
#: numbers of the source at once, so that they share the loop's own three instructions. Only
#: tiles at the edges are so small. Unrolling them further took 1.4 s to build the training
#: kernels of the LSTM, where these take 0.8 s.
K_LOOP_PRODUCTS = 4
#: Sums in registers that hide the latency of a fused multiply-add: it takes four cycles, and
#: two are started in each.
SUMS_IN_FLIGHT = 8
#: Bytes of a product's source that go through all blocks of a nest, and all nests of a step,
#: before the next rows do: half of a second-level cache of 512 KB, whose rest is for the
#: matrices. This, with prefetching, took the loop backwards from 130 to 165 GFLOP/s at
#: (T, B, I, H) = (32, 128, 128, 128).
SOURCE_BYTES = 1 << 18
#: The rows taken through at once are a multiple of every tile's, so that none is cut: of
#: 24 / n for every n, and of 12 / n.
ROW_MULTIPLE = 24
#: Packed rows that a tile of a weight's gradient sums before the next tile does, so that they
#: stay in the cache for all tiles; and how far ahead of its loads it prefetches.
GRADIENT_DEPTH = 128
#: Rows of a vector's gradient that are summed by themselves, since a sum of sums is more exact
#: than one long sum; and the blocks that go down the rows together, a whole cache line or more
#: in each, with `SUMS_IN_FLIGHT` independent additions.
TOTAL_DEPTH, TOTAL_BLOCKS = 64, 8


@dataclass(frozen=True)
class Tile:
    """Rows and blocks that are computed at once."""

    rows: int
    blocks: int


def accumulators(registers: int) -> int:
    """Vector registers that hold sums of products.

    The others are for one vector of each matrix, a broadcast number and the compiler: six rows
    and the four gates of an LSTM fill 24 of AVX-512's 32. A multiple of 2, 3, 4 and 6, so that
    cells with so many gates leave none unused.
    """
    return 24 if registers >= 32 else 12


def gradient_tile(registers: int) -> Tile:
    """The tile of a weight's gradient.

    Nearly square: a number loaded from either side is used as often as there are registers for.
    """
    return Tile(TILE_ROWS, accumulators(registers) // TILE_ROWS)


@dataclass(frozen=True)
class Tiling:
    """The tiles of one nest on one processor.

    Attributes:
        gates: The nest's sums of products, such as the four gates of an LSTM.
        accumulators: Vector registers that hold sums.
        columns: The tiles by width, those with the most rows first; the last column takes any
            block, and the last tile of each any row. If there are several columns, the first
            one is for a row by itself.
    """

    gates: int
    accumulators: int
    columns: tuple[tuple[Tile, ...], ...]

    @classmethod
    def of(cls, nest: Nest, registers: int) -> Tiling:
        """The tiles of a nest on a processor with so many vector registers."""
        gates, sums = len(nest.sums), accumulators(registers)
        if not gates:
            return cls(0, sums, ((Tile(1, 1),),))
        # Few gates take several blocks, and a single row takes more of them, so that enough
        # multiply-adds are under way to hide their latency.
        blocks, single_row = max(1, sums // TILE_ROWS // gates), -(-SUMS_IN_FLIGHT // gates)
        columns = [_column(gates, width, sums) for width in sorted({blocks, 1}, reverse=True)]
        if single_row > 1:  # else the last column has that tile, and twice it could not be emitted
            columns.insert(0, (Tile(1, single_row),))
        return cls(gates, sums, tuple(columns))

    @property
    def tiles(self) -> list[Tile]:
        """All tiles."""
        return [tile for column in self.columns for tile in column]

    def gates_per_pass(self, products: int) -> int:
        """The gates that are accumulated in one pass over K, of a source's products."""
        return gates_per_pass(max(products, self.gates), self.accumulators)

    def __str__(self) -> str:
        passes = -(-self.gates // gates_per_pass(self.gates, self.accumulators))
        tiles = ", ".join(f"{tile.rows}x{tile.blocks}" for tile in self.tiles)
        return (
            f"{self.gates} sum(s) in {passes} pass(es) over K, in tiles of {tiles} rows x vectors"
        )


def gates_per_pass(gates: int, accumulators: int) -> int:
    """The gates that are accumulated in one pass over K.

    Large cells take several passes, of about equally many gates, so that each has registers for
    four rows at least: 16 gates are twice as fast as in one pass with one row, where each vector
    of a matrix would be loaded for one row only.
    """
    most = accumulators // 4
    return -(-gates // -(-gates // most))


def _column(gates: int, blocks: int, accumulators: int) -> tuple[Tile, ...]:
    """Tiles of one width, by falling number of rows.

    As many rows as there are registers for; then two, since with eight sums in flight two rows
    are as fast a row as more; then one.
    """
    most = max(1, accumulators // (gates_per_pass(gates, accumulators) * blocks))
    return tuple(Tile(rows, blocks) for rows in sorted({most, min(most, 2), 1}, reverse=True))
