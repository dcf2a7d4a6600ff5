"""Products in int8: the sums of a tile in integers, and the rows of their sources as codes.

`backends/int8.py` has the arithmetic. A source row is rounded to codes once a step, before the
first nest that multiplies it. The K-loop then takes a *word* of 32 bits at a time: the codes of two
or four neighbouring numbers of the source, broadcast to all lanes. A vector of a packed matrix has
the codes of as many columns for each lane's unit:

    4 with VNNI: one instruction adds four products of bytes. It takes one factor as unsigned, so
      the source's codes are stored with 128 added, and each sum starts at -128 times the sum of
      the matrix's codes.
    2 without: bytes are widened to 16 bits, and one instruction adds two products of those.

Both are exact. A block of units whose product has heads reads the source from its first head on,
and its panel has zeros for heads that are not those of a unit. The panels, and the parts of the
source, are padded to whole words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from llvmlite import ir
from torch import Tensor

from gatewright.backends.int8 import LARGEST_CODE, LEAST_PEAK, Int8Matrix, int8_products
from gatewright.backends.llvm.index import INDEX, POINTER, Index
from gatewright.backends.llvm.ir import INT32, Function, Numbers
from gatewright.backends.llvm.products import Totals
from gatewright.backends.llvm.rounding import RoundingPlan
from gatewright.backends.llvm.rows import TileRows, size_of
from gatewright.graph import Graph
from gatewright.graph.terms import Term
from gatewright.schedule.loop import Nest
from gatewright.schedule.slots import Group, Plan
from gatewright.schedule.tiling import K_LOOP_PRODUCTS, Tile, Tiling

BYTE = ir.IntType(8)
WORD_BYTES = 4
#: Added to a code for VNNI, which reads unsigned bytes.
OFFSET = 128
#: Added to a number from -127 to 127, it leaves the nearest whole number, ties to even, in the
#: lowest bits: 1.5 * 2^23, whose own bits are subtracted.
ROUNDING, ROUNDING_BITS = 12582912.0, 0x4B400000
#: The bits of infinity in float32; those of NaN are greater, those of numbers less.
INFINITE_BITS = 0x7F800000


@dataclass(frozen=True)
class RoundedSource:
    """A source of products, in as many parts as they have heads.

    Attributes:
        bounded: Whether its values lie within -1 and 1.
        slot: The slot of its rows of codes. The slots after it: the bytes of a row; the address of
            the steps, one a row.
    """

    term: Term
    heads: int
    bounded: bool
    slot: int


@dataclass(frozen=True)
class Matrices:
    """The packed matrices of a group, whose address and block length are in the group's slots.

    Attributes:
        slot: The slot of the scales, (blocks, products, lanes). The slots after it: the numbers
            that sums start at, likewise; the words of a block's K-loop.
    """

    source: RoundedSource
    slot: int


class Int8Plan(RoundingPlan[RoundedSource]):
    """The slots that int8 adds to the table of a kernel.

    Attributes:
        sources: The sources that each nest multiplies first.
        groups: The matrices of each group.
    """

    def __init__(self, graph: Graph, plan: Plan) -> None:
        products = int8_products(graph)
        self.sources: dict[Nest, list[RoundedSource]] = {}
        self.groups: dict[Group, Matrices] = {}
        known: dict[tuple[Term, int], RoundedSource] = {}
        for nest, groups in plan.groups.items():
            self.sources[nest] = []
            for group in groups:
                key = (group.source, group.heads)
                if key not in known:
                    bounded = products[group.products[0]]
                    known[key] = RoundedSource(*key, bounded, _new_slots(plan, 3))
                    self.sources[nest].append(known[key])
                self.groups[group] = Matrices(known[key], _new_slots(plan, 3))

    def emit_rounding(
        self, module: ir.Module, name: str, plan: Plan, source: RoundedSource, numbers: Numbers
    ) -> ir.Function:
        """Emit `(table, offset, first row, end row)`, which rounds a source's rows to codes."""
        f = Function(module, name, [POINTER, INDEX, INDEX, INDEX], numbers)
        f.function.linkage = "internal"
        f.function.attributes.add("noinline")
        table, offset, first, end = f.arguments
        f.table(table)
        length = size_of(f, plan, table, source.term.size)
        with f.loop(first, end) as row:
            rows = TileRows(f, plan, table, [offset + row], [row])
            numbers_row = rows.address(plan.loads[source.term], 0)
            bits = _largest_bits(f, numbers_row, length)
            peak, step = _peak_and_step(f, bits, bounded=source.bounded)
            steps = f.load_pointer(table, source.slot + 2)
            f.store_scalar(step, f.address(steps, row))
            _store_codes(f, table, source, row, numbers_row, length, peak)
        f.b.ret_void()
        return f.function


def _new_slots(plan: Plan, count: int) -> int:
    plan.length += count
    return plan.length - count


def columns_of_word(numbers: Numbers) -> int:
    """The codes in a word: the columns of a matrix that are multiplied at once."""
    return 4 if numbers.byte_products else 2


# The rows of a source.
def _largest_bits(f: Function, row: ir.Value, length: Index) -> ir.Value:
    """The largest bits of a row's absolute values: floats without their sign are in their order."""
    n = f.numbers
    sign = f.integer_splat(0x7FFFFFFF)
    with f.loop(0, length + (n.lanes - 1), n.lanes, [f.integer_splat(0)]) as k:
        vector = f.load_first(f.address(row, k), length - k, 0.0)
        bits = f.b.and_(f.b.bitcast(vector, n.integers), sign)
        larger = f.b.icmp_signed(">", bits, k.values[0])
        k.update([f.b.select(larger, bits, k.values[0])])
    return f.across_integers("smax", k.results[0])


def _peak_and_step(f: Function, bits: ir.Value, *, bounded: bool) -> tuple[ir.Value, ir.Value]:
    """The peak of a row and its step, NaN where the row has a number that is not finite."""
    b, scalar = f.b, f.numbers.scalar
    peak = ir.Constant(scalar, 1.0)
    if not bounded:
        least = ir.Constant(scalar, LEAST_PEAK)
        largest = b.bitcast(bits, scalar)
        peak = b.select(b.fcmp_ordered(">", largest, least), largest, least)
    step = b.fmul(peak, ir.Constant(scalar, 1.0 / LARGEST_CODE))
    finite = b.icmp_signed("<", bits, ir.Constant(INT32, INFINITE_BITS))
    return peak, b.select(finite, step, ir.Constant(scalar, float("nan")))


def _store_codes(
    f: Function,
    table: ir.Value,
    source: RoundedSource,
    row: Index,
    numbers_row: ir.Value,
    length: Index,
    peak: ir.Value,
) -> None:
    """Store the codes of a row, each head's part from a word of its own on."""
    n, b = f.numbers, f.b
    columns = columns_of_word(n)
    width = WORD_BYTES // columns
    part = length // source.heads
    part_bytes = _words(part, columns) * WORD_BYTES
    codes = f.load_pointer(table, source.slot)
    codes = f.address(codes, row * f.load_index(table, source.slot + 1), BYTE)
    factor = f.broadcast(b.fdiv(ir.Constant(n.scalar, float(LARGEST_CODE)), peak))
    high = f.broadcast(peak)
    low = b.fsub(f.splat(0.0), high)
    # A vector of codes may reach beyond its part: the next part is written after it, and the row
    # has room for one more vector.
    with f.loop(0, source.heads) as head:
        begin = f.address(numbers_row, head * part)
        target = f.address(codes, head * part_bytes, BYTE)
        with f.loop(0, part + (n.lanes - 1), n.lanes) as k:
            vector = f.load_first(f.address(begin, k), part - k, 0.0)
            vector = b.select(b.fcmp_ordered("<", vector, high), vector, high)
            vector = b.select(b.fcmp_ordered(">", vector, low), vector, low)
            shifted = b.fadd(b.fmul(vector, factor), f.splat(ROUNDING))
            offset = OFFSET if n.byte_products else 0
            bits = b.bitcast(shifted, n.integers)
            code = b.sub(bits, f.integer_splat(ROUNDING_BITS - offset))
            narrow = b.trunc(code, ir.VectorType(ir.IntType(8 * width), n.lanes))
            f.store_of(narrow, f.address(target, k * width, BYTE), width * n.lanes)


def _words(columns: Index, columns_of_word: int) -> Index:
    return (columns + (columns_of_word - 1)) // columns_of_word


# The sums of a tile.
def emit_int8_products(
    f: Function,
    plan: Plan,
    int8: Int8Plan,
    nest: Nest,
    rows: TileRows,
    tile: Tile,
    table: ir.Value,
    block: Index,
    tiling: Tiling,
) -> Totals:
    """Emit the sums of products of the tile that begins at a block; as `emit_products`."""
    lanes = f.numbers.lanes
    blocks = range(tile.blocks)
    totals = {(t, r, j): f.splat(0.0) for t in nest.sums for r in range(tile.rows) for j in blocks}
    gates = {product: term for term, total in nest.sums.items() for product in total.products}
    for group in plan.groups[nest]:
        matrices = int8.groups[group]
        source, count = matrices.source, len(group.products)
        tables = [f.load_pointer(table, matrices.slot + position) for position in range(2)]
        k_loop = _WordLoop(f, table, group, matrices, block, tile)
        k_loop.begin_rows(rows, _first_heads(f, plan, table, nest, source, block, tile))
        steps = f.load_pointer(table, source.slot + 2)
        row_steps = [f.broadcast(f.load_scalar(f.address(steps, row))) for row in rows.within]
        per_pass = tiling.gates_per_pass(count)
        for first in range(0, count, per_pass):
            places = range(first, min(first + per_pass, count))
            vectors = {(p, j): ((block + j) * count + p) * lanes for p in places for j in blocks}
            starts = {
                key: f.load_of(f.address(tables[1], place), f.numbers.integers)
                for key, place in vectors.items()
            }
            sums = k_loop.emit(places, starts)
            for (p, r, j), total in sums.items():
                scale = f.load(f.address(tables[0], vectors[p, j]))
                factor = f.b.fmul(scale, row_steps[r])
                value = f.b.fmul(f.b.sitofp(total, f.numbers.vector), factor)
                key = (gates[group.products[p]], r, j)
                totals[key] = f.b.fadd(totals[key], value)
    return totals


def _first_heads(
    f: Function,
    plan: Plan,
    table: ir.Value,
    nest: Nest,
    source: RoundedSource,
    block: Index,
    tile: Tile,
) -> list[Index]:
    """The byte of a source's row at which the first head of each block begins."""
    if source.heads == 1:
        return [f.index(0)] * tile.blocks
    units = size_of(f, plan, table, nest.size)
    part = size_of(f, plan, table, source.term.size) // source.heads
    part_bytes = _words(part, columns_of_word(f.numbers)) * WORD_BYTES
    lanes, head_units = f.numbers.lanes, units // source.heads
    # A tile may reach beyond the last unit; its products there are not used.
    return [
        f.minimum((block + j) * lanes // head_units, source.heads - 1) * part_bytes
        for j in range(tile.blocks)
    ]


class _WordLoop:
    """The K-loop of a tile over the words of a source, with the sums of some products."""

    def __init__(
        self,
        f: Function,
        table: ir.Value,
        group: Group,
        matrices: Matrices,
        block: Index,
        tile: Tile,
    ) -> None:
        self.f, self.table, self.source, self.tile = f, table, matrices.source, tile
        self.products = len(group.products)
        self.words = f.load_index(table, matrices.slot + 2)
        packed, panel = f.load_pointer(table, group.slot), f.load_index(table, group.slot + 1)
        self.panels = [f.address(packed, (block + j) * panel, BYTE) for j in range(tile.blocks)]
        self.vector_bytes = f.numbers.lanes * columns_of_word(f.numbers)

    def begin_rows(self, rows: TileRows, begins: Sequence[Index]) -> None:
        """Set the addresses of the rows' codes, for each block from its first head on."""
        f = self.f
        codes = f.load_pointer(self.table, self.source.slot)
        length = f.load_index(self.table, self.source.slot + 1)
        starts = [f.address(codes, row * length, BYTE) for row in rows.within]
        shared = begins[:1] if self.source.heads == 1 else begins
        self.rows = [[f.address(start, begin, BYTE) for begin in shared] for start in starts]

    def emit(
        self, places: Sequence[int], starts: dict[tuple[int, int], ir.Value]
    ) -> dict[tuple[int, int, int], ir.Value]:
        """Sum the products at some places of the group: by place, row and block."""
        f, tile = self.f, self.tile
        keys = [(p, r, j) for p in places for r in range(tile.rows) for j in range(tile.blocks)]
        begin, carried = f.index(0), [starts[p, j] for p, _, j in keys]
        unrolled = -(-K_LOOP_PRODUCTS // len(keys))
        for count in (unrolled, 1) if unrolled > 1 else (1,):
            with f.loop(begin, self.words, count, carried) as word:
                sums = dict(zip(keys, word.values, strict=True))
                for ahead in range(count):
                    self._add_word(word + ahead, places, sums)
                word.update([sums[key] for key in keys])
            begin, carried = word.end, word.results
        return dict(zip(keys, carried, strict=True))

    def _add_word(
        self, word: Index, places: Sequence[int], sums: dict[tuple[int, int, int], ir.Value]
    ) -> None:
        f = self.f
        bytes_of_vector = ir.VectorType(BYTE, self.vector_bytes)
        start = word * self.products
        matrix = {
            (p, j): f.load_of(
                f.address(panel, (start + p) * self.vector_bytes, BYTE), bytes_of_vector
            )
            for p in places
            for j, panel in enumerate(self.panels)
        }
        for r, addresses in enumerate(self.rows):
            codes = [
                f.broadcast_word(f.load_of(f.address(address, word * WORD_BYTES, BYTE), INT32))
                for address in addresses
            ]
            for p, j in matrix:
                code = codes[j] if len(codes) > 1 else codes[0]
                sums[p, r, j] = _add_products(f, sums[p, r, j], code, matrix[p, j])


def _add_products(f: Function, total: ir.Value, codes: ir.Value, matrix: ir.Value) -> ir.Value:
    """Add the products of a word's codes with those of a matrix, in each lane."""
    b, n = f.b, f.numbers
    if n.byte_products:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * n.lanes}"
        return f.call_named(name, total, b.bitcast(codes, matrix.type), matrix)
    shorts = ir.VectorType(ir.IntType(16), 2 * n.lanes)
    wide = ir.VectorType(INT32, 2 * n.lanes)
    # LLVM recognises this as one instruction (pmaddwd on x86).
    products = b.mul(b.sext(b.bitcast(codes, shorts), wide), b.sext(matrix, wide))
    halves = [
        b.shuffle_vector(
            products,
            ir.Constant(wide, ir.Undefined),
            ir.Constant(ir.VectorType(INT32, n.lanes), list(range(half, 2 * n.lanes, 2))),
        )
        for half in (0, 1)
    ]
    return b.add(total, b.add(*halves))


# The memory.
class Int8Memory:
    """The memory that the slots of an `Int8Plan` name, for one layer of a stream.

    Attributes:
        tensors: The memory of each slot that has an address.
        numbers: The number in each other slot.
    """

    def __init__(self, plan: Plan, int8: Int8Plan, numbers: Numbers, rows: int) -> None:
        self.plan, self.int8, self.rows = plan, int8, rows
        self.lanes, self.columns = numbers.lanes, columns_of_word(numbers)
        self.offset = OFFSET if numbers.byte_products else 0
        self.tensors: dict[int, Tensor] = {}
        self.numbers: dict[int, int] = {}

    def allocate(self, units_of: dict[Nest, int], length_of: dict[Term, int]) -> None:
        """Make the tensors and the numbers, for the units of each nest and source."""
        most_panels: dict[RoundedSource, int] = {}
        for nest, groups in self.plan.groups.items():
            blocks = -(-units_of[nest] // self.lanes)
            for group in groups:
                matrices = self.int8.groups[group]
                source = matrices.source
                panels = group.panels(units_of[nest], self.lanes)
                most_panels[source] = max(panels, most_panels.get(source, 0))
                words = panels * self._words(source, length_of)
                shape = (blocks, words, len(group.products), self.lanes, self.columns)
                self.tensors[group.slot] = torch.zeros(shape, dtype=torch.int8)
                self.numbers[group.slot + 1] = self.tensors[group.slot].stride(0)
                vectors = (blocks, len(group.products), self.lanes)
                self.tensors[matrices.slot] = torch.zeros(vectors)
                self.tensors[matrices.slot + 1] = torch.zeros(vectors, dtype=torch.int32)
                self.numbers[matrices.slot + 2] = words
        for source, panels in most_panels.items():
            # A block near the end reads as many parts as the others, and a vector of codes may
            # be stored from the last number of a part on.
            parts = source.heads + panels
            length = WORD_BYTES * (parts * self._words(source, length_of) + self.lanes)
            self.tensors[source.slot] = torch.zeros(self.rows, length, dtype=torch.int8)
            self.numbers[source.slot + 1] = length
            self.tensors[source.slot + 2] = torch.zeros(self.rows)

    def _words(self, source: RoundedSource, length_of: dict[Term, int]) -> int:
        """The words of one head's part of a source."""
        return -(-(length_of[source.term] // source.heads) // self.columns)

    def pack(self, group: Group, units: int, position: int, matrix: Tensor) -> None:
        """Write the matrix of a group's product into the group's tensors."""
        own, packed = self.int8.groups[group], self.tensors[group.slot]
        int8 = Int8Matrix.of(matrix)
        blocks, words, _, lanes, columns = packed.shape
        panels = group.panels(units, lanes)
        codes = int8.codes.reshape(units, -1)
        unit, each = torch.arange(units), units // group.heads
        # A block of units has a panel for each head that it has units of.
        panel = unit // each - unit // lanes * lanes // each
        rows = torch.zeros(blocks * lanes, panels, words // panels * columns, dtype=torch.int8)
        rows[unit, panel, : codes.shape[1]] = codes
        packed[:, :, position] = rows.view(blocks, lanes, words, columns).transpose(1, 2)
        sums = codes.sum(1, dtype=torch.int32)
        for slot, values in ((own.slot, int8.scales), (own.slot + 1, -self.offset * sums)):
            vectors = self.tensors[slot]
            padded = vectors.new_zeros(blocks * lanes)
            padded[:units] = values
            vectors[:, position] = padded.view(blocks, lanes)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the packed matrices and their scales."""
        slots = [slot for g, own in self.int8.groups.items() for slot in (g.slot, own.slot)]
        return sum(self.tensors[slot].nbytes for slot in slots)
