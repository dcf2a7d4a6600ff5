"""Register tiles: the blocking of every product of matrices, and the figures behind it.

A *block* is one vector of units. A *tile* is some rows by some blocks whose sums of products
all stay in vector registers, while the K-loop runs along the products' source once. For each
number of the source it loads one vector of every matrix, broadcasts one number of every row,
and multiplies each with each.

Times without another source are processor times of a layer's call, float32, on one thread of an
AMD EPYC with AVX-512 and 1 MB of second-level cache: medians of variants that ran in turns.
Sizes are (T, B, I, H).
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.schedule.loop import Nest

#: Rows of the tiles of a weight's gradient.
TILE_ROWS = 6
#: A thread gets a multiple of so many rows: tiles of two rows are as fast, a row, as tiles of
#: six, and with multiples of six two threads would share 32 rows as 18 and 14.
GRAIN = 2
#: Fused multiply-adds of one iteration of the K-loop, at least: smaller tiles take several
#: numbers of the source at once, which share the loop's own instructions. Only tiles at the
#: edges are so small, so it matters little (an Elman network, (128, 1, 128, 128): 0.197 ms with
#: 1, 4 or 8), and more is longer to build: the training kernels of the LSTM went from 1.4 s to
#: 0.8 s with less unrolling and fewer of LLVM's passes.
K_LOOP_PRODUCTS = 4
#: Sums in registers that hide the latency of a fused multiply-add: it takes about four cycles,
#: and two can start in each. A row by itself gets as many blocks as that needs. With AVX2 an
#: LSTM run at (128, 1, 256, 256) then takes 4.20 ms instead of 4.91, and an Elman network 1.13
#: instead of 1.39; with AVX-512 there is no difference beyond the noise of 2 %.
SUMS_IN_FLIGHT = 8
#: Rows whose pointwise terms are computed together, term by term: those of one row wait for the
#: results of each other. Inference of an LSTM at (128, 32, 128, 128) takes 3.7 % less time than
#: with one row, in bfloat16 7 %; with three rows as long as with one.
EPILOGUE_ROWS = 2
#: Bytes that a chunk of rows of a product's source may have. A chunk goes through all blocks of
#: a nest, and all nests of a step, before the next one does; it stays in the second-level cache,
#: with room for the matrices. An LSTM trained at (16, 256, 512, 512) takes 502 ms, and 523 with
#: all rows at once; at (32, 128, 128, 128) it is 36.3 and 36.7.
CHUNK_BYTES = 1 << 18
#: The rows of a chunk are a multiple of this, and so of every tile's rows (which are 24 or 12
#: divided by an integer), so that no tile is cut.
CHUNK_ROWS = 24
#: An inference computes the products of the inputs in its loop (`fused.py`) if each thread has so
#: many rows on average, and all matrices of the cell have at most so many bytes. An LSTM at
#: (128, 32, 128, 128) then takes 3.3 % less time (bfloat16: 5.5 %), at (512, 8, 32, 64) 5.9 %
#: (10.3 %), a GRU and an Elman network 2 to 6 %. With one row (100, 1, 64, 64) takes 8 % more, with
#: five rows (200, 5, 128, 128) 1 to 5 %. Matrices of 2 to 8 MB change less than 1 %.
FUSED_ROWS, FUSED_BYTES = 6, 1 << 20
#: Packed rows that a tile of a weight's gradient sums before the next tile does, so that they are
#: still in the cache for it; also the distance at which it prefetches. An LSTM trained at
#: (16, 256, 512, 512) takes 498 ms with 128, 552 with 8, 628 with 1024, and 802 with all rows;
#: at (32, 128, 128, 128) it is 36.4, 39.2, 37.5 and 45.8.
GRADIENT_DEPTH = 128
#: Rows of a vector's gradient that are summed by themselves, since a sum of sums is more exact
#: than one long sum; and the blocks whose sums go down the rows together, `SUMS_IN_FLIGHT`
#: independent additions.
TOTAL_DEPTH, TOTAL_BLOCKS = 64, 8


@dataclass(frozen=True)
class Tile:
    """Rows and blocks that are computed at once."""

    rows: int
    blocks: int


def accumulators(registers: int) -> int:
    """Vector registers that hold sums of products.

    The others are for one vector of each matrix and a broadcast number: six rows and the four
    gates of an LSTM fill 24 of AVX-512's 32. Cells of 1, 2, 3, 4 or 6 gates leave none of 24 or
    12 unused. An LSTM trained at (32, 128, 128, 128) takes 36.1 ms with 24, 37.1 with 12, 36.4
    with 18 and 38.1 with 30, which spill; a GRU 27.9, 28.2, 28.2 and 29.5. With the 16 registers
    of AVX2 it is 51.9 ms with 12 and 70.6 with 18, which spill.
    """
    return 24 if registers >= 32 else 12


def gradient_tile(registers: int) -> Tile:
    """The tile of a weight's gradient.

    Each number of the left is used for all blocks, and each vector of the right for all rows: the
    nearer to square the tile is, the fewer loads it needs for a product.
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
        # Few gates take several blocks, so that there are as many sums as registers for them, and
        # each broadcast number is used in all (an Elman network, (32, 6, 128, 128): 0.199 ms,
        # and 0.242 with one block). A single row takes enough to hide the latency.
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

    As many rows as there are registers for; then two and one, for the rows that are left. Without
    tiles of two rows an LSTM trained at (64, 3, 128, 128) takes 2.52 ms instead of 2.31, and one
    with 5 rows 3.78 instead of 3.39.
    """
    most = max(1, accumulators // (gates_per_pass(gates, accumulators) * blocks))
    return tuple(Tile(rows, blocks) for rows in sorted({most, min(most, 2), 1}, reverse=True))
