"""Terms: what a cell computes, in primitive operations with sizes.

A term is a node of the compiler's graph. Terms that are derived (the adjoint's) are merged
where they are equal; those that the user wrote are kept apart, so that each can be held.
"""

from __future__ import annotations

from typing import Any

from gatewright.language.node import Size
from gatewright.language.operations import OPERATIONS

#: Operations whose result is true or false.
COMPARISONS = frozenset(name for name, one in OPERATIONS.items() if one.boolean)

#: Operations whose result has one value a row, or a head.
REDUCTIONS = frozenset({"sum", "largest"})

#: Operations that give the same, to the last bit, with their operands exchanged.
COMMUTATIVE = frozenset({"add", "multiply", "maximum", "minimum", "equal", "not_equal"})


class Term:
    """One primitive operation on terms; `size` is the length of its rows.

    Besides the language's pointwise operations:

    - `event`, `input`, `state`, `noise`, `weight`, `seed`: what comes from outside
      (`weight` with the attribute `weight`, `seed` with the `name` it is the gradient of);
    - `product(source, weight)` and `transposed(gradient, weight)`: W source, W' gradient;
    - `sum(a)` and `largest(a)`: one value a row, or with the attribute `heads` one a head;
    - `expand(a)`: one value a row, or a head, at all its units of the term's size;
    - `inverse_size`: one over the number of units of `of`, or of each of its heads.
    """

    __slots__ = ("attributes", "index", "op", "operands", "size", "terms")

    def __init__(
        self,
        terms: Terms,
        op: str,
        operands: tuple[Term, ...],
        attributes: dict[str, Any],
        size: Size,
    ) -> None:
        self.terms = terms
        self.op = op
        self.operands = operands
        self.attributes = attributes
        self.size = size
        self.index = len(terms.all)

    @property
    def boolean(self) -> bool:
        """Whether it is true or false rather than a number."""
        return self.op in COMPARISONS

    def __repr__(self) -> str:
        inside = ", ".join(f"%{one.index}" for one in self.operands)
        details = "".join(f" {key}={value}" for key, value in self.attributes.items())
        return f"%{self.index} = {self.op}({inside}){details} : {self.size}"

    def __add__(self, other: Term | float) -> Term:
        return self.terms.make("add", self, other)

    def __sub__(self, other: Term | float) -> Term:
        return self.terms.make("subtract", self, other)

    def __rsub__(self, other: float) -> Term:
        return self.terms.make("subtract", other, self)

    def __mul__(self, other: Term | float) -> Term:
        return self.terms.make("multiply", self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __truediv__(self, other: Term | float) -> Term:
        return self.terms.make("divide", self, other)

    def __rtruediv__(self, other: float) -> Term:
        return self.terms.make("divide", other, self)

    def __neg__(self) -> Term:
        return self.terms.make("negative", self)


class Terms:
    """The terms of one graph, each after its operands."""

    def __init__(self) -> None:
        self.all: list[Term] = []
        self._equal: dict[Any, Term] = {}

    def new(self, op: str, *operands: Term, size: Size, **attributes: Any) -> Term:
        """A term of its own, never merged with another."""
        term = Term(self, op, operands, attributes, size)
        self.all.append(term)
        return term

    def make(
        self, op: str, *given: Term | float, size: Size | None = None, **attributes: Any
    ) -> Term:
        """A derived term: simplified, and merged with an equal one."""
        operands = tuple(one if isinstance(one, Term) else self.constant(one) for one in given)
        simple = self._simplify(op, operands)
        if simple is not None:
            return simple
        places = tuple(one.index for one in operands)
        if op in COMMUTATIVE:
            places = tuple(sorted(places))
        key = (op, places, size, tuple(sorted(attributes.items())))
        if key not in self._equal:
            size = size if size is not None else result_size(op, operands, attributes)
            self._equal[key] = self.new(op, *operands, size=size, **attributes)
        return self._equal[key]

    def constant(self, value: float) -> Term:
        """A number; equal numbers are one term."""
        key = ("constant", repr(float(value)))
        if key not in self._equal:
            self._equal[key] = self.new("constant", size=1, value=float(value))
        return self._equal[key]

    def _simplify(self, op: str, operands: tuple[Term, ...]) -> Term | None:
        """Drop what changes nothing. Never 0 * a, which is NaN where a is infinite."""
        if op in ("add", "multiply"):
            neutral = 0.0 if op == "add" else 1.0
            for one, other in (operands, operands[::-1]):
                if is_constant(one, neutral):
                    return other
        if op == "subtract" and is_constant(operands[1], 0.0):
            return operands[0]
        if op == "divide" and is_constant(operands[1], 1.0):
            return operands[0]
        if op == "negative" and operands[0].op == "negative":
            return operands[0].operands[0]
        return None


def is_constant(term: Term, value: float) -> bool:
    """Whether a term is this number."""
    return term.op == "constant" and term.attributes["value"] == value


def result_size(op: str, operands: tuple[Term, ...], attributes: dict[str, Any]) -> Size:
    """The size that an operation's result has, where it follows from its operands."""
    if op in REDUCTIONS:
        return int(attributes.get("heads", 1))
    return next((one.size for one in operands if one.size != 1), 1)
