"""How the work of a loop is divided among the programs of a GPU.

A program is what Triton runs on one multiprocessor. A *tile* of batch rows goes through all
steps by itself, so tiles never wait for each other. Its units are divided among `parts`
programs, which wait for each other after each nest; they must all be running at once, so
there are never more of them than multiprocessors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: Rows of a tile and units of a part at least: the smallest product of a GPU's matrix units.
LEAST = 16
#: Units of a part at most: what a program keeps in registers of all gates.
MOST = 64
#: Numbers of a source that a product takes at a time.
CHUNK = 32
#: Rows are shared out in as many tiles as this of the multiprocessors before units are.
ROWS_FIRST = 4


@dataclass(frozen=True)
class Tiles:
    """The sizes of blocks, all powers of two.

    Attributes:
        rows: Batch rows of a tile.
        parts: Programs that share the units of a tile.
        at_once: How many tiles run side by side; the others come after them.
        warps: Groups of 32 threads in a program.
    """

    rows: int = LEAST
    parts: int = 1
    at_once: int = 1 << 30
    warps: int = 4

    @classmethod
    def of(cls, batch: int, sizes: Iterable[int], processors: int) -> Tiles:
        """The division for a batch, the sizes of what is computed, and a GPU.

        Small tiles and parts come first, since a step is as long as its longest program; they
        grow where there would be more of them than multiprocessors.
        """
        widest = max(sizes)
        rows = LEAST
        while rows < 4 * LEAST and -(-batch // rows) * ROWS_FIRST > processors:
            rows *= 2
        tiles = -(-batch // rows)
        parts = 1
        while parts * LEAST < widest and 2 * parts <= processors:
            if 2 * parts * tiles > processors and parts * MOST >= widest:
                break
            parts *= 2
        warps = 4 if rows * power(-(-widest // parts)) <= 2048 else 8
        return cls(rows, parts, max(processors // parts, 1) if parts > 1 else tiles, warps)

    def units(self, size: int, *, product: bool) -> int:
        """Units of one part, of rows of a size; a product has as many as it must."""
        return max(power(-(-size // self.parts)), LEAST if product else 1)


def power(size: int) -> int:
    """The smallest power of two that is not below a size."""
    return 1 << max(size - 1, 0).bit_length()
