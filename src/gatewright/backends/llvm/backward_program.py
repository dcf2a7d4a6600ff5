"""The program of a backward pass: back through the parts, and the gradients of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from gatewright.backends.llvm.call_list import NOWHERE, Key, Program
from gatewright.backends.llvm.call_shape import CallShape, Piece
from gatewright.backends.llvm.columns import GradientBlock, GradientColumn, merged
from gatewright.backends.llvm.forward import ForwardProgram
from gatewright.backends.llvm.library import Kernels, source_buffer
from gatewright.backends.llvm.verify import Access, Contents, Span
from gatewright.backends.llvm.weight_gradients import OuterTable, RightTable, TotalsTable
from gatewright.errors import KernelError
from gatewright.graph import Term
from gatewright.schedule.buffers import Buffer
from gatewright.schedule.loop import SchedulePart
from gatewright.schedule.tiling import GRADIENT_DEPTH, GRAIN, TOTAL_BLOCKS


@dataclass(frozen=True)
class GradientPart:
    """A part of a gradient that a program leaves in memory.

    Attributes:
        whole: The position of the tensor that it is the gradient of: one that came in, or the
            whole tensor that it is a piece of.
        span: The memory.
        piece: The piece of the tensor, or None for all of it.
    """

    whole: int
    span: Span
    piece: Piece | None = None


@dataclass(frozen=True)
class SourceRows:
    """The rows of a product's source.

    Attributes:
        key: The buffer.
        units: The units of a row.
        index: The array of the order that picks the rows.
        content: The value that the rows hold.
    """

    key: Key
    units: int
    index: str
    content: str | None


@dataclass(frozen=True)
class GradientProduct:
    """A product with a left side, summed over all packed rows: the right side and the result.

    Attributes:
        rows: The rows of the right.
    """

    right: Span
    target: Span
    rows: SourceRows


class BackwardProgram(Program):
    """The calls of a backward pass.

    Attributes:
        results: The parts of the gradients.
        blocks: The blocks of memory that hold gradients: one for those of weights and states,
            and one for each large gradient.
        whole_of: For the blocks that hold a single gradient, the position of its tensor.
        homes: For whole tensors, the memory where the gradients of their pieces are written.
        missing: The count of numbers of each of those that no piece writes.
    """

    lent = ("saved",)  # a second backward pass reads it again

    def __init__(self, built: Kernels, kind: str, shape: CallShape) -> None:
        super().__init__(built, shape)
        self.results: list[GradientPart] = []
        self.homes: dict[int, Span] = {}
        self.missing: dict[int, int] = {}
        #: The products of each left side, and its columns.
        self.products: dict[tuple[Span, int], list[GradientProduct]] = {}
        self.positions = {term: i for i, term in enumerate(built.inputs)}
        #: The gradients of the values that the part before the loop hands on to it.
        self.handed_back: dict[Term, Span] = {}
        states = list(built.schedule.graph.states.values())
        returned = [(term, shape.total) for term in built.outputs]
        returned += [(term, shape.batch) for term in states]
        for i, (term, rows) in enumerate(returned):
            self.tensor(f"upstream {i}", rows * self.units(term), low=shape.low)
        self.blocks = ["gradients"]
        self.whole_of: dict[int, int] = {}
        self.lengths["gradients"] = 0
        self.base("gradients")
        self._take_over(built.program("training", shape.forward(), ForwardProgram))
        for name in reversed(built.parts):
            self._part(name, built.parts[name])
        for (left, width), products in self.products.items():
            self._outer(left, width, products)
        self._first_states(len(built.inputs))
        for whole, span in self.homes.items():
            if not self.missing[whole]:
                rows = (span.end - span.start) // span.length
                self.results_written.append(Access("read", span, rows, span.length, span.length))
        self.complete()

    def _take_over(self, forward: ForwardProgram) -> None:
        """Take over the places of the forward pass that still hold their values.

        Raises:
            KernelError: if the two passes number their blocks differently.
        """
        self.lengths["saved"] = forward.lengths.get("saved", 0)
        saved = self.base("saved")
        frames = forward.contents.frames
        self.contents = Contents({f: values for f, values in frames.items() if f[0] == saved})
        names = list(forward.bases)
        for key, span in forward.places.items():
            base = names[span.base]
            if base == "saved" or base.startswith("input"):
                if self.bases[base] != span.base:
                    raise KernelError(f"block {base} has another position in the backward pass")
                self.places[key] = span
        for key in forward.widened:
            _, buffer = key
            rows, units = self.rows_of(key), self.units(buffer.term)
            self.place("scratch", rows, (key, units))
            tensor = self.own(f"input {self.positions[buffer.term]}", units, rows)
            self.copy(tensor, self.places[key], rows, units, content=buffer.content)

    def _part(self, name: str, part: SchedulePart) -> None:
        """Run one part backwards."""
        plan = self.built.plans[f"{name}_backward"]
        for term in part.saved:
            self._read_as_leaf(name, term, (name, Buffer("value", term)))
        if name == "loop":
            for term in self.built.handed_on:
                self._read_as_leaf(name, term, ("before", Buffer("value", term)))
        for term in part.outputs:
            self._seed(name, term)
        if name == "loop":
            self._last_states()
        own = self._own_results(name, part)
        for leaf, gradient in own.items():
            # No other kernel reads it, so it is written into the tensor that is returned.
            own_place = self._gradient(self.positions[leaf], self.shape.total, self.units(leaf))
            self.places[name, Buffer("result", gradient)] = own_place
        results: list[tuple[Key, int]] = [
            ((name, Buffer("result", term)), self.units(term))
            for term in self._ordered(part)
            if Buffer("result", term) in plan.buffers and term not in own.values()
        ]
        # Adjacent columns: the gradients of their matrices are then a single product.
        self.place("scratch", self.shape.total, *results)
        for buffer in plan.buffers:
            if buffer.kind == "scratch":
                key = (name, buffer)
                self.place("scratch", self.rows_of(key), (key, self.units(buffer.term)))
        if part.backward.nests:
            self.pack(name, "backward", self.positions)
            self.run(name, "backward")
        self._leaves(name, part, own)
        self._matrices(name, part)

    def _read_as_leaf(self, name: str, term: Term, value: Key) -> None:
        """Let the backward kernel read a value that the forward pass saved, as a leaf."""
        if value in self.places:
            self.places[name, Buffer("leaf", term)] = self.places[value]

    def _ordered(self, part: SchedulePart) -> list[Term]:
        """List the results of a part, those for the pieces of one matrix in their order."""
        if not self.shape.pieces:
            return part.results()
        matrices = {term.attributes["weight"].path: term for term in part.loop.matrices}
        first: dict[Term, Piece] = {}
        for weight in part.adjoint.weights:
            if weight.path in matrices:
                piece = self.shape.pieces[self.positions[matrices[weight.path]]]
                first[weight.left] = min(piece, first.get(weight.left, piece))
        last = (len(self.shape.wholes),)
        return sorted(part.results(), key=lambda term: first.get(term, last))

    def _requested(self, term: Term) -> bool:
        return self.shape.requested[self.positions[term]]

    def _low(self, term: Term) -> bool:
        """Tell if a tensor that came in is in bfloat16."""
        return self.shape.forms[self.positions[term]].low

    def _gradient(self, position: int, rows: int, units: int, *, low: bool = False) -> Span:
        """Return memory for the gradient of a tensor that came in, which is returned."""
        whole = self.shape.pieces[position].whole if self.shape.pieces else position
        span = self.apart(whole, rows, units)
        if low:
            self.low.add(span.base)
        self._result(position, span, (rows, units))
        return span

    def apart(self, whole: int, rows: int, length: int) -> Span:
        """Return memory in a block of its own for the gradient of a whole tensor."""
        self.whole_of[len(self.blocks)] = whole
        name = f"gradient {len(self.blocks)}"
        self.blocks.append(name)
        self.lengths[name] = rows * length
        return self.own(name, length, rows)

    def _together(self, rows: int, length: int) -> Span:
        """Return memory in the block of the gradients of weights and states."""
        start = self.lengths["gradients"]
        self.lengths["gradients"] = start + self.room(rows * length)
        return Span(self.bases["gradients"], start, length, start, start + rows * length)

    def _own_results(self, name: str, part: SchedulePart) -> dict[Term, Term]:
        """Map leaves to gradients that no other kernel reads and that have whole vectors."""
        plan, read = self.built.plans[f"{name}_backward"], {w.left for w in part.adjoint.weights}
        leaves: dict[Term, list[Term]] = {}
        for leaf in part.leaves():
            gradient = part.gradient(leaf)
            if gradient is not None:
                leaves.setdefault(gradient, []).append(leaf)
        return {
            leaf: gradient
            for gradient, (leaf, *others) in leaves.items()
            if not others
            and leaf in part.loop.step_leaves
            and leaf not in self.built.handed_on
            and self._requested(leaf)
            and not self._low(leaf)
            and gradient not in read
            and self.whole(gradient)
            and Buffer("result", gradient) in plan.buffers
        }

    def _seed(self, name: str, term: Term) -> None:
        """Place the gradient that reaches an output of a part from outside of it."""
        built, total, units = self.built, self.shape.total, self.units(term)
        later = self.handed_back.get(term)
        position = built.outputs.index(term) if term in built.outputs else None
        upstream = None
        if position is not None and self.shape.present[position]:
            upstream = self.own(f"upstream {position}", units, total)
        seed: Key = (name, Buffer("seed", term))
        if later is not None and upstream is not None:
            # Not in either one's memory: that may be the user's own tensor, or hold another
            # value too.
            self.place("scratch", total, (seed, units))
            self.copy(upstream, self.places[seed], total, units)
            self.copy(later, self.places[seed], total, units, add=True)
        elif later is not None:
            self.places[seed] = later
        elif upstream is not None and self.whole(term) and not self.shape.low:
            self.places[seed] = upstream
        else:
            self.place("scratch", total, (seed, units))
            if upstream is None:
                self.clear(self.places[seed], total, units)
            else:
                self.copy(upstream, self.places[seed], total, units)

    def _last_states(self) -> None:
        """Place the gradients of the last states; all others are still zero."""
        shape, first = self.shape, len(self.built.outputs)
        for i, term in enumerate(self.built.schedule.graph.states.values()):
            key, units = ("loop", Buffer("gradient", term)), self.units(term)
            rows = self.rows_of(key)
            self.place("scratch", rows, (key, units))
            self.clear(self.places[key], rows, units)
            if shape.present[first + i]:
                final = self.own(f"upstream {first + i}", units, shape.batch)
                self.copy(final, self.places[key], shape.batch, units, write="last")

    def _value_of(self, name: str, part: SchedulePart, term: Term) -> Span:
        """Return the memory of a term of the adjoint: a result, or a seed."""
        result: Key = (name, Buffer("result", term))
        if result in self.places:
            return self.places[result]
        seed = next(buffer for buffer, leaf in part.adjoint.seeds.items() if leaf is term)
        place = self.places[name, seed]
        # The gradients of a state after each step follow those of the fresh and the first ones.
        return place.from_row(2 * self.shape.batch) if seed.kind == "gradient" else place

    def _leaves(self, name: str, part: SchedulePart, own: dict[Term, Term]) -> None:
        """Form the gradients of the values that a part reads in addition to states."""
        columns = []
        for leaf in part.leaves():
            gradient = part.gradient(leaf)
            if gradient is None or leaf in own:
                continue
            if leaf in self.built.handed_on and name == "loop":
                self.handed_back[leaf] = self._value_of(name, part, gradient)
            elif not self._requested(leaf):
                continue
            elif leaf in part.loop.vectors:
                span = self._value_of(name, part, gradient)
                columns.append(GradientColumn(span, self.units(gradient), leaf))
            else:
                total, units = self.shape.total, self.units(gradient)
                target = self._gradient(self.positions[leaf], total, units, low=self._low(leaf))
                self.copy(self._value_of(name, part, gradient), target, total, units)
        for first, width, members in merged(columns, self.lanes):
            target = self._columns(members, GradientBlock(1, width, width, vector=True))
            total, room = self.shape.total, self.room(width)
            table = TotalsTable(first, first.length, total, target, width).entries
            accesses = [
                Access("read", first, total, width, room),
                Access("write", target, 1, width, width),
            ]
            threads = self.threads(width * total // 4)
            self.call(
                self.shared["totals"], table, room // self.lanes, TOTAL_BLOCKS, threads, accesses
            )

    def _matrices(self, name: str, part: SchedulePart) -> None:
        """Form the gradients of the matrices: one product for all that read the same source."""
        paths = {term.attributes["weight"].path: term for term in part.loop.matrices}
        by_source: dict[tuple[Term, int], list[GradientColumn]] = {}
        for weight in part.adjoint.weights:
            if weight.right is not None and self._requested(paths[weight.path]):
                left = self._value_of(name, part, weight.left)
                column = GradientColumn(left, self.units(weight.left), paths[weight.path])
                by_source.setdefault((weight.right, weight.heads), []).append(column)
        for (right, heads), columns in by_source.items():
            buffer = source_buffer(part, right)
            index = "before" if buffer.kind == "state" else "every"
            rows = SourceRows((name, buffer), self.units(right), index, buffer.content)
            if heads > 1:
                for column in columns:
                    self._by_head(column, heads, rows)
                continue
            for first, width, members in merged(columns, self.lanes):
                block = GradientBlock(width, self.room(rows.units), rows.units)
                target = self._columns(members, block)
                product = GradientProduct(self.places[rows.key], target, rows)
                self.products.setdefault((first, width), []).append(product)

    def _by_head(self, column: GradientColumn, heads: int, rows: SourceRows) -> None:
        """Form the gradient of a matrix with heads: for each one a product of its own units."""
        out, part, total = column.units // heads, rows.units // heads, self.shape.total
        length = self.room(part)
        target = self._columns([(0, column)], GradientBlock(column.units, length, part))
        for head in range(heads):
            left = column.span.from_unit(head * out)
            right, own_rows = self.places[rows.key].from_unit(head * part), rows
            if head * part + length > self.room(rows.units):
                # In whole vectors it would be read beyond the end of its row.
                key: Key = (f"{rows.key[0]} head {head}", rows.key[1])
                self.place("scratch", total, (key, part))
                copy, own_rows = self.places[key], SourceRows(key, part, "every", rows.content)
                self.copy(right, copy, total, part, read=rows.index, content=rows.content)
                right = copy
            product = GradientProduct(right, target.from_row(head * out), own_rows)
            self.products.setdefault((left, out), []).append(product)

    def _outer(self, left: Span, width: int, products: Sequence[GradientProduct]) -> None:
        """Multiply `width` columns of the left with rows of each right.

        All products share one pass over the left side: those of an LSTM with its inputs and its
        states have the gradients of the gates in common.
        """
        total = self.shape.total
        words, depth = NOWHERE, GRADIENT_DEPTH // 2
        accesses = [Access("read", left, total, width, width)]
        if self.built.numbers.pairs:
            # A vector longer than it must be: rows that are a power of two apart would share a
            # few places of the first-level cache.
            words = self.block_of("scratch", depth, self.room(width) + self.lanes)
            accesses.append(Access("write", words, depth, width, width))
        table = OuterTable(
            left=left,
            left_length=left.length,
            count=total,
            products=len(products),
            words=words,
            words_length=words.length,
        ).entries
        work = 0
        for product in products:
            right, target, rows = product.right, product.target, product.rows
            table += RightTable(
                right=right,
                right_length=right.length,
                result=target,
                result_length=target.length,
                blocks=target.length // self.lanes,
                rows=self.index(rows.index),
            ).entries
            work += width * target.length // 64 * total
            first, count = self.rows(rows.index, total)
            accesses += [
                self.picks(rows.index, total),
                Access("read", right, count, rows.units, target.length, rows.content, first),
                Access("write", target, width, target.length, target.length),
            ]
        self.call(self.shared["outer"], table, width, GRAIN, self.threads(work), accesses)

    def _columns(self, members: list[tuple[int, GradientColumn]], block: GradientBlock) -> Span:
        """Return memory for the gradients of columns, and note each as a result within it."""
        home = self._home(members, block)
        if home is not None:
            return home
        if len(members) == 1 and block.length == block.units:  # no gaps: the tensor is returned
            position = self.positions[members[0][1].term]
            if not self.shape.pieces or self._entire(position):
                return self._gradient(position, block.rows, block.length)
        whole = self._together(block.rows, block.length)
        for offset, column in members:
            written = (1, column.units) if block.vector else (column.units, block.length)
            self._result(self.positions[column.term], whole.from_unit(offset * block.step), written)
        return whole

    def _home(self, members: list[tuple[int, GradientColumn]], block: GradientBlock) -> Span | None:
        """Return the memory of columns within the gradient of the whole that has their terms.

        None if they are no pieces, or their order in memory is not that of the columns.
        """
        if not self.shape.pieces:
            return None
        pieces = [self.shape.pieces[self.positions[column.term]] for _, column in members]
        first, numbers = pieces[0], [prod(piece.shape) for piece in pieces]
        count = self.shape.wholes[first.whole]
        if numbers[0] == count:
            return None
        for (offset, column), piece, size in zip(members, pieces, numbers, strict=True):
            begin = first.offset + offset * block.step
            in_place = piece.whole == first.whole and piece.offset == begin
            if not in_place or size != column.units * block.step:
                return None
        if first.whole not in self.homes:
            # In a block of its own, as in torch: the user may keep each gradient by itself.
            rows, length = (1, count) if block.vector else (count // block.step, block.step)
            span = self.apart(first.whole, rows, length)
            self.homes[first.whole] = span
            self.missing[first.whole] = count
            self.results.append(GradientPart(first.whole, span))
        self.missing[first.whole] -= sum(numbers)
        if self.missing[first.whole] < 0:
            raise KernelError(f"a piece of the gradient of tensor {first.whole} is written twice")
        return self.homes[first.whole].from_unit(first.offset)

    def _result(self, position: int, span: Span, written: tuple[int, int]) -> None:
        """Note the memory of a tensor's gradient, and the rows and numbers that are written."""
        self.results_written.append(Access("read", span, *written, written[1]))
        if not self.shape.pieces:
            self.results.append(GradientPart(position, span))
            return
        piece = self.shape.pieces[position]
        part = GradientPart(piece.whole, span, None if self._entire(position) else piece)
        self.results.append(part)

    def _entire(self, position: int) -> bool:
        """Tell if a piece is all of its whole."""
        piece = self.shape.pieces[position]
        return prod(piece.shape) == self.shape.wholes[piece.whole]

    def _first_states(self, first: int) -> None:
        """Return the gradients of the states before the first step, and of the fresh ones."""
        states = list(self.built.schedule.graph.states.values())
        batch = self.shape.batch
        for i in range(len(states) * (1 + self.shape.fresh)):
            term = states[i % len(states)]
            if self.shape.requested[first + i]:
                span = self.places["loop", Buffer("gradient", term)]
                units = self.units(term)
                target = self._together(batch, units)
                self._result(first + i, target, (batch, units))
                source = span if i >= len(states) else span.from_row(batch)
                self.copy(source, target, batch, units)
