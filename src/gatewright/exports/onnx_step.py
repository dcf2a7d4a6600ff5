"""One step of any cell as ONNX operators, and a builder of ONNX graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.backends.int8 import int8_products
from gatewright.exports.onnx_int8 import Int8Products
from gatewright.graph import Graph, Term
from gatewright.graph.sizes import number
from gatewright.language.node import closure

#: Of operators and of the container's format: what runtimes of 2023 read.
OPSET, IR_VERSION = 18, 8
#: Operations that ONNX has under another name, with the same operands.
OPERATORS: Mapping[str, str] = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "power": "Pow",
    "negative": "Neg",
    "maximum": "Max",
    "minimum": "Min",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "equal": "Equal",
    "logical_and": "And",
    "logical_or": "Or",
    "logical_not": "Not",
    "where": "Where",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "sign": "Sign",
    "sin": "Sin",
    "cos": "Cos",
    "erf": "Erf",
    "relu": "Relu",
    "softplus": "Softplus",
    "stop_gradient": "Identity",
}


#: A weight: its numbers, or the name of the value that has them in the outermost graph.
WeightValue = NDArray[Any] | str


#: Operators on weights, which are computed at once where the weights are numbers.
FOLDED: Mapping[str, Callable[..., NDArray[Any]]] = {
    "Add": np.add,
    "Concat": lambda *arrays, axis: np.concatenate(arrays, axis),
    "Transpose": lambda array, perm: array.transpose(perm),
}


class GraphBuilder:
    """The nodes and constants of an ONNX graph, while it is written.

    Args:
        outer: The builder of the graph around a subgraph.
    """

    def __init__(self, outer: GraphBuilder | None = None) -> None:
        self.outer = outer
        self.prefix = "" if outer is None else outer.name("step") + "/"
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.count = 0

    def name(self, stem: str) -> str:
        """A name that no other value of this graph has."""
        self.count += 1
        return f"{self.prefix}{stem}_{self.count}"

    def constant(self, values: Any, stem: str = "constant") -> str:
        """A tensor of constant numbers."""
        from onnx import numpy_helper

        array = np.array(values, order="C")  # a scalar stays a scalar
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = self.name(stem)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(
        self, operator: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any
    ) -> str:
        """Add a node; returns its first output."""
        from onnx import helper

        names = list(outputs) or [self.name(operator.lower())]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names[0]

    def weight(self, operator: str, *weights: WeightValue, **attributes: Any) -> WeightValue:
        """Compute a weight from others; by a node outside of all loops where one is a name."""
        if self.outer is not None:
            return self.outer.weight(operator, *weights, **attributes)
        arrays = [weight for weight in weights if not isinstance(weight, str)]
        if len(arrays) == len(weights):
            return FOLDED[operator](*arrays, **attributes)
        return self.node(operator, *map(self.value, weights), **attributes)

    def value(self, weight: WeightValue, stem: str = "weight") -> str:
        """The name of a weight's value."""
        return weight if isinstance(weight, str) else self.constant(weight, stem)

    def integers(self, *values: int) -> str:
        """A vector of whole numbers, such as the axes or the shape that an operator takes."""
        return self.constant(np.array(values, np.int64), "integers")


def emit_step(
    b: GraphBuilder,
    graph: Graph,
    sizes: Mapping[str, int],
    weights: Mapping[str, WeightValue],
    values: Mapping[str, str],
    *,
    int8: bool = False,
) -> tuple[str, dict[str, str]]:
    """Add one step of a cell in evaluation mode; returns the output and the new states.

    Args:
        weights: The graph's weights by path.
        values: The names of the event, the further inputs and the states, `(B, size)` each.
        int8: Whether its products are in int8; see `backends/int8.py`.
    """
    return _Step(b, graph, sizes, weights, values, int8).run()


class _Step:
    def __init__(
        self,
        b: GraphBuilder,
        graph: Graph,
        sizes: Mapping[str, int],
        weights: Mapping[str, WeightValue],
        values: Mapping[str, str],
        int8: bool,
    ) -> None:
        self.int8 = Int8Products(b, int8_products(graph)) if int8 else None
        self.b, self.graph, self.sizes, self.weights = b, graph, sizes, weights
        leaves = {**graph.inputs, **graph.states}
        self.names: dict[Term, str] = {leaves[name]: text for name, text in values.items()}
        #: Terms with their full number of units, `(B, size)`; constants and weights have one axis.
        self.row: set[Term] = set(self.names)

    def run(self) -> tuple[str, dict[str, str]]:
        graph = self.graph
        results = (*graph.updates.values(), graph.output)
        needed = closure(results)
        # A product writes its matrix itself, transposed or in int8.
        read = {*results, *(operand for term in needed for operand in _read(term))}
        for term in graph.forward:
            if term in needed and term not in self.names and (term in read or term.op != "weight"):
                self.names[term] = self._emit(term)
                if any(operand in self.row for operand in term.operands):
                    self.row.add(term)
        like = self.names[next(iter(graph.states.values()))]
        updates = {
            name: self._full(term, graph.states[name], like) for name, term in graph.updates.items()
        }
        return self._full(graph.output, graph.output, like), updates

    def size(self, term: Term) -> int:
        return number(term.size, self.sizes)

    def _full(self, term: Term, target: Term, like: str) -> str:
        """A term as `(B, size)`, also where it is a constant or one number a row."""
        name, size = self.names[term], self.size(target)
        if term in self.row and self.size(term) == size:
            return name
        # A row of zeros has the batch's size: the first unit of a state, times 0, is NaN where
        # the state is not finite, so it is compared with itself instead.
        first = self.b.node("Slice", like, *map(self.b.integers, (0, 1, 1)))
        zero = self.b.node(
            "Where", self.b.node("Equal", first, first), self._number(0), self._number(0)
        )
        zeros = self.b.node("Tile", zero, self.b.integers(1, size))
        return self.b.node("Add", name, zeros)

    def _number(self, value: float) -> str:
        return self.b.constant(np.array([value], np.float32), "number")

    def _emit(self, term: Term) -> str:
        b, op = self.b, term.op
        operands = [self.names[operand] for operand in _read(term)]
        if op == "constant":
            return self._number(term.attributes["value"])
        if op == "noise":
            return self._number(term.attributes["p"])  # its expectation
        if op == "weight":
            path = term.attributes["weight"].path
            return b.value(self.weights[path], path)
        if op == "inverse_size":
            units = number(term.attributes["of"], self.sizes)
            return self._number((term.attributes.get("heads") or 1) / units)
        if op == "product":
            return self._product(term, operands[0])
        if op in ("sum", "largest"):
            return self._reduction(term, operands[0])
        if op == "expand":
            return self._expand(term, operands[0])
        if op in DEFINED:
            return DEFINED[op](self, *operands)
        return b.node(OPERATORS[op], *operands)

    def _product(self, term: Term, source: str) -> str:
        b, weight = self.b, term.operands[1].attributes["weight"]
        if self.int8 is not None and term in self.int8.products:
            numbers = torch.as_tensor(self.weights[weight.path])
            return self.int8.emit(term, source, numbers, weight.path)
        several = term.attributes["heads"] > 1
        axes = [0, 2, 1] if several else [1, 0]
        matrix = b.value(b.weight("Transpose", self.weights[weight.path], perm=axes), weight.path)
        if not several:
            return b.node("MatMul", source, matrix)
        heads, rows, columns = weight.numbers(self.sizes)
        parts = b.node("Reshape", source, b.integers(-1, heads, 1, columns))
        return b.node("Reshape", b.node("MatMul", parts, matrix), b.integers(-1, heads * rows))

    def _reduction(self, term: Term, source: str) -> str:
        b, heads = self.b, term.attributes.get("heads") or 1
        size = self.size(term.operands[0])
        parts = b.node("Reshape", source, b.integers(-1, heads, size // heads))
        if term.op == "sum":
            return b.node("ReduceSum", parts, b.integers(2), keepdims=0)
        return b.node("ReduceMax", parts, b.integers(2), keepdims=0)

    def _expand(self, term: Term, source: str) -> str:
        b, size, parts = self.b, self.size(term), self.size(term.operands[0])
        if term.operands[0] not in self.row:
            return source  # a constant: it has one axis, and spreads by itself
        if parts == 1:
            return b.node("Tile", source, b.integers(1, size))
        share = size // parts
        rows = b.node("Reshape", source, b.integers(-1, parts, 1))
        return b.node(
            "Reshape", b.node("Tile", rows, b.integers(1, 1, share)), b.integers(-1, size)
        )

    def not_equal(self, first: str, second: str) -> str:
        return self.b.node("Not", self.b.node("Equal", first, second))

    def expm1(self, a: str) -> str:
        """2 exp(a / 2) sinh(a / 2), in which nothing cancels near 0."""
        half = self.b.node("Mul", a, self._number(0.5))
        product = self.b.node("Mul", self.b.node("Exp", half), self.b.node("Sinh", half))
        return self.b.node("Mul", product, self._number(2.0))

    def log1p(self, a: str) -> str:
        """2 artanh(a / (2 + a)), in which nothing cancels near 0."""
        share = self.b.node("Div", a, self.b.node("Add", a, self._number(2.0)))
        return self.b.node("Mul", self.b.node("Atanh", share), self._number(2.0))


def _read(term: Term) -> Sequence[Term]:
    """The operands whose values a term's nodes read: of a product all but its matrix."""
    return term.operands[:1] if term.op == "product" else term.operands


#: Operations that ONNX does not have, in operators that it has.
DEFINED: Mapping[str, Callable[..., str]] = {
    "not_equal": _Step.not_equal,
    "expm1": _Step.expm1,
    "log1p": _Step.log1p,
}


def as_array(tensor: Tensor) -> NDArray[np.float32]:
    """A weight in float32."""
    return tensor.detach().to("cpu", torch.float32).numpy()
