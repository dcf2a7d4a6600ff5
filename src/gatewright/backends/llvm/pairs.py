"""Products of bfloat16 numbers, two at a time: words, and the rows of sources as words.

A bfloat16 number is the upper half of a float32. A *word* of 32 bits holds two neighbours of a
source, the first in its lower half. The K-loop takes a word where it takes a number in float32: it
is broadcast to all lanes, and a vector of a packed matrix has the two numbers of each lane's unit.
One instruction (AVX512_BF16) adds both products to a sum in float32. Without it the halves are
widened, so that only the memory traffic is halved.

Only the factors of products are rounded. The rows of a source are rounded once a step, before the
first nest that multiplies them; everything else is in float32. The parts of a source that belong to
its heads are padded to whole words with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from gatewright.backends.llvm.index import INDEX, POINTER, Index
from gatewright.backends.llvm.ir import INT32, Function, Numbers
from gatewright.backends.llvm.rounding import RoundingPlan
from gatewright.backends.llvm.rows import TileRows, size_of
from gatewright.graph.terms import Term
from gatewright.schedule.loop import Nest
from gatewright.schedule.slots import Group, Plan

#: The bits of a float32 that a bfloat16 number lacks, and the largest number in them that is
#: rounded down.
DROPPED, BELOW_HALF = 16, 0x7FFF
#: A bit of the bfloat16 mantissa: a NaN whose own bits are dropped must not become infinity.
QUIET = 0x40


class BrainFloat(ir.Type):  # type: ignore[misc]  # llvmlite has no annotations
    """LLVM's type of bfloat16 numbers."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BrainFloat)

    def __hash__(self) -> int:
        return hash(BrainFloat)


# Words.
def word(f: Function, numbers: Sequence[ir.Value]) -> ir.Value:
    """Round one or two numbers, or vectors of them, into words; a missing second one is 0.

    The words have the type of the numbers: they are as many bits.
    """
    kind = numbers[0].type
    if len(numbers) == 2 and f.numbers.pair_products and kind == f.numbers.vector:
        return _interleaved(f, numbers[0], numbers[1])
    bits = _half(f, numbers[0])
    if len(numbers) == 2:
        upper = f.b.shl(_half(f, numbers[1]), _integer(f, bits.type, DROPPED))
        bits = f.b.or_(bits, upper)
    return f.b.bitcast(bits, kind)


def _interleaved(f: Function, lower: ir.Value, upper: ir.Value) -> ir.Value:
    """Round two vectors to words by one instruction, which puts one behind the other, and a
    shuffle. Two roundings, two extensions, a shift and an `or` do the same."""
    n = f.numbers
    halves = f.call_with(
        f"llvm.x86.avx512bf16.cvtne2ps2bf16.{n.bits * n.lanes}",
        ir.VectorType(BrainFloat(), 2 * n.lanes),
        upper,
        lower,
    )
    halves = f.b.bitcast(halves, ir.VectorType(ir.IntType(16), 2 * n.lanes))
    places = [place // 2 + n.lanes * (place % 2) for place in range(2 * n.lanes)]
    mask = ir.Constant(ir.VectorType(INT32, 2 * n.lanes), places)
    return f.b.bitcast(f.b.shuffle_vector(halves, halves, mask), lower.type)


def _half(f: Function, number: ir.Value) -> ir.Value:
    """The bits of the nearest bfloat16 number, ties to even, as the lower half of an integer."""
    b, n = f.b, f.numbers
    kind = n.integers if isinstance(number.type, ir.VectorType) else INT32
    if n.pair_products and kind == n.integers:
        rounded = f.call_with(
            f"llvm.x86.avx512bf16.cvtneps2bf16.{n.bits * n.lanes}",
            ir.VectorType(BrainFloat(), n.lanes),
            number,
        )
        return b.zext(b.bitcast(rounded, ir.VectorType(ir.IntType(16), n.lanes)), kind)
    return rounded_half(f, number)


def rounded_half(f: Function, number: ir.Value) -> ir.Value:
    """The bits of the nearest bfloat16 number by integers: the instruction makes the numbers
    below 1.2e-38 zero, which a factor of a product may be, and a result should not."""
    b, n = f.b, f.numbers
    kind = n.integers if isinstance(number.type, ir.VectorType) else INT32
    dropped, bits = _integer(f, kind, DROPPED), b.bitcast(number, kind)
    upper = b.lshr(bits, dropped)
    odd = b.and_(upper, _integer(f, kind, 1))
    rounded = b.lshr(b.add(b.add(bits, _integer(f, kind, BELOW_HALF)), odd), dropped)
    no_number = b.or_(upper, _integer(f, kind, QUIET))
    return b.select(b.fcmp_unordered("uno", number, number), no_number, rounded)


def _integer(f: Function, kind: ir.Type, value: int) -> ir.Value:
    """A constant integer, in every lane of a vector."""
    return ir.Constant(INT32, value) if kind == INT32 else f.integer_splat(value)


def count_words(numbers: Index) -> Index:
    """The words that hold so many numbers."""
    return (numbers + 1) // 2


def add_products(f: Function, total: ir.Value, left: ir.Value, right: ir.Value) -> ir.Value:
    """Add the two products of words to a sum, in each lane."""
    n, b = f.numbers, f.b
    if n.pair_products:
        halves = ir.VectorType(BrainFloat(), 2 * n.lanes)
        name = f"llvm.x86.avx512bf16.dpbf16ps.{n.bits * n.lanes}"
        return f.call_named(name, total, b.bitcast(left, halves), b.bitcast(right, halves))
    for widen in (_lower, _upper):
        total = f.fma(widen(f, left), widen(f, right), total)
    return total


def _lower(f: Function, words: ir.Value) -> ir.Value:
    bits = f.b.bitcast(words, f.numbers.integers)
    return f.b.bitcast(f.b.shl(bits, f.integer_splat(DROPPED)), f.numbers.vector)


def _upper(f: Function, words: ir.Value) -> ir.Value:
    bits = f.b.bitcast(words, f.numbers.integers)
    mask = f.integer_splat(0xFFFF0000)
    return f.b.bitcast(f.b.and_(bits, mask), f.numbers.vector)


# The rows of sources.
@dataclass(frozen=True)
class PairSource:
    """A source of products, in as many parts as they have heads.

    Attributes:
        slot: The slot of its rows of words, and then that of the words from row to row.
    """

    term: Term
    heads: int
    slot: int

    def __str__(self) -> str:
        return f"words of {self.term.index}"

    def words(self, units: int) -> int:
        """Count the words of a row of so many units."""
        return self.heads * -(-(units // self.heads) // 2)

    def row(self, f: Function, table: ir.Value, row: Index) -> ir.Value:
        """The address of a row of words."""
        length = f.load_index(table, self.slot + 1)
        return f.address(f.load_pointer(table, self.slot), row * length)


class PairPlan(RoundingPlan[PairSource]):
    """The slots that words add to the table of a kernel.

    Attributes:
        sources: The sources that each nest is the first to multiply.
        of_group: The source of each group of products.
    """

    def __init__(self, plan: Plan) -> None:
        self.sources: dict[Nest, list[PairSource]] = {}
        self.of_group: dict[Group, PairSource] = {}
        known: dict[tuple[Term, int], PairSource] = {}
        for nest, groups in plan.groups.items():
            self.sources[nest] = []
            for group in groups:
                key = (group.source, group.heads)
                if key not in known:
                    known[key] = PairSource(*key, plan.length)
                    plan.length += 2
                    self.sources[nest].append(known[key])
                self.of_group[group] = known[key]

    def emit_rounding(
        self, module: ir.Module, name: str, plan: Plan, source: PairSource, numbers: Numbers
    ) -> ir.Function:
        """Emit `(table, offset, first row, end row)`, which rounds the rows of a source to words.

        Threads of a team each round all rows of their step. They write equal words, and no number
        after the last word of a row, which another one may be reading already.
        """
        f = Function(module, name, [POINTER, INDEX, INDEX, INDEX], numbers)
        f.function.linkage = "internal"
        f.function.attributes.add("noinline")
        table, offset, first, end = f.arguments
        f.table(table)
        part = size_of(f, plan, table, source.term.size) // source.heads
        words = count_words(part)
        with f.loop(first, end) as row:
            rows = TileRows(f, plan, table, [offset + row], [row])
            begin, target = rows.address(plan.loads[source.term], 0), source.row(f, table, row)
            with f.loop(0, source.heads) as head:
                _round_part(f, f.address(begin, head * part), f.address(target, head * words), part)
        f.b.ret_void()
        return f.function


def _round_part(f: Function, begin: ir.Value, target: ir.Value, count: Index) -> None:
    """Round `count` adjacent numbers to words."""
    n, half = f.numbers, ir.IntType(16)
    halves = ir.VectorType(half, n.lanes)
    with f.loop(0, count, n.lanes) as k:
        narrow = f.b.trunc(_half(f, f.load(f.address(begin, k))), halves)
        f.store_of(narrow, f.address(target, k, half), 2 * n.lanes)
    with f.loop(k.end, count, 2) as rest:
        pair = [f.load_scalar(f.address(begin, rest + ahead)) for ahead in range(2)]
        f.store_scalar(word(f, pair), f.address(target, rest // 2))
    with f.loop(rest.end, count) as last:
        single = f.load_scalar(f.address(begin, last))
        f.store_scalar(word(f, [single]), f.address(target, last // 2))
