"""Where a kernel finds and leaves its values: addresses in its text, and what is exchanged.

A kernel's own values stay in registers, also from one nest to the next of the same size. What
a nest reads as whole rows, or at other units than those that the program computes, goes
through memory.
"""

from __future__ import annotations

from collections.abc import Mapping

from gatewright.backends.triton.tiles import Tiles
from gatewright.graph.sizes import number
from gatewright.graph.terms import Term
from gatewright.language.node import Size
from gatewright.schedule.loop import Nest, reads_whole
from gatewright.schedule.slots import Place, Plan

#: The index of a buffer's row, as the kernel's text names it: see `llvm/plan.py`.
ROWS = {"step": "n", "before": "nb", "after": "na", "scratch": "b"}


class Places:
    """The places of one kernel.

    Attributes:
        dtype: The type that is computed in, as Triton names it; `low` is that of the weights
            where it is another one, and of what is multiplied with them.
        shared: Terms that go through memory from one nest to another.
        written: The buffers that the kernel writes.
        buffers: The buffers that it is given, in the order of its arguments.
        matrices: The matrices behind them.
    """

    def __init__(
        self,
        plan: Plan,
        sizes: Mapping[str, int],
        tiles: Tiles,
        *,
        bits: int = 32,
        low: str | None = None,
        widths: Mapping[str, int] | None = None,
    ) -> None:
        """`widths` are those of the rows of buffers that have others beside them."""
        self.plan, self.sizes, self.tiles = plan, sizes, tiles
        self.bits, self.dtype, self.low = bits, f"tl.float{bits}", low
        self.widths = widths or {}
        self.nests = plan.loop.nests
        self.buffer_of = {slot: buffer for buffer, slot in plan.buffers.items()}
        self.home = {term: nest for nest in self.nests for term in nest.terms}
        self.shared = {one for nest in self.nests for one in self.from_memory(nest)}
        self.written = {
            self.buffer(place)
            for term, places in plan.stores.items()
            for place in places
            if self.is_stored(term, place)
        }
        unread = {one for one in plan.buffers if one.startswith("scratch")} - self.written
        self.buffers = [one for one in plan.buffers if one not in unread]
        groups = [group for groups in plan.groups.values() for group in groups]
        matrices = [product.operands[1] for group in groups for product in group.products]
        self.matrices = list(dict.fromkeys(matrices))

    # What nests read.
    def beside(self, nest: Nest) -> list[Term]:
        """What a nest reads at its own units, in order and once."""
        found: list[Term] = []
        for term in nest.terms:
            if term in nest.sums:
                found += nest.sums[term].others
            elif not reads_whole(term):
                found += term.operands
        return list(dict.fromkeys(found))

    def from_memory(self, nest: Nest) -> set[Term]:
        """What a nest reads from memory of what this kernel computes in the same step."""
        found = {product.operands[0] for one in nest.sums.values() for product in one.products}
        found |= {one.operands[0] for one in nest.terms if reads_whole(one)}
        found |= {one for one in self.beside(nest) if one.size != nest.size}
        return found & set(self.home)

    def is_stored(self, term: Term, place: Place) -> bool:
        """Whether a term is stored there: not where no nest reads it again."""
        return place.how != "scratch" or term in self.shared

    # Sizes.
    def units(self, size: Size) -> int:
        return number(size, self.sizes)

    def block(self, units: int) -> int:
        """The units of a program, of all nests of that many."""
        product = any(nest.sums for nest in self.nests if self.units(nest.size) == units)
        return self.tiles.units(units, product=product)

    # Addresses.
    def buffer(self, place: Place) -> str:
        return self.buffer_of[place.slot]

    def row(self, place: Place, axes: str = "[:, None]") -> str:
        """The address of the first unit of each row."""
        buffer = self.buffer(place)
        width = self.widths.get(buffer, self.units(self.plan.terms[buffer].size))
        return f"{argument(buffer)} + {ROWS[place.how]}{axes} * {width}"

    def load(self, place: Place, column: str, mask: str) -> str:
        """Numbers at some columns of the rows."""
        return self.read(place, f"{self.row(place)} + {column}", mask)

    def read(self, place: Place, address: str, mask: str, other: str = "0.0") -> str:
        """Numbers at an address, as they are computed with."""
        # Another multiprocessor may have written them: not out of this one's own cache.
        fresh = self.buffer(place) in self.written and self.tiles.parts > 1
        cache = ', cache_modifier=".cg"' if fresh else ""
        return f"tl.load({address}, mask={mask}, other={other}{cache}).to({self.dtype})"

    def at_units(self, term: Term, nest: Nest) -> str:
        """A term of which a row is given, at the units of a nest."""
        place, units = self.plan.loads[term], self.units(nest.size)
        if place.how == "vector":
            start = argument(self.buffer(place))
            if term.size == 1 and nest.size != 1:
                loaded = f"tl.load({start} + tl.zeros((1, 1), tl.int32))"
            else:
                loaded = f"tl.load({start} + u{units}, mask=has{units}, other=0.0)[None, :]"
            loaded += f".to({self.dtype})"
        elif term.size == 1 and nest.size != 1:
            loaded = self.load(place, "0", "live[:, None]")
        else:
            loaded = self.load(place, f"u{units}[None, :]", inside(units))
        # In memory a comparison is 1 or 0.
        return f"{loaded} != 0" if term.boolean else loaded


def argument(buffer: str) -> str:
    """A buffer's name as that of an argument."""
    return buffer.replace(" ", "_")


def inside(units: int) -> str:
    """Where a block has rows and units."""
    return f"live[:, None] & has{units}[None, :]"
