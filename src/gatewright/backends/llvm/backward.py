"""The backward pass of a run: back through its parts, and the gradients of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from gatewright.backends.llvm.call_list import (
    Piece,
    Program,
    Shape,
    content,
    rows_of,
)
from gatewright.backends.llvm.forward import forward_program
from gatewright.backends.llvm.library import Kernels, source
from gatewright.backends.llvm.memory import POOL
from gatewright.backends.llvm.verify import Access, Contents, Span
from gatewright.backends.llvm.weight_gradients import OuterTable, TotalsTable
from gatewright.backends.order import Order
from gatewright.errors import KernelError
from gatewright.graph import Term
from gatewright.schedule.loop import Part
from gatewright.schedule.tiling import TILE_ROWS


@dataclass(frozen=True)
class Result:
    """A gradient that a program leaves: of which tensor, which part of it, and where it stands.

    The tensors are those that were given, or the whole ones that they are pieces of.
    """

    whole: int
    span: Span
    piece: Piece | None = None


def run_backward(
    built: Kernels,
    shape: Shape,
    steps: Order,
    given: Sequence[int],
    kept: Tensor,
    upstream: Sequence[Tensor | None],
    shapes: Sequence[Sequence[int]],
) -> list[Tensor | None]:
    """The gradients that are asked for.

    Args:
        given: The addresses of what was given.
        upstream: The gradients of what the forward pass returned, in whole rows.
        shapes: Those of what the gradients are of: of what was given, or of the whole tensors
            that it was part of.
    """
    program = built.program("backward", shape, BackwardProgram)
    if kept.numel() < program.lengths["kept"] or not kept.is_contiguous():
        raise KernelError(
            f"what the forward pass left has shape {tuple(kept.shape)}; expected "
            f"{program.lengths['kept']} numbers without gaps"
        )
    passing = POOL.take(kept.dtype, program.lengths.get("passing", 0))
    whole_of = program.whole_of
    blocks = [
        POOL.take(kept.dtype, *(shapes[whole_of[i]] if i in whole_of else (program.lengths[name],)))
        for i, name in enumerate(program.blocks)
    ]
    seeds = [0 if one is None else one.data_ptr() for one in upstream]
    for i, gradient in enumerate(upstream):
        if gradient is not None and gradient.numel() < program.lengths[f"upstream {i}"]:
            raise KernelError(
                f"an upstream gradient has shape {tuple(gradient.shape)}; expected "
                f"{program.lengths[f'upstream {i}']} numbers"
            )
    places = [one.data_ptr() for one in (kept, passing)]
    for whole, count in program.missing.items():
        if count:  # nothing is written there
            blocks[program.homes[whole].base - program.bases["gradients"]].zero_()
    program([*steps.addresses, *places, *given, *seeds, *(one.data_ptr() for one in blocks)])
    first = program.bases["gradients"]
    found: list[Tensor | None] = [None] * len(shapes)
    for result in program.results:
        position, whole, piece = result.span.base - first, result.whole, result.piece
        tensor = blocks[position]
        if position not in whole_of:
            tensor = within(tensor, result.span, shapes[whole] if piece is None else piece.shape)
        before = found[whole]
        if piece is not None:
            if before is None:
                before = found[whole] = tensor.new_zeros(*shapes[whole])
            row = piece.offset // prod(piece.shape[1:])
            before.narrow(0, row, piece.shape[0]).add_(tensor)
        else:
            found[whole] = tensor if before is None else before + tensor
    return found


def within(block: Tensor, span: Span, shape: Sequence[int]) -> Tensor:
    """A gradient in a block that holds several."""
    rows, length = (shape[-2] if len(shape) > 1 else 1), span.length
    strides = (rows * length, length, 1)[-len(shape) :]
    # A copy without gaps, in memory of its own: optimizers walk through a gradient's memory, and
    # its user may free it or change it in place.
    rows_apart = block.as_strided(shape, strides, block.storage_offset() + span.offset)
    return rows_apart.clone(memory_format=torch.contiguous_format)


class BackwardProgram(Program):
    """The calls of a backward pass."""

    lent = ("kept",)  # a second backward pass reads it again

    def __init__(self, built: Kernels, kind: str, shape: Shape) -> None:
        super().__init__(built, shape)
        self.results: list[Result] = []
        #: Where the gradients of whole tensors stand whose pieces are written there at once, and
        #: how many numbers of each are still missing.
        self.homes: dict[int, Span] = {}
        self.missing: dict[int, int] = {}
        self.positions = {term: i for i, term in enumerate(built.given)}
        self.handed: dict[Term, Span] = {}
        states = list(built.schedule.graph.states.values())
        returned = [(term, shape.total) for term in built.wanted]
        returned += [(term, shape.batch) for term in states]
        for i, (term, rows) in enumerate(returned):
            self.base(f"upstream {i}")
            self.lengths[f"upstream {i}"] = rows * self.units(term)
        #: What torch gets: the gradients of the weights and states together, and each large one.
        self.blocks = ["gradients"]
        #: Of the blocks that are one gradient each, the tensor that it is of.
        self.whole_of: dict[int, int] = {}
        self.lengths["gradients"] = 0
        self.base("gradients")
        # What the forward pass left: in the block that is kept, or as it was given.
        before = replace(shape, present=(), asked=(), pieces=(), wholes=())
        forward = built.program("training", before, forward_program)
        self.lengths["kept"] = forward.lengths.get("kept", 0)
        kept = self.base("kept")
        self.contents = Contents({f: v for f, v in forward.contents.frames.items() if f[0] == kept})
        names = list(forward.bases)
        for name, span in forward.places.items():
            base = names[span.base]
            if base == "kept" or base.startswith("given"):
                if self.bases[base] != span.base:
                    raise KernelError(f"block {base} is another one in the backward pass")
                self.places[name] = span
        for name in reversed(built.parts):
            self.part(name, built.parts[name])
        self.states(len(built.given))
        for whole, span in self.homes.items():
            if not self.missing[whole]:
                rows = (span.end - span.start) // span.length
                self.results_written.append(Access("read", span, rows, span.length, span.length))
        self.ready()

    def part(self, name: str, part: Part) -> None:
        """Run one part backwards."""
        built, shape = self.built, self.shape
        plan = built.plans[f"{name}_backward"]
        for term in part.kept:
            if f"{name} kept {term.index}" in self.places:
                self.places[f"{name} leaf {term.index}"] = self.places[f"{name} kept {term.index}"]
        if name == "loop":
            for term in built.handed:
                if f"before kept {term.index}" in self.places:
                    early = self.places[f"before kept {term.index}"]
                    self.places[f"loop leaf {term.index}"] = early
        for term in part.wanted:
            self.seed(name, term)
        if name == "loop":
            self.begin()
        own = self.own_results(name, part)
        for leaf, gradient in own.items():
            # What nobody reads again is written where torch gets it.
            own_place = self.gradient(self.positions[leaf], shape.total, self.units(leaf))
            self.places[f"{name} result {gradient.index}"] = own_place
        results = [
            (f"{name} result {one.index}", self.units(one))
            for one in self.ordered(part)
            if f"result {one.index}" in plan.buffers and one not in own.values()
        ]
        # Side by side: the gradients of their matrices are then one product.
        self.place("passing", shape.total, *results)
        for buffer, term in plan.terms.items():
            if buffer.startswith("scratch"):
                rows = rows_of(self, name, buffer)
                self.place("passing", rows, (f"{name} {buffer}", self.units(term)))
        if part.backward.nests:
            self.pack(name, "backward", self.positions)
            self.run(name, "backward")
        self.leaves(name, part, own)
        self.matrices(name, part)

    def ordered(self, part: Part) -> list[Term]:
        """What leaves a part's adjoint, the gradients of one whole matrix in its order."""
        if not self.shape.pieces:
            return part.results()
        matrices = {term.attributes["weight"].path: term for term in part.loop.matrices}
        places: dict[Term, Piece] = {}
        for one in part.adjoint.weights:
            if one.path in matrices:
                piece = self.shape.pieces[self.positions[matrices[one.path]]]
                places[one.left] = min(piece, places.get(one.left, piece))
        behind = (len(self.shape.wholes),)
        return sorted(part.results(), key=lambda one: places.get(one, behind))

    def asked(self, term: Term) -> bool:
        return self.shape.asked[self.positions[term]]

    def gradient(self, position: int, rows: int, units: int) -> Span:
        """Memory for the gradient of a given tensor, which torch gets."""
        span = self.apart(
            self.shape.pieces[position].whole if self.shape.pieces else position, rows, units
        )
        self.result(position, span, (rows, units))
        return span

    def apart(self, whole: int, rows: int, length: int) -> Span:
        """Memory in a block of its own for the gradient of a whole tensor."""
        self.whole_of[len(self.blocks)] = whole
        name = f"gradient {len(self.blocks)}"
        self.blocks.append(name)
        self.lengths[name] = rows * length
        return self.own(name, length, rows)

    def together(self, rows: int, length: int) -> Span:
        """Memory in the block of the gradients of weights and states."""
        at = self.lengths["gradients"]
        self.lengths["gradients"] = at + self.room(rows * length)
        return Span(self.bases["gradients"], at, length, at, at + rows * length)

    def own_results(self, name: str, part: Part) -> dict[Term, Term]:
        """Leaves whose gradient only torch reads, and is in whole rows, and that gradient."""
        plan, read = self.built.plans[f"{name}_backward"], {o.left for o in part.adjoint.weights}
        found: dict[Term, list[Term]] = {}
        for leaf in part.leaves():
            gradient = part.adjoint.inputs.get(f"leaf {leaf.index}")
            if gradient is not None:
                found.setdefault(gradient, []).append(leaf)
        return {
            leaf: gradient
            for gradient, (leaf, *others) in found.items()
            if not others
            and leaf in part.loop.step_leaves
            and leaf not in self.built.handed
            and self.asked(leaf)
            and gradient not in read
            and self.whole(gradient)
            and f"result {gradient.index}" in plan.buffers
        }

    def seed(self, name: str, term: Term) -> None:
        """Place the gradient that reaches a wanted term from outside of the part."""
        built, total, units = self.built, self.shape.total, self.units(term)
        later = self.handed.get(term)
        position = built.wanted.index(term) if term in built.wanted else None
        outside = None
        if position is not None and self.shape.present[position]:
            outside = self.own(f"upstream {position}", units, total)
        seed = f"{name} seed value {term.index}"
        if later is not None and outside is not None:
            # Not where it stands: that may be the user's own tensor, or another value's too.
            self.place("passing", total, (seed, units))
            self.copy(outside, self.places[seed], total, units)
            self.copy(later, self.places[seed], total, units, add=True)
        elif later is not None:
            self.places[seed] = later
        elif outside is not None and self.whole(term):
            self.places[seed] = outside
        else:
            self.place("passing", total, (seed, units))
            if outside is None:
                self.clear(self.places[seed], total, units)
            else:
                self.copy(outside, self.places[seed], total, units)

    def begin(self) -> None:
        """Place the gradients of the last states; all others are still zero."""
        shape, first = self.shape, len(self.built.wanted)
        rows = 2 * shape.batch + shape.total
        for i, (state, term) in enumerate(self.built.schedule.graph.states.items()):
            name, units = f"loop gradient {state}", self.units(term)
            self.place("passing", rows, (name, units))
            self.clear(self.places[name], rows, units)
            if shape.present[first + i]:
                final = self.own(f"upstream {first + i}", units, shape.batch)
                self.copy(final, self.places[name], shape.batch, units, write="last")

    def made(self, name: str, part: Part, term: Term) -> Span:
        """Where a term of the adjoint stands: a result, or the seed that it is."""
        if f"{name} result {term.index}" in self.places:
            return self.places[f"{name} result {term.index}"]
        seed = next(key for key, one in part.adjoint.seeds.items() if one is term)
        if f"{name} seed {seed}" in self.places:
            return self.places[f"{name} seed {seed}"]
        # The gradient of a state after each step: behind those of the fresh and the first ones.
        return self.places[f"loop gradient {seed}"].from_row(2 * self.shape.batch)

    def leaves(self, name: str, part: Part, own: dict[Term, Term]) -> None:
        """The gradients of what a part reads besides states."""
        columns = []
        for leaf in part.leaves():
            gradient = part.adjoint.inputs.get(f"leaf {leaf.index}")
            if gradient is None or leaf in own:
                continue
            if leaf in self.built.handed and name == "loop":
                self.handed[leaf] = self.made(name, part, gradient)
            elif not self.asked(leaf):
                continue
            elif leaf in part.loop.vectors:
                span = self.made(name, part, gradient)
                columns.append(Column(span, self.units(gradient), leaf))
            else:
                total, units = self.shape.total, self.units(gradient)
                target = self.gradient(self.positions[leaf], total, units)
                self.copy(self.made(name, part, gradient), target, total, units)
        for first, width, members in merged(columns, self.lanes):
            target = self.columns(members, Block(1, width, width, vector=True))
            total, room = self.shape.total, self.room(width)
            table = TotalsTable(first, first.length, total, target, width).entries
            accesses = [
                Access("read", first, total, width, room),
                Access("write", target, 1, width, width),
            ]
            threads = self.threads(width * total // 4)
            self.call(self.shared["totals"], table, room // self.lanes, 8, threads, accesses)

    def matrices(self, name: str, part: Part) -> None:
        """The gradients of the matrices: one product for all that read one source."""
        paths = {term.attributes["weight"].path: term for term in part.loop.matrices}
        by_source: dict[tuple[Term, int], list[Column]] = {}
        for one in part.adjoint.weights:
            if one.right is not None and self.asked(paths[one.path]):
                left = self.made(name, part, one.left)
                column = Column(left, self.units(one.left), paths[one.path])
                by_source.setdefault((one.right, one.heads), []).append(column)
        for (right, heads), columns in by_source.items():
            buffer, units = source(part, right), self.units(right)
            stands, value = f"{name} {buffer}", content(buffer)
            index = "before" if stands.startswith(f"{name} state") else "every"
            if heads > 1:
                for column in columns:
                    self.by_head(column, heads, stands, units, index, value)
                continue
            for first, width, members in merged(columns, self.lanes):
                target = self.columns(members, Block(width, self.room(units), units))
                self.outer(first, self.places[stands], target, (width, units), index, value)

    def by_head(
        self, column: Column, heads: int, stands: str, units: int, index: str, value: str | None
    ) -> None:
        """The gradient of a matrix with heads: for each one a product of its own units."""
        out, part, total = column.units // heads, units // heads, self.shape.total
        length = self.room(part)
        target = self.columns([(0, column)], Block(column.units, length, part))
        for head in range(heads):
            left, right = (
                column.span.from_unit(head * out),
                self.places[stands].from_unit(head * part),
            )
            rows = index
            if head * part + length > self.room(units):
                # In whole vectors it would be read beyond the end of its row.
                self.place("passing", total, (f"{stands} {head}", part))
                within, rows = self.places[f"{stands} {head}"], "every"
                self.copy(right, within, total, part, read=index, content=value)
                right = within
            self.outer(left, right, target.from_row(head * out), (out, part), rows, value)

    def outer(
        self,
        left: Span,
        right: Span,
        target: Span,
        shape: tuple[int, int],
        index: str,
        value: str | None,
    ) -> None:
        """Call for the product of columns of the left with rows of the right.

        Args:
            shape: How many columns, and the units of the right.
            index: The array of the order that picks the rows of the right.
            value: What they hold.
        """
        width, units = shape
        table = OuterTable(
            left,
            left.length,
            right,
            right.length,
            target,
            target.length,
            self.shape.total,
            target.length // self.lanes,
            self.index(index),
        ).entries
        work = width * target.length // 64 * self.shape.total
        first, count = self.rows(index, self.shape.total)
        accesses = [
            self.picks(index, self.shape.total),
            Access("read", left, self.shape.total, width, width),
            Access("read", right, count, units, target.length, value, first),
            Access("write", target, width, target.length, target.length),
        ]
        self.call(self.shared["outer"], table, width, TILE_ROWS, self.threads(work), accesses)

    def columns(self, members: list[tuple[int, Column]], block: Block) -> Span:
        """Memory for the gradients of columns, and each as a result within it."""
        home = self.home(members, block)
        if home is not None:
            return home
        if len(members) == 1 and block.length == block.units:  # without gaps: torch gets it
            position = self.positions[members[0][1].term]
            if not self.shape.pieces or self.entire(position):
                return self.gradient(position, block.rows, block.length)
        whole = self.together(block.rows, block.length)
        for at, column in members:
            written = (1, column.units) if block.vector else (column.units, block.length)
            self.result(self.positions[column.term], whole.from_unit(at * block.step), written)
        return whole

    def home(self, members: list[tuple[int, Column]], block: Block) -> Span | None:
        """Where the gradients of columns stand in that of the whole which they are pieces of.

        None if they are no pieces, or do not lie in it as they come.
        """
        if not self.shape.pieces:
            return None
        pieces = [self.shape.pieces[self.positions[column.term]] for _, column in members]
        first, numbers = pieces[0], [prod(piece.shape) for piece in pieces]
        count = self.shape.wholes[first.whole]
        if numbers[0] == count:
            return None
        for (at, column), piece, size in zip(members, pieces, numbers, strict=True):
            there = piece.whole == first.whole and piece.offset == first.offset + at * block.step
            if not there or size != column.units * block.step:
                return None
        if first.whole not in self.homes:
            # In a block of its own, as torch has it: each gradient may be kept by itself.
            span = self.apart(
                first.whole, *((1, count) if block.vector else (count // block.step, block.step))
            )
            self.homes[first.whole] = span
            self.missing[first.whole] = count
            self.results.append(Result(first.whole, span))
        self.missing[first.whole] -= sum(numbers)
        if self.missing[first.whole] < 0:
            raise KernelError(f"a piece of the gradient of tensor {first.whole} is written twice")
        return self.homes[first.whole].from_unit(first.offset)

    def result(self, position: int, span: Span, written: tuple[int, int]) -> None:
        """Note where a gradient of what was given stands, and the shape of what is written."""
        self.results_written.append(Access("read", span, *written, written[1]))
        if not self.shape.pieces:
            self.results.append(Result(position, span))
            return
        piece = self.shape.pieces[position]
        self.results.append(Result(piece.whole, span, None if self.entire(position) else piece))

    def entire(self, position: int) -> bool:
        """Tell if a piece is all of its whole."""
        piece = self.shape.pieces[position]
        return prod(piece.shape) == self.shape.wholes[piece.whole]

    def states(self, first: int) -> None:
        """The gradients of the states before the first step, and of the fresh ones."""
        states, batch = self.built.schedule.graph.states, self.shape.batch
        for i in range(len(states) * (1 + self.shape.fresh)):
            state, term = list(states.items())[i % len(states)]
            if self.shape.asked[first + i]:
                span, units = self.places[f"loop gradient {state}"], self.units(term)
                target = self.together(batch, units)
                self.result(first + i, target, (batch, units))
                here = span if i >= len(states) else span.from_row(batch)
                self.copy(here, target, batch, units)


@dataclass(frozen=True)
class Block:
    """The shape of memory for the gradients of columns that lie side by side.

    Attributes:
        rows, length: A row for each column of a matrix's gradient, or one row of all columns.
        units: The numbers of a row that are the gradient's; those behind them are a gap.
        vector: Whether it is one row of all columns.
    """

    rows: int
    length: int
    units: int
    vector: bool = False

    @property
    def step(self) -> int:
        """The numbers from the gradient of one column to that of the next one."""
        return 1 if self.vector else self.length


@dataclass(frozen=True)
class Column:
    """Units of rows, whose product or sum over all rows is a term's gradient."""

    span: Span
    units: int
    term: Term


def merged(
    columns: list[Column], lanes: int
) -> Iterator[tuple[Span, int, list[tuple[int, Column]]]]:
    """Columns that lie side by side as one: the span, its width, and where each begins."""
    columns = sorted(columns, key=lambda one: one.span)
    while columns:
        first, members = columns[0].span, [(0, columns[0])]
        width = columns[0].units
        for one in columns[1:]:
            at = one.span.offset - first.offset
            beside = one.span.base == first.base and one.span.length == first.length
            # Padding to whole vectors may lie between; further on, it is another row.
            if not beside or not width <= at < width + lanes or at + one.units > first.length:
                break
            members.append((at, one))
            width = at + one.units
        yield first, width, members
        columns = columns[len(members) :]
