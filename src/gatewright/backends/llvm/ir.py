"""A small layer over llvmlite: vectors of one number type, memory, loops.

Kernels are written with the methods of `Function`, and with `Index` for their integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from llvmlite import ir

from gatewright.backends.llvm.builder import Builder
from gatewright.backends.llvm.checked import WHOLE_TABLE, emit_check
from gatewright.backends.llvm.index import INDEX, POINTER, Index, LoopIndex

INT32 = ir.IntType(32)
VOID = ir.VoidType()


class Splat(ir.Constant):  # type: ignore[misc]  # llvmlite has no annotations
    """A constant with the same number in every lane.

    It is written as `splat (...)`; llvmlite would write the number once a lane, and constants
    are most of the text of a kernel.
    """

    def get_reference(self) -> str:
        return f"splat ({self.constant[0]})"


class Undefined(ir.Constant):  # type: ignore[misc]
    """A vector that is still to be filled, in one word instead of one a lane."""

    def __init__(self, kind: ir.VectorType) -> None:
        super().__init__(kind, None)

    def get_reference(self) -> str:
        return "undef"


@dataclass(frozen=True)
class Numbers:
    """A number type and the vectors of it.

    The types are made once: each has its text only once then, which a kernel repeats thousands of
    times.

    Attributes:
        bits, lanes: The width of a number, and how many of them one vector register holds.
        fused: Whether the processor has a fused multiply-add.
        checked: Whether every load and store is compared with the bounds of its buffer.
        byte_products: Whether one instruction adds four products of bytes (VNNI).
        pairs: Whether the factors of products are bfloat16, two in a word; see `pairs.py`.
        pair_products: Whether one instruction adds the two products of such words.
        prefetches: Whether cache lines are asked for before they are read.
    """

    bits: int
    lanes: int
    fused: bool = True
    checked: bool = False
    byte_products: bool = False
    prefetches: bool = True
    pairs: bool = False
    pair_products: bool = False

    @cached_property
    def scalar(self) -> ir.Type:
        return ir.FloatType() if self.bits == 32 else ir.DoubleType()

    @cached_property
    def vector(self) -> ir.VectorType:
        return ir.VectorType(self.scalar, self.lanes)

    @cached_property
    def integers(self) -> ir.VectorType:
        """Vectors of integers as wide as the numbers, for the bits of a vector."""
        return ir.VectorType(ir.IntType(self.bits), self.lanes)

    @property
    def sign(self) -> int:
        """The bit of a number's sign."""
        return 1 << (self.bits - 1)

    @cached_property
    def float64(self) -> Numbers:
        """As many lanes of float64, in which float32 is computed where it needs the digits."""
        return replace(self, bits=64)

    @cached_property
    def undefined(self) -> ir.Value:
        return Undefined(self.vector)

    @cached_property
    def first_lane(self) -> ir.Value:
        """The mask of a shuffle that puts the lane 0 into every lane."""
        return Splat(ir.VectorType(INT32, self.lanes), ir.Constant(INT32, 0))

    @property
    def bytes(self) -> int:
        return self.bits // 8

    @property
    def columns(self) -> int:
        """The numbers of a product's source that are multiplied at once."""
        return 2 if self.pairs else 1

    @property
    def suffix(self) -> str:
        """The type of a vector, as it ends the names of LLVM's intrinsics."""
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
        self.entry = self.function.append_basic_block("entry")
        self.b = Builder(self.entry)
        #: The arguments; integers among them are Index values.
        self.arguments = [
            Index(self.b, argument) if argument.type == INDEX else argument
            for argument in self.function.args
        ]

    # Integers.
    def index(self, value: Index | ir.Value | int) -> Index:
        """An Index of a constant or of an integer from llvmlite."""
        return Index.of(self.b, value)

    def select(self, condition: ir.Value, first: Index | int, second: Index | int) -> Index:
        """The first of two integers if the condition holds, else the second."""
        return Index(self.b, self.b.select(condition, self.index(first), self.index(second)))

    def minimum(self, first: Index | int, second: Index | int) -> Index:
        """The smaller of two integers."""
        first, second = self.index(first), self.index(second)
        return self.select(first < second, first, second)

    def maximum(self, first: Index | int, second: Index | int) -> Index:
        """The larger of two integers."""
        first, second = self.index(first), self.index(second)
        return self.select(first > second, first, second)

    # Vectors.
    def splat(self, value: float) -> ir.Value:
        """A constant in every lane."""
        scalar = ir.Constant(self.numbers.scalar, value)
        return Splat(self.numbers.vector, scalar)

    def integer_splat(self, value: int) -> ir.Value:
        """A constant integer in every lane."""
        scalar = ir.Constant(ir.IntType(self.numbers.bits), value)
        return Splat(self.numbers.integers, scalar)

    def broadcast(self, scalar: ir.Value) -> ir.Value:
        """A scalar in every lane."""
        vector = self.numbers.undefined
        return self._repeated(scalar, vector, ir.Constant(INT32, 0))

    def broadcast_word(self, word: ir.Value) -> ir.Value:
        """An integer as wide as the numbers in every lane."""
        vector = ir.Constant(self.numbers.integers, ir.Undefined)
        return self._repeated(word, vector, ir.Constant(INT32, 0))

    def _repeated(self, scalar: ir.Value, vector: ir.Value, lane: ir.Value) -> ir.Value:
        """Put a scalar into the lane 0 of a vector, and from there into every lane."""
        first = self.b.insert_element(vector, scalar, lane)
        return self.b.shuffle_vector(first, vector, self.numbers.first_lane)

    def call(self, intrinsic: str, *operands: ir.Value) -> ir.Value:
        """Call an LLVM intrinsic on vectors, such as "llvm.sqrt"."""
        vector = operands[0].type
        callee = self._declared(
            f"{intrinsic}.{self.numbers.suffix}", vector, [operand.type for operand in operands]
        )
        return self.b.call(callee, operands)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a * b + c, rounded once if the processor can."""
        # Without the instruction, llvm.fma would be a call of the C library for each lane;
        # llvm.fmuladd is then a multiplication and an addition.
        return self.call("llvm.fma" if self.numbers.fused else "llvm.fmuladd", a, b, c)

    def in_float64(self, compute: Callable[..., ir.Value], *operands: ir.Value) -> ir.Value:
        """Compute `compute(self, *operands)` in float64, and round the result.

        The vectors have as many lanes as before, so LLVM divides each operation in two.
        """
        narrow = self.numbers
        wide = [self.b.fpext(operand, narrow.float64.vector) for operand in operands]
        self.numbers = narrow.float64
        result = compute(self, *wide)
        self.numbers = narrow
        return self.b.fptrunc(result, narrow.vector)

    def any_lane(self, mask: ir.Value) -> ir.Value:
        """The condition that a mask holds in at least one lane."""
        bits = ir.IntType(self.numbers.lanes)
        return self.b.icmp_unsigned("!=", self.b.bitcast(mask, bits), ir.Constant(bits, 0))

    def each_lane(self, function: str, vector: ir.Value) -> ir.Value:
        """Call a function of the C library on each lane: exact, and slow.

        The calls are in a function of their own, so that they do not fill the loops of a kernel.
        """
        n = self.numbers
        name = function + ("f" if n.bits == 32 else "")
        outline = f"{name}_of_each_lane"
        if outline not in self.module.globals:
            own = ir.Function(self.module, ir.FunctionType(n.vector, [n.vector]), outline)
            own.linkage = "internal"
            own.attributes.add("noinline")
            b = Builder(own.append_basic_block("entry"))
            callee = self._declared(name, n.scalar, [n.scalar])
            callee.attributes.add("nonlazybind")  # see `OUTSIDE_BY_TABLE` in build.py
            result = n.undefined
            for number in range(n.lanes):
                lane = ir.Constant(INT32, number)
                scalar = b.call(callee, [b.extract_element(own.args[0], lane)])
                result = b.insert_element(result, scalar, lane)
            b.ret(result)
        return self.b.call(self.module.globals[outline], [vector])

    def across(self, reduction: str, vector: ir.Value) -> ir.Value:
        """Reduce the lanes to one number: to their sum, "fadd", or the largest, "fmax"."""
        scalar = self.numbers.scalar
        start = [ir.Constant(scalar, -0.0)] if reduction == "fadd" else []
        callee = self._declared(
            f"llvm.vector.reduce.{reduction}.{self.numbers.suffix}",
            scalar,
            [*(constant.type for constant in start), vector.type],
        )
        # In any order: pairwise is faster than one after the other, and no less exact.
        return self.b.call(callee, [*start, vector], fastmath=("reassoc",))

    def across_integers(self, reduction: str, vector: ir.Value) -> ir.Value:
        """Reduce the lanes of integers to one: to the largest, "smax"."""
        n = self.numbers
        name = f"llvm.vector.reduce.{reduction}.v{n.lanes}i{n.bits}"
        return self.b.call(self._declared(name, ir.IntType(n.bits), [vector.type]), [vector])

    def call_named(self, intrinsic: str, *operands: ir.Value) -> ir.Value:
        """Call an intrinsic by its full name, with a result of its first operand's type."""
        return self.call_with(intrinsic, operands[0].type, *operands)

    def call_with(self, intrinsic: str, result: ir.Type, *operands: ir.Value) -> ir.Value:
        """Call an intrinsic by its full name, with a result of a type."""
        kinds = [operand.type for operand in operands]
        return self.b.call(self._declared(intrinsic, result, kinds), operands)

    def _declared(self, name: str, result: ir.Type, kinds: Sequence[ir.Type]) -> ir.Function:
        """Declare a function that is defined elsewhere, once a module."""
        if name not in self.module.globals:
            ir.Function(self.module, ir.FunctionType(result, kinds), name)
        return self.module.globals[name]

    def transposed(self, rows: Sequence[ir.Value]) -> list[ir.Value]:
        """Exchange rows and lanes of as many vectors as there are lanes."""
        rows, lanes = list(rows), self.numbers.lanes
        # Two halves interleaved, over and over: each round moves one bit of the lane's number
        # into the row's (Stone 1971, "Parallel processing with the perfect shuffle"). That is
        # lanes * log2(lanes) shuffles: 64 for 16 rows of 16 lanes.
        pairs = [i // 2 + lanes * (i % 2) for i in range(2 * lanes)]
        halves = [pairs[:lanes], pairs[lanes:]]
        masks = [ir.Constant(ir.VectorType(INT32, lanes), half) for half in halves]
        for _ in range(lanes.bit_length() - 1):
            rows = [
                self.b.shuffle_vector(rows[i // 2], rows[(i + lanes) // 2], masks[i % 2])
                for i in range(lanes)
            ]
        return rows

    def lanes_below(self, count: Index) -> ir.Value:
        """A mask of the first `count` lanes: none if it is negative."""
        kind = ir.VectorType(INDEX, self.numbers.lanes)
        lanes = ir.Constant(kind, list(range(self.numbers.lanes)))
        bound = self._repeated(count, Undefined(kind), self.index(0))
        return self.b.icmp_signed("<", lanes, bound)

    def lanes_between(self, begin: Index, end: Index) -> ir.Value:
        """A mask of the lanes from `begin` on and before `end`."""
        return self.b.and_(self.b.not_(self.lanes_below(begin)), self.lanes_below(end))

    # Memory.
    def table(self, pointer: ir.Value) -> ir.Value:
        """Declare a pointer to be a table of numbers and addresses; see `checked.py`."""
        pointer.origin = (pointer, self.index(WHOLE_TABLE))
        return pointer

    def belongs(self, pointer: ir.Value, table: ir.Value, slot: Index | int) -> ir.Value:
        """Declare a pointer to lie in the buffer that a slot of the table names."""
        pointer.origin = (table, self.index(slot))
        return pointer

    def trusted(self, pointer: ir.Value) -> ir.Value:
        """Declare a pointer to memory whose size only the emitting code knows, such as a record
        on the stack."""
        pointer.origin = None
        return pointer

    def address(self, base: ir.Value, offset: Index | int, kind: ir.Type | None = None) -> ir.Value:
        """The address `offset` elements after `base`."""
        offset = self.index(offset)
        if offset.equals(0):
            return base
        # Out of bounds, "inbounds" would allow LLVM to assume anything.
        inbounds = not self.numbers.checked
        kind = kind or self.numbers.scalar
        result = self.b.gep(base, [offset], inbounds=inbounds, source_etype=kind)
        if hasattr(base, "origin"):
            result.origin = base.origin
        return result

    def _safe(self, address: ir.Value, size: Index | int, *, write: bool = False) -> ir.Value:
        """The address itself; in the checked build, spare memory if it is out of bounds."""
        if not self.numbers.checked or address.origin is None:
            return address
        table, slot = address.origin
        check = emit_check(self.module)
        operands = [table, slot, address, self.index(size), self.index(int(write))]
        return self.b.call(check, operands)

    def load(self, address: ir.Value) -> ir.Value:
        """A vector from memory, of any alignment."""
        n = self.numbers
        safe = self._safe(address, n.lanes * n.bytes)
        return self.b.load(safe, typ=n.vector, align=n.bytes)

    def load_first(self, address: ir.Value, count: Index, other: float) -> ir.Value:
        """The first `count` numbers of a vector from memory, and a constant in the other lanes."""
        n = self.numbers
        mask = self.lanes_below(count)
        masked = self._masked("load", n.vector, [POINTER, INT32, mask.type, n.vector])
        safe = self._safe(address, self._bytes_of(count))
        return self.b.call(masked, [safe, self._alignment(), mask, self.splat(other)])

    def store(self, value: ir.Value, address: ir.Value) -> None:
        """Write a vector, at any alignment."""
        n = self.numbers
        stored = self.b.store(value, self._safe(address, n.lanes * n.bytes, write=True))
        stored.align = n.bytes

    def store_first(self, value: ir.Value, address: ir.Value, count: Index) -> None:
        """Write the first `count` numbers of a vector."""
        mask = self.lanes_below(count)
        kinds = [self.numbers.vector, POINTER, INT32, mask.type]
        safe = self._safe(address, self._bytes_of(count), write=True)
        masked = self._masked("store", VOID, kinds)
        self.b.call(masked, [value, safe, self._alignment(), mask])

    def _masked(self, name: str, result: ir.Type, kinds: list[ir.Type]) -> ir.Function:
        return self._declared(f"llvm.masked.{name}.{self.numbers.suffix}.p0", result, kinds)

    def _alignment(self) -> ir.Value:
        return ir.Constant(INT32, self.numbers.bytes)

    def _bytes_of(self, count: Index) -> Index:
        """The bytes of the first `count` numbers of a vector: none if it is negative."""
        return self.minimum(self.maximum(count, 0), self.numbers.lanes) * self.numbers.bytes

    def load_scalar(self, address: ir.Value) -> ir.Value:
        """One number from memory."""
        return self.b.load(self._safe(address, self.numbers.bytes), typ=self.numbers.scalar)

    def store_scalar(self, value: ir.Value, address: ir.Value) -> None:
        """Write one number."""
        self.b.store(value, self._safe(address, self.numbers.bytes, write=True))

    def load_of(self, address: ir.Value, kind: ir.Type) -> ir.Value:
        """A value of another type from memory, of any alignment."""
        count, element = (
            (kind.count, kind.element) if isinstance(kind, ir.VectorType) else (1, kind)
        )
        value = self.b.load(self._safe(address, count * element.width // 8), typ=kind)
        value.align = 1
        return value

    def store_of(self, value: ir.Value, address: ir.Value, size: int) -> None:
        """Write a value of another type, of `size` bytes, at any alignment."""
        stored = self.b.store(value, self._safe(address, size, write=True))
        stored.align = 1

    def load_index(self, base: ir.Value, position: Index | int) -> Index:
        """An integer out of an array of them."""
        place = self._safe(self.address(base, position, INDEX), INDEX.width // 8)
        return Index(self.b, self.b.load(place, typ=INDEX))

    def load_pointer(self, table: ir.Value, slot: Index | int) -> ir.Value:
        """The address in a slot of a table."""
        slot = self.index(slot)
        place = self._safe(self.address(table, slot, POINTER), INDEX.width // 8)
        pointer = self.b.load(place, typ=POINTER)
        pointer.origin = (table, slot)
        return pointer

    def prefetch(self, address: ir.Value, *, write: bool = False) -> None:
        """Ask for the cache line of an address, which need not be valid, before it is read."""
        if not self.numbers.prefetches:
            return
        callee = self._declared("llvm.prefetch.p0", VOID, [POINTER, INT32, INT32, INT32])
        # Into the nearest cache (locality 3 of 0 to 3), as data (1) and not instructions (0).
        near, data = (ir.Constant(INT32, number) for number in (3, 1))
        self.b.call(callee, [address, ir.Constant(INT32, int(write)), near, data])

    # Control.
    @contextmanager
    def loop(
        self,
        begin: Index | int,
        end: Index | int,
        step: int = 1,
        carried: Sequence[ir.Value] = (),
    ) -> Iterator[LoopIndex]:
        """Run the body with an index from `begin` on, while a whole step fits before `end`.

        Yields the index, which has the loop-carried values; see `LoopIndex`.
        """
        b = self.b
        before = b.block
        head = self.function.append_basic_block("loop")
        body = self.function.append_basic_block("body")
        after = self.function.append_basic_block("after")
        b.branch(head)
        b.position_at_end(head)
        position = b.phi(INDEX)
        position.add_incoming(self.index(begin), before)
        values = []
        for value in carried:
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            values.append(phi)
        index = LoopIndex(b, position, values)
        ahead = index + step
        b.cbranch(ahead <= end, body, after)
        b.position_at_end(body)
        yield index
        position.add_incoming(ahead, b.block)
        for phi, value in zip(values, index.new, strict=True):
            phi.add_incoming(value, b.block)
        b.branch(head)
        b.position_at_end(after)

    @contextmanager
    def chunks(self, begin: Index, end: Index, length: Index) -> Iterator[tuple[Index, Index]]:
        """Run the body for one chunk after another, each `length` long except the last.

        Yields the begin and the end of the chunk.
        """
        b = self.b
        before = b.block
        head = self.function.append_basic_block("piece")
        body = self.function.append_basic_block("body")
        after = self.function.append_basic_block("after")
        b.branch(head)
        b.position_at_end(head)
        phi = b.phi(INDEX)
        phi.add_incoming(begin, before)
        position = Index(b, phi)
        b.cbranch(position < end, body, after)
        b.position_at_end(body)
        until = self.minimum(position + length, end)
        yield position, until
        phi.add_incoming(until, b.block)
        b.branch(head)
        b.position_at_end(after)
