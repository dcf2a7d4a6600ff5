"""The places where a kernel loads and stores its values: addresses in the kernel's text.

A kernel's own values stay in registers, also from one nest to the next of the same size. Values
that a nest reads as whole rows, or at other units than the program's own, go through memory.
"""

from __future__ import annotations

from collections.abc import Mapping

from gatewright.backends.triton.tiles import Tiles
from gatewright.graph.sizes import number
from gatewright.graph.terms import Term
from gatewright.language.node import Size
from gatewright.schedule.buffers import Buffer
from gatewright.schedule.loop import Nest, reads_whole
from gatewright.schedule.slots import Plan, RowAccess

#: The index of a buffer's row in the kernel's text; see `schedule/slots.py`.
ROWS = {"step": "n", "before": "nb", "after": "na", "scratch": "b"}


class KernelPlaces:
    """The places of one kernel.

    Attributes:
        dtype: The type of the computation, as Triton names it; `low` is that of the weights
            and of the values that they multiply, where it is another type.
        shared: Terms that go through memory from one nest to another.
        written: The buffers that the kernel writes.
        buffers: The buffers that are arguments of the kernel, in this order.
        matrices: The matrices, which are the arguments after them.
    """

    def __init__(
        self,
        plan: Plan,
        sizes: Mapping[str, int],
        tiles: Tiles,
        *,
        bits: int = 32,
        low: str | None = None,
        widths: Mapping[Buffer, int] | None = None,
    ) -> None:
        """Find the places; `widths` has the row lengths of buffers with others at their side."""
        self.plan, self.sizes, self.tiles = plan, sizes, tiles
        self.bits, self.dtype, self.low = bits, f"tl.float{bits}", low
        self.widths = widths or {}
        self.nests = plan.loop.nests
        self.home = {term: nest for nest in self.nests for term in nest.terms}
        self.shared = {term for nest in self.nests for term in self.from_memory(nest)}
        self.written = {
            access.buffer
            for term, accesses in plan.stores.items()
            for access in accesses
            if self.is_stored(term, access)
        }
        unread = {buffer for buffer in plan.buffers if buffer.kind == "scratch"} - self.written
        self.buffers = [buffer for buffer in plan.buffers if buffer not in unread]
        matrices = [p.operands[1] for group in plan.all_groups() for p in group.products]
        self.matrices = list(dict.fromkeys(matrices))

    # The terms that nests read.
    def pointwise_reads(self, nest: Nest) -> list[Term]:
        """List the terms that a nest reads at its own units, in order and once."""
        terms: list[Term] = []
        for term in nest.terms:
            if term in nest.sums:
                terms += nest.sums[term].others
            elif not reads_whole(term):
                terms += term.operands
        return list(dict.fromkeys(terms))

    def from_memory(self, nest: Nest) -> set[Term]:
        """Collect the terms of this kernel's same step that a nest reads from memory."""
        terms = {product.operands[0] for s in nest.sums.values() for product in s.products}
        terms |= {term.operands[0] for term in nest.terms if reads_whole(term)}
        terms |= {term for term in self.pointwise_reads(nest) if term.size != nest.size}
        return terms & set(self.home)

    def is_stored(self, term: Term, access: RowAccess) -> bool:
        """Tell if a term is stored there: not in scratch that no nest reads."""
        return access.how != "scratch" or term in self.shared

    # Sizes.
    def units(self, size: Size) -> int:
        return number(size, self.sizes)

    def block(self, units: int) -> int:
        """Count the units of a program, in all nests that run over `units` units."""
        product = any(nest.sums for nest in self.nests if self.units(nest.size) == units)
        return self.tiles.units(units, product=product)

    # Addresses.
    def row(self, access: RowAccess, axes: str = "[:, None]") -> str:
        """Print the address of the first unit of each row."""
        buffer = access.buffer
        width = self.widths.get(buffer, self.units(buffer.term.size))
        return f"{argument(buffer)} + {ROWS[access.how]}{axes} * {width}"

    def load(self, access: RowAccess, column: str, mask: str) -> str:
        """Print a load of some columns of the rows."""
        return self.read(access, f"{self.row(access)} + {column}", mask)

    def read(self, access: RowAccess, address: str, mask: str, other: str = "0.0") -> str:
        """Print a load from an address, converted to the type of the computation."""
        # Another multiprocessor may have written there: not from this one's own cache.
        fresh = access.buffer in self.written and self.tiles.parts > 1
        cache = ', cache_modifier=".cg"' if fresh else ""
        return f"tl.load({address}, mask={mask}, other={other}{cache}).to({self.dtype})"

    def is_broadcast(self, term: Term, nest: Nest) -> bool:
        """Tell if a nest reads one number a row of a term."""
        return term.size == 1 and nest.size != 1

    def at_units(self, term: Term, nest: Nest) -> str:
        """Print the load of a term from memory at the units of a nest."""
        access, units = self.plan.loads[term], self.units(nest.size)
        broadcast = self.is_broadcast(term, nest)
        if access.how == "vector":
            start = argument(access.buffer)
            if broadcast:
                loaded = f"tl.load({start} + tl.zeros((1, 1), tl.int32))"
            else:
                loaded = f"tl.load({start} + u{units}, mask=has{units}, other=0.0)[None, :]"
            loaded += f".to({self.dtype})"
        elif broadcast:
            loaded = self.load(access, "0", "live[:, None]")
        else:
            loaded = self.load(access, f"u{units}[None, :]", inside(units))
        # In memory a comparison is 1 or 0.
        return f"{loaded} != 0" if term.boolean else loaded


def argument(buffer: Buffer) -> str:
    """Return the name of a buffer's argument."""
    return str(buffer).replace(" ", "_")


def inside(units: int) -> str:
    """Print the mask of a block's rows and units that exist."""
    return f"live[:, None] & has{units}[None, :]"
