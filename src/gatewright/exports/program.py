"""The program of one step of a cell, in loops that any language can print.

The terms of a cell's graph become four kinds of statements on flat arrays of numbers: products of
matrices with a source, loops over units in which terms are computed one unit at a time, reductions
of a row, and, at the end, the new states. What depends on weights only is computed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.backends.int8 import Int8Matrix
from gatewright.backends.operations import evaluate
from gatewright.graph import Graph, Term, Weight
from gatewright.graph.ranges import within_one
from gatewright.graph.sizes import number
from gatewright.graph.stages import WEIGHTS, stages
from gatewright.language.node import closure

Floats = NDArray[np.float32]
#: Operations that a loop over units computes unit by unit; the rest need whole rows.
REDUCTIONS = frozenset({"sum", "largest"})


@dataclass(frozen=True, slots=True)
class Array:
    """A row of numbers with a name: an input, a state, a weight, or a value of the step.

    The sums of several products of one source are parts of one array: then it begins at position
    `start` of what has the name.
    """

    name: str
    size: int
    start: int = 0
    is_part: bool = False


@dataclass(frozen=True, slots=True)
class Element:
    """The number that a loop reads at unit k: `array[k]`, `array[0]`, or `array[k / share]`."""

    array: Array
    share: int = 1  # units that one number of the array is spread over; 0 for all of them


#: An operand of an operation in a loop: an element, a temporary of the loop, or a number.
Operand = Element | str | float


@dataclass(frozen=True, slots=True)
class UnitOperation:
    """One operation in a loop, whose result is a temporary, an element of an array, or both."""

    op: str
    operands: tuple[Operand, ...]
    temporary: str
    target: Array | None
    boolean: bool


@dataclass(frozen=True, slots=True)
class UnitLoop:
    """Operations that are computed for one unit after another, k from 0 to `size` - 1."""

    size: int
    operations: tuple[UnitOperation, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """`target = matrix · source`; with `heads`, a block of the matrix for each part of both.

    The numbers of a `bounded` source lie within -1 and 1.
    """

    target: Array
    matrix: str
    source: Array
    heads: int = 1
    bounded: bool = False


@dataclass(frozen=True, slots=True)
class Reduction:
    """One number for each of `target.size` parts of the source: their sum, or the largest."""

    op: str
    target: Array
    source: Array


Statement = UnitLoop | Product | Reduction


@dataclass(frozen=True, slots=True)
class StepProgram:
    """A step from inputs and states to the output and the new states.

    Attributes:
        prefix: Begins the name of every array.
        inputs: The event and the further inputs.
        states: Each state before the step, by name, in the cell's order.
        starts: The numbers that each state starts from, by name.
        statements: In the order in which they run.
        output: The element of the output at each of its units.
        output_size: Units of the output.
        updates: The element of each new state; all are read before any state is written.
        values: The elements of the named values, by name, where they were asked for.
        matrices: Matrices (rows, columns), or (heads, rows, columns), by name.
        int8_matrices: Those in int8 instead, by name.
        vectors: Vectors of constant numbers, by name.
        locals: The arrays that the statements write.
    """

    prefix: str
    inputs: Mapping[str, Array]
    states: Mapping[str, Array]
    starts: Mapping[str, Floats]
    statements: Sequence[Statement]
    output: Element
    output_size: int
    updates: Mapping[str, Element]
    values: Mapping[str, tuple[Element, int]]
    matrices: Mapping[str, Floats]
    vectors: Mapping[str, Floats]
    locals: Sequence[Array]
    int8_matrices: Mapping[str, Int8Matrix] = field(default_factory=dict)

    @property
    def multiply_adds(self) -> int:
        """Multiplications of the products of one step."""
        codes = sum(matrix.codes.numel() for matrix in self.int8_matrices.values())
        return codes + sum(matrix.size for matrix in self.matrices.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all constants."""
        arrays = [*self.matrices.values(), *self.vectors.values()]
        codes = sum(matrix.nbytes for matrix in self.int8_matrices.values())
        return codes + sum(array.nbytes for array in arrays)

    def shape(self, product: Product) -> tuple[int, int, int]:
        """The heads, rows and columns of a product's matrix."""
        int8 = self.int8_matrices.get(product.matrix)
        shape = self.matrices[product.matrix].shape if int8 is None else int8.codes.shape
        heads, rows, columns = (1, *shape) if len(shape) == 2 else shape
        return heads, rows, columns

    def in_int8(self) -> StepProgram:
        """The same program with all of its products in int8; see `backends/int8.py`."""
        int8 = {name: Int8Matrix.of(torch.from_numpy(m)) for name, m in self.matrices.items()}
        return replace(self, matrices={}, int8_matrices=int8)


def step_program(
    graph: Graph,
    sizes: Mapping[str, int],
    weights: Mapping[str, Tensor],
    prefix: str = "",
    *,
    values: bool = False,
) -> StepProgram:
    """Write the program of one step of a cell in evaluation mode.

    Args:
        sizes: The numbers of "input" and "hidden".
        weights: The graph's weights by path, as its products read them.
        prefix: Begins the name of every array, so that several programs can share a scope.
        values: Whether the program keeps all named values.
    """
    return _ProgramWriter(graph, sizes, weights, prefix, values).run()


class _ProgramWriter:
    def __init__(
        self,
        graph: Graph,
        sizes: Mapping[str, int],
        weights: Mapping[str, Tensor],
        prefix: str,
        keep_values: bool,
    ) -> None:
        self.graph, self.sizes, self.prefix = graph, sizes, prefix
        self.keep_values = keep_values
        self.stage, self.bounded = stages(graph.forward), within_one(graph)
        self.known = {term: tensor.detach().double() for term, tensor in self._leaves(weights)}
        self.starts = {
            name: self._start(start, weights, number(graph.states[name].size, sizes))
            for name, start in graph.initial.items()
        }
        self.names = {term: name for name, term in graph.values.items()}
        self.arrays: dict[Term, Array] = {}
        #: The statements in order; a loop is the list of its terms until all arrays are known.
        self.order: list[Product | Reduction | list[Term]] = []
        self.matrices: dict[str, Floats] = {}
        self.vectors: dict[str, Floats] = {}
        self.locals: list[Array] = []
        self.open: dict[int, list[Term]] = {}  # terms of the loops not yet emitted, by length
        self.numbers = 0

    def _leaves(self, weights: Mapping[str, Tensor]) -> Iterable[tuple[Term, Tensor]]:
        for term in self.graph.forward:
            if term.op == "weight":
                yield term, weights[term.attributes["weight"].path]
            elif term.op == "noise":  # evaluation replaces it by its expectation
                yield term, torch.full((self.size(term),), float(term.attributes["p"]))

    def _start(self, start: float | Weight, weights: Mapping[str, Tensor], size: int) -> Floats:
        if isinstance(start, Weight):
            return _floats(weights[start.path])
        return np.full(size, start, np.float32)

    def size(self, term: Term) -> int:
        return number(term.size, self.sizes)

    def run(self) -> StepProgram:
        graph = self.graph
        asked = [*graph.updates.values(), graph.output]
        if self.keep_values:
            asked += graph.values.values()
        needed = closure(asked)
        terms = [term for term in graph.forward if term in needed]
        self._evaluate_constants(terms)
        inputs = {
            name: self._array(term, f"{self.prefix}{name}") for name, term in graph.inputs.items()
        }
        states = {
            name: self._array(term, f"{self.prefix}{name}") for name, term in graph.states.items()
        }
        self.products = self._stacks(terms)
        for term in terms:
            if term in self.known or term in self.arrays:
                continue
            if term.op == "product":
                self._emit_product(term)
            elif term.op in REDUCTIONS:
                self._emit_reduction(term)
            else:
                self._add_to_loop(term)
        self._close_all()
        statements = self._statements(asked)
        shown = graph.values if self.keep_values else {}
        return StepProgram(
            prefix=self.prefix,
            inputs=inputs,
            states=states,
            starts=self.starts,
            statements=statements,
            output=self._element(graph.output, self.size(graph.output)),
            output_size=self.size(graph.output),
            updates={
                name: self._element(term, self.size(graph.states[name]))
                for name, term in graph.updates.items()
            },
            values={
                name: (self._element(term, self.size(term)), self.size(term))
                for name, term in shown.items()
            },
            matrices=self.matrices,
            vectors=self.vectors,
            locals=self.locals,
        )

    def _evaluate_constants(self, terms: Sequence[Term]) -> None:
        """Compute all that depends on weights only."""
        like = torch.zeros((), dtype=torch.float64)
        for term in terms:
            is_constant = self.stage[term] == WEIGHTS or all(o in self.known for o in term.operands)
            leaf = term.op in ("event", "input", "state", "noise", "weight")
            if term in self.known or leaf or not is_constant:
                continue
            operands = [self.known[operand] for operand in term.operands]
            if term.op == "product":
                operands[0] = operands[0].reshape(-1)
            self.known[term] = evaluate(term, operands, self.sizes, like)

    def _stacks(self, terms: Sequence[Term]) -> dict[Term, list[Term]]:
        """The products of each source, whose matrices are stacked to one."""
        stacks: dict[Term, list[Term]] = {}
        for term in terms:
            if term.op == "product" and term not in self.known and term.attributes["heads"] == 1:
                stacks.setdefault(term.operands[0], []).append(term)
        return stacks

    # Names and arrays.
    def _array(self, term: Term, name: str) -> Array:
        array = Array(name, self.size(term))
        self.arrays[term] = array
        return array

    def _new_name(self, stem: str) -> str:
        """A name that no input or state has: `matrix_1` may be the name of one."""
        self.numbers += 1
        name = f"{self.prefix}{stem}{self.numbers}"
        taken = {*self.graph.inputs, *self.graph.states}
        return self._new_name(stem) if name.removeprefix(self.prefix) in taken else name

    def _local(self, term: Term) -> Array:
        stem = self.names.get(term, "v").replace(".", "_")
        array = self._array(term, self._new_name(f"{stem}_"))
        self.locals.append(array)
        return array

    def _constant(self, term: Term) -> Array:
        """The vector of a term that depends on weights only."""
        if term not in self.arrays:
            weight = term.attributes.get("weight")
            stem = "constant" if weight is None else weight.path.replace(".", "_").replace("*", "")
            array = self._array(term, self._new_name(f"{stem}_"))
            self.vectors[array.name] = _floats(self.known[term].expand(array.size))
        return self.arrays[term]

    def _element(self, term: Term, size: int) -> Element:
        """A term as a loop of `size` units reads it from an array."""
        array = self._constant(term) if term in self.known else self.arrays[term]
        return Element(array, 1 if array.size == size else 0)

    def _source(self, term: Term) -> Array:
        """The whole row of a term, which is complete then."""
        if term in self.known:
            return self._constant(term)
        self._close_all()
        return self.arrays.get(term) or self._local(term)

    # Statements.
    def _emit_product(self, term: Term) -> None:
        source, weight = term.operands
        row = self._source(source)
        bounded = source in self.bounded
        together = self.products.get(source, [term]) if term.attributes["heads"] == 1 else [term]
        matrix = self._new_name("matrix_")
        if len(together) == 1:
            target = self._local(term)
            self.matrices[matrix] = _floats(self.known[weight])
            self.order.append(Product(target, matrix, row, term.attributes["heads"], bounded))
            return
        stacked = torch.cat([self.known[product.operands[1]] for product in together])
        self.matrices[matrix] = _floats(stacked)
        target = Array(self._new_name("sums_"), len(stacked))
        self.locals.append(target)
        self.order.append(Product(target, matrix, row, bounded=bounded))
        start = 0
        for product in together:
            size = self.size(product)
            self.arrays[product] = Array(target.name, size, start, is_part=True)
            start += size

    def _emit_reduction(self, term: Term) -> None:
        row = self._source(term.operands[0])
        self.order.append(Reduction(term.op, self._local(term), row))

    def _add_to_loop(self, term: Term) -> None:
        """Add a pointwise term to the loop of its length, after all that it reads."""
        size = self.size(term)
        for operand in term.operands:
            waiting = next((n for n, terms in self.open.items() if operand in terms), None)
            if waiting is not None and (waiting != size or term.op == "expand"):
                self._close(waiting)
        self.open.setdefault(size, []).append(term)

    def _close_all(self) -> None:
        for size in list(self.open):
            if size in self.open:
                self._close(size)

    def _close(self, size: int) -> None:
        """End the loop of a length.

        What a term of another length reads here was closed when that term was added, and the
        other way round: so open loops never depend on each other.
        """
        self.order.append(self.open.pop(size))

    def _statements(self, asked: Sequence[Term]) -> list[Statement]:
        """The statements, once it is known which terms of a loop need an array."""
        for entry in self.order:
            if isinstance(entry, list):
                own = set(entry)
                for operand in (operand for term in entry for operand in term.operands):
                    if operand not in own:
                        self._have_array(operand)
        for term in asked:
            self._have_array(term)
        return [self._loop(entry) if isinstance(entry, list) else entry for entry in self.order]

    def _have_array(self, term: Term) -> None:
        if term not in self.known and term not in self.arrays:
            self._local(term)

    def _loop(self, terms: Sequence[Term]) -> UnitLoop:
        """The loop that computes terms of one length."""
        size = self.size(terms[0])
        temporaries = {term: f"t{position}" for position, term in enumerate(terms)}
        operations = []
        for term in terms:
            operands = tuple(self._operand(o, term, size, temporaries) for o in term.operands)
            target = self.arrays.get(term)
            operations.append(
                UnitOperation(term.op, operands, temporaries[term], target, term.boolean)
            )
        return UnitLoop(size, tuple(operations))

    def _operand(
        self, operand: Term, term: Term, size: int, temporaries: Mapping[Term, str]
    ) -> Operand:
        if operand in temporaries:
            return temporaries[operand]
        if operand in self.known and self.known[operand].numel() == 1:
            return float(self.known[operand])
        element = self._element(operand, size)
        if term.op == "expand" and element.array.size not in (1, size):
            return Element(element.array, size // element.array.size)
        return element


def _floats(tensor: Tensor) -> Floats:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)
