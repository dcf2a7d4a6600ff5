"""Where a kernel finds its rows: addresses in every buffer of its table."""

from __future__ import annotations

from llvmlite import ir

from gatewright.backends.llvm.ir import Function
from gatewright.language.node import Size
from gatewright.schedule.slots import AFTER, BEFORE, Plan, RowAccess


def size_of(f: Function, plan: Plan, table: ir.Value, size: Size) -> ir.Value:
    """The number that a symbolic size has in this run."""
    return f.load_index(table, plan.sizes[size])


class Rows:
    """The rows of a tile: their addresses in every buffer."""

    def __init__(
        self,
        f: Function,
        plan: Plan,
        table: ir.Value,
        packed: list[ir.Value],
        within: list[ir.Value],
    ) -> None:
        self.f, self.plan, self.table = f, plan, table
        self.packed, self.within = packed, within
        self.indexed: dict[tuple[str, int], ir.Value] = {}

    def position(self, how: str, r: int) -> ir.Value:
        """The number of row r in a buffer."""
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

    def address(self, place: RowAccess, r: int) -> ir.Value:
        """The first unit of row r in a buffer."""
        f = self.f
        base = f.load_pointer(self.table, place.slot)
        length = f.load_index(self.table, place.slot + 1)
        return f.address(base, f.b.mul(self.position(place.how, r), length))
