"""The division of a loop's work among the programs of a GPU.

A program runs on one multiprocessor. A *tile* of batch rows goes through all steps by itself,
so tiles never wait for each other. Its units are divided among `parts` programs, which wait
for each other after each nest; they must all be running at once, so there are never more of
them than multiprocessors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: Least rows of a tile and units of a part: the smallest product of a GPU's matrix units.
LEAST = 16
#: Most units of a part: a program keeps those of all gates in registers.
MOST = 64
#: Numbers of a source that a product takes at a time.
CHUNK = 32
#: Rows are divided first, until there is one tile for this many multiprocessors.
ROWS_FIRST = 4


@dataclass(frozen=True)
class Tiles:
    """The sizes of blocks, all powers of two.

    Attributes:
        rows: Batch rows of a tile.
        parts: Programs that share the units of a tile.
        at_once: Tiles that run at the same time; the others follow in further launches.
        warps: Groups of 32 threads in a program.
    """

    rows: int = LEAST
    parts: int = 1
    at_once: int = 1 << 30
    warps: int = 4

    @classmethod
    def of(cls, batch: int, sizes: Iterable[int], processors: int) -> Tiles:
        """Divide a batch of rows, with nests of these sizes, among multiprocessors.

        Small tiles and parts are preferred, since a step takes as long as its slowest program;
        they grow where there would be more of them than multiprocessors.
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
        # A block of more than 2048 numbers would not fit the registers of 4 warps.
        warps = 4 if rows * power(-(-widest // parts)) <= 2048 else 8
        return cls(rows, parts, max(processors // parts, 1) if parts > 1 else tiles, warps)

    def units(self, size: int, *, product: bool) -> int:
        """Count the units of one part of a row; a product has at least `LEAST`."""
        return max(power(-(-size // self.parts)), LEAST if product else 1)


def power(size: int) -> int:
    """Return the smallest power of two that is not below a size."""
    return 1 << max(size - 1, 0).bit_length()
