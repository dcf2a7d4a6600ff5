"""A small layer over llvmlite: vectors of one number type, memory, loops.

Kernels are written with these words, so that they read as what they compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from gatewright.backends.llvm.checked import WHOLE_TABLE, emit_check

INDEX = ir.IntType(64)
POINTER = ir.PointerType()
VOID = ir.VoidType()


class Splat(ir.Constant):  # type: ignore[misc]  # llvmlite has no annotations
    """A constant in every lane, written once; llvmlite's own would be written lane by lane."""

    def get_reference(self) -> str:
        return f"splat ({self.constant[0]})"


@dataclass(frozen=True)
class Numbers:
    """A number type and the vectors of it.

    Attributes:
        bits, lanes: The width of a number, and as many of them as one vector register holds.
        fused: Whether a product and a sum are one operation.
        checked: Whether every load and store is compared with the bounds of its buffer.
    """

    bits: int
    lanes: int
    fused: bool = True
    checked: bool = False

    @property
    def scalar(self) -> ir.Type:
        return ir.FloatType() if self.bits == 32 else ir.DoubleType()

    @property
    def vector(self) -> ir.VectorType:
        return ir.VectorType(self.scalar, self.lanes)

    @property
    def integers(self) -> ir.VectorType:
        return ir.VectorType(ir.IntType(self.bits), self.lanes)

    @property
    def bytes(self) -> int:
        return self.bits // 8

    @property
    def suffix(self) -> str:
        """As in the names of LLVM's intrinsics."""
        return f"v{self.lanes}f{self.bits}"


class Function:
    """One function that is being emitted.

    Every address belongs to a slot of a table (see `checked.py`), or is declared `trusted`. In
    the checked build that says which bounds a load or store is compared with, and an address
    of unknown origin is refused while the code is emitted.
    """

    def __init__(
        self, module: ir.Module, name: str, arguments: Sequence[ir.Type], numbers: Numbers
    ) -> None:
        self.module = module
        self.numbers = numbers
        self.function = ir.Function(module, ir.FunctionType(VOID, arguments), name)
        self.arguments = self.function.args
        self.entry = self.function.append_basic_block("entry")
        self.b = ir.IRBuilder(self.entry)

    # Numbers.
    def index(self, value: int) -> ir.Value:
        return ir.Constant(INDEX, value)

    def splat(self, value: float) -> ir.Value:
        """A constant in every lane."""
        scalar = ir.Constant(self.numbers.scalar, value)
        return Splat(self.numbers.vector, scalar)

    def integer_splat(self, value: int) -> ir.Value:
        scalar = ir.Constant(ir.IntType(self.numbers.bits), value)
        return Splat(self.numbers.integers, scalar)

    def broadcast(self, scalar: ir.Value) -> ir.Value:
        """A scalar in every lane."""
        vector = ir.Constant(self.numbers.vector, ir.Undefined)
        first = self.b.insert_element(vector, scalar, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.numbers.lanes), None)
        return self.b.shuffle_vector(first, vector, mask)

    def call(self, intrinsic: str, *operands: ir.Value, kind: ir.Type | None = None) -> ir.Value:
        """An LLVM intrinsic on vectors, such as "llvm.fma"."""
        if intrinsic == "llvm.fma" and not self.numbers.fused:
            intrinsic = "llvm.fmuladd"  # two operations, where one would be a slow function
        kind = kind or operands[0].type
        name = f"{intrinsic}.{self.numbers.suffix}"
        known = self.module.globals.get(name)
        if known is None:
            signature = ir.FunctionType(kind, [one.type for one in operands])
            known = ir.Function(self.module, signature, name)
        return self.b.call(known, operands)

    def each_lane(self, function: str, *operands: ir.Value) -> ir.Value:
        """A function of the C library on each lane: exact, and slow."""
        n = self.numbers
        name = function + ("f" if n.bits == 32 else "")
        known = self.module.globals.get(name)
        if known is None:
            signature = ir.FunctionType(n.scalar, [n.scalar] * len(operands))
            known = ir.Function(self.module, signature, name)
        result = ir.Constant(n.vector, ir.Undefined)
        for lane in range(n.lanes):
            at = ir.Constant(ir.IntType(32), lane)
            scalars = [self.b.extract_element(one, at) for one in operands]
            result = self.b.insert_element(result, self.b.call(known, scalars), at)
        return result

    def across(self, reduction: str, vector: ir.Value) -> ir.Value:
        """The sum of the lanes, "fadd", or the greatest of them, "fmax"."""
        name = f"llvm.vector.reduce.{reduction}.{self.numbers.suffix}"
        known = self.module.globals.get(name)
        scalar = self.numbers.scalar
        start = [ir.Constant(scalar, -0.0)] if reduction == "fadd" else []
        if known is None:
            kinds = [*(one.type for one in start), vector.type]
            known = ir.Function(self.module, ir.FunctionType(scalar, kinds), name)
        # In any order: pairwise is faster than one after the other, and no less exact.
        return self.b.call(known, [*start, vector], fastmath=("reassoc",))

    def transposed(self, rows: Sequence[ir.Value]) -> list[ir.Value]:
        """As many vectors as there are lanes, with rows and lanes exchanged."""
        found, lanes = list(rows), self.numbers.lanes
        int32 = ir.IntType(32)
        # Two halves interleaved, over and over: each turn moves one bit of the lane's number
        # into the row's (Stone 1971, "Parallel processing with the perfect shuffle").
        pairs = [i // 2 + lanes * (i % 2) for i in range(2 * lanes)]
        halves = [pairs[:lanes], pairs[lanes:]]
        masks = [ir.Constant(ir.VectorType(int32, lanes), one) for one in halves]
        for _ in range(lanes.bit_length() - 1):
            found = [
                self.b.shuffle_vector(found[i // 2], found[(i + lanes) // 2], masks[i % 2])
                for i in range(lanes)
            ]
        return found

    def least(self, one: ir.Value, other: ir.Value) -> ir.Value:
        """The smaller one of two indices."""
        return self.b.select(self.b.icmp_signed("<", one, other), one, other)

    def greatest(self, one: ir.Value, other: ir.Value) -> ir.Value:
        """The larger one of two indices."""
        return self.b.select(self.b.icmp_signed(">", one, other), one, other)

    def lanes_below(self, count: ir.Value) -> ir.Value:
        """Which lanes are among the first `count`."""
        n = self.numbers
        kind = ir.VectorType(INDEX, n.lanes)
        lanes = ir.Constant(kind, list(range(n.lanes)))
        first = self.b.insert_element(ir.Constant(kind, ir.Undefined), count, self.index(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), n.lanes), None)
        bound = self.b.shuffle_vector(first, ir.Constant(kind, ir.Undefined), mask)
        return self.b.icmp_signed("<", lanes, bound)

    # Memory.
    def table(self, pointer: ir.Value) -> ir.Value:
        """Declare a pointer to be a table of numbers and addresses; `checked.py` has its form."""
        pointer.origin = (pointer, self.index(WHOLE_TABLE))
        return pointer

    def belongs(self, pointer: ir.Value, table: ir.Value, slot: int) -> ir.Value:
        """Declare a pointer to lie in the buffer that a slot of the table names."""
        pointer.origin = (table, self.index(slot))
        return pointer

    def trusted(self, pointer: ir.Value) -> ir.Value:
        """Declare a pointer to memory whose size only the emitting code knows, such as a record
        on the stack."""
        pointer.origin = None
        return pointer

    def address(self, base: ir.Value, offset: ir.Value, kind: ir.Type | None = None) -> ir.Value:
        """The address `offset` elements behind `base`."""
        # Out of bounds, "inbounds" would allow LLVM to assume anything.
        inbounds = not self.numbers.checked
        result = self.b.gep(
            base, [offset], inbounds=inbounds, source_etype=kind or self.numbers.scalar
        )
        if hasattr(base, "origin"):
            result.origin = base.origin
        return result

    def _safe(self, address: ir.Value, size: ir.Value | int, *, write: bool = False) -> ir.Value:
        """The address itself, and in the checked build another one if it is out of bounds."""
        if not self.numbers.checked or address.origin is None:
            return address
        table, slot = address.origin
        size = self.index(size) if isinstance(size, int) else size
        check = emit_check(self.module)
        return self.b.call(check, [table, slot, address, size, self.index(int(write))])

    def load(self, address: ir.Value) -> ir.Value:
        """A vector from memory, of any alignment."""
        n = self.numbers
        vector = self.b.load(self._safe(address, n.lanes * n.bytes), typ=n.vector)
        vector.align = n.bytes
        return vector

    def load_first(self, address: ir.Value, count: ir.Value, other: float) -> ir.Value:
        """A vector of the first `count` numbers from memory, with another one behind them."""
        n = self.numbers
        mask = self.lanes_below(count)
        masked = self._masked("load", n.vector, [POINTER, ir.IntType(32), mask.type, n.vector])
        safe = self._safe(address, self._bytes_of(count))
        return self.b.call(masked, [safe, self._alignment(), mask, self.splat(other)])

    def store(self, value: ir.Value, address: ir.Value) -> None:
        """Write a vector, at any alignment."""
        n = self.numbers
        stored = self.b.store(value, self._safe(address, n.lanes * n.bytes, write=True))
        stored.align = n.bytes

    def store_first(self, value: ir.Value, address: ir.Value, count: ir.Value) -> None:
        """Write the first `count` numbers of a vector."""
        mask = self.lanes_below(count)
        kinds = [self.numbers.vector, POINTER, ir.IntType(32), mask.type]
        safe = self._safe(address, self._bytes_of(count), write=True)
        masked = self._masked("store", VOID, kinds)
        self.b.call(masked, [value, safe, self._alignment(), mask])

    def _masked(self, name: str, result: ir.Type, kinds: list[ir.Type]) -> ir.Function:
        name = f"llvm.masked.{name}.{self.numbers.suffix}.p0"
        if name not in self.module.globals:
            ir.Function(self.module, ir.FunctionType(result, kinds), name)
        return self.module.globals[name]

    def _alignment(self) -> ir.Value:
        return ir.Constant(ir.IntType(32), self.numbers.bytes)

    def _bytes_of(self, count: ir.Value) -> ir.Value:
        """The bytes of the first `count` numbers of a vector: none if it is negative."""
        within = self.least(self.greatest(count, self.index(0)), self.index(self.numbers.lanes))
        return self.b.mul(within, self.index(self.numbers.bytes))

    def load_scalar(self, address: ir.Value) -> ir.Value:
        """One number from memory."""
        return self.b.load(self._safe(address, self.numbers.bytes), typ=self.numbers.scalar)

    def store_scalar(self, value: ir.Value, address: ir.Value) -> None:
        """Write one number."""
        self.b.store(value, self._safe(address, self.numbers.bytes, write=True))

    def load_index(self, base: ir.Value, position: ir.Value | int) -> ir.Value:
        """An index out of an array of them."""
        if isinstance(position, int):
            position = self.index(position)
        return self.b.load(self._safe(self.address(base, position, INDEX), 8), typ=INDEX)

    def load_pointer(self, table: ir.Value, slot: ir.Value | int) -> ir.Value:
        """The address in a slot of a table."""
        slot = self.index(slot) if isinstance(slot, int) else slot
        place = self._safe(self.address(table, slot, POINTER), 8)
        pointer = self.b.load(place, typ=POINTER)
        pointer.origin = (table, slot)
        return pointer

    def prefetch(self, address: ir.Value, *, write: bool = False) -> None:
        """Ask for the line of an address, which need not be valid, before it is read."""
        name, int32 = "llvm.prefetch.p0", ir.IntType(32)
        known = self.module.globals.get(name)
        if known is None:
            kinds = [POINTER, int32, int32, int32]
            known = ir.Function(self.module, ir.FunctionType(VOID, kinds), name)
        near, data = (ir.Constant(int32, one) for one in (3, 1))
        self.b.call(known, [address, ir.Constant(int32, int(write)), near, data])

    # Control.
    @contextmanager
    def loop(self, begin: ir.Value, end: ir.Value, step: int = 1) -> Iterator[ir.Value]:
        """Run the body with an index from `begin` while a whole step fits before `end`."""
        with self.carrying(begin, end, step, []) as (position, _, _):
            yield position

    @contextmanager
    def strides(
        self, begin: ir.Value, end: ir.Value, most: ir.Value
    ) -> Iterator[tuple[ir.Value, ir.Value]]:
        """Run the body for one piece after another, `most` long but for the last."""
        b = self.b
        before = b.block
        head = self.function.append_basic_block("piece")
        body = self.function.append_basic_block("body")
        after = self.function.append_basic_block("after")
        b.branch(head)
        b.position_at_end(head)
        position = b.phi(INDEX)
        position.add_incoming(begin, before)
        b.cbranch(b.icmp_signed("<", position, end), body, after)
        b.position_at_end(body)
        ahead = b.add(position, most)
        until = b.select(b.icmp_signed("<", ahead, end), ahead, end)
        yield position, until
        position.add_incoming(until, b.block)
        b.branch(head)
        b.position_at_end(after)

    @contextmanager
    def carrying(
        self, begin: ir.Value, end: ir.Value, step: int, carried: list[ir.Value]
    ) -> Iterator[tuple[ir.Value, list[ir.Value], Callable[[list[ir.Value]], None]]]:
        """A loop with values that it carries from turn to turn.

        Yields the index, the values, and what is to be told the values after the turn. After
        the loop, `carried` holds the last values.
        """
        b = self.b
        before = b.block
        head = self.function.append_basic_block("loop")
        body = self.function.append_basic_block("body")
        after = self.function.append_basic_block("after")
        b.branch(head)
        b.position_at_end(head)
        position = b.phi(INDEX)
        position.add_incoming(begin, before)
        values = []
        for one in carried:
            phi = b.phi(one.type)
            phi.add_incoming(one, before)
            values.append(phi)
        ahead = b.add(position, self.index(step))
        b.cbranch(b.icmp_signed("<=", ahead, end), body, after)
        b.position_at_end(body)
        kept: list[ir.Value] = list(values)

        def tell(new: list[ir.Value]) -> None:
            kept[:] = new

        yield position, values, tell
        position.add_incoming(ahead, b.block)
        for phi, one in zip(values, kept, strict=True):
            phi.add_incoming(one, b.block)
        b.branch(head)
        b.position_at_end(after)
        carried[:] = values
        self.reached: Any = position
