"""The rows of a tile: their addresses in every buffer of a kernel's table."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from gatewright.backends.llvm.index import Index
from gatewright.backends.llvm.ir import Function
from gatewright.language.node import Size
from gatewright.schedule.slots import AFTER, BEFORE, Plan, RowAccess


def size_of(f: Function, plan: Plan, table: ir.Value, size: Size) -> Index:
    """The number that a symbolic size has in this run."""
    return f.load_index(table, plan.sizes[size])


class TileRows:
    """The rows of a tile.

    Args:
        packed: The packed row of each, n.
        within: The row of each within the batch, b.
    """

    def __init__(
        self,
        f: Function,
        plan: Plan,
        table: ir.Value,
        packed: Sequence[Index],
        within: Sequence[Index],
    ) -> None:
        self.f, self.plan, self.table = f, plan, table
        self.packed, self.within = packed, within
        self.indexed: dict[tuple[str, int], Index] = {}
        self.buffers: dict[int, tuple[ir.Value, Index]] = {}

    def position(self, how: str, r: int) -> Index:
        """The number of row r in a buffer; `schedule/slots.py` explains the ways to find it."""
        if how == "step":
            return self.packed[r]
        if how == "scratch":
            return self.within[r]
        if how == "vector":
            return self.f.index(0)
        if (how, r) not in self.indexed:
            array = self.f.load_pointer(self.table, BEFORE if how == "before" else AFTER)
            self.indexed[how, r] = self.f.load_index(array, self.packed[r])
        return self.indexed[how, r]

    def address(self, access: RowAccess, r: int) -> ir.Value:
        """The address of the first unit of row r in a buffer."""
        if access.slot not in self.buffers:
            base = self.f.load_pointer(self.table, access.slot)
            self.buffers[access.slot] = base, self.f.load_index(self.table, access.slot + 1)
        base, length = self.buffers[access.slot]
        return self.f.address(base, self.position(access.how, r) * length)
