"""Terms: the nodes of the compiler's graph, primitive operations with sizes.

Terms live in an arena, `Terms`. The arena of a cell is frozen when the cell is lowered; an
adjoint or a schedule adds its terms to an arena of its own that extends the frozen one. So
graphs are never changed, and threads derive from the same graph without a lock.

Derived terms are merged where they are equal; terms that the user wrote stay separate, so that
each can be held.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatewright.language.node import Size
from gatewright.language.operations import OPERATIONS

#: Operations whose result is true or false.
COMPARISONS = frozenset(name for name, operation in OPERATIONS.items() if operation.boolean)

#: Operations whose result has one value a row, or a head.
REDUCTIONS = frozenset({"sum", "largest"})

#: Operations whose result is the same, to the last bit, if their operands are exchanged.
COMMUTATIVE = frozenset({"add", "multiply", "maximum", "minimum", "equal", "not_equal"})


class Term:
    """One primitive operation on terms; `size` is the length of its rows.

    In addition to the language's pointwise operations there are

    - `event`, `input`, `state`, `noise`, `weight`, `seed`: values from outside (`weight` with
      the attribute `weight`; `seed`, an upstream gradient, with the `name` of its value);
    - `product(source, weight)` and `transposed(gradient, weight)`: W source, W' gradient;
    - `sum(a)` and `largest(a)`: one value a row, or with the attribute `heads` one a head;
    - `expand(a)`: one value a row, or a head, at all its units of the term's size;
    - `inverse_size`: one over the number of units of `of`, or of each of its heads.

    `index` is the term's position in its arena; terms come after their operands.
    """

    __slots__ = ("attributes", "index", "op", "operands", "size")

    def __init__(
        self,
        op: str,
        operands: tuple[Term, ...],
        attributes: dict[str, Any],
        size: Size,
        index: int,
    ) -> None:
        self.op = op
        self.operands = operands
        self.attributes = attributes
        self.size = size
        self.index = index

    @property
    def boolean(self) -> bool:
        """True for a comparison, whose value is true or false rather than a number."""
        return self.op in COMPARISONS

    def __repr__(self) -> str:
        inside = ", ".join(f"%{operand.index}" for operand in self.operands)
        details = "".join(f" {key}={value}" for key, value in self.attributes.items())
        return f"%{self.index} = {self.op}({inside}){details} : {self.size}"


class Terms:
    """An arena of terms, each after its operands.

    Attributes:
        all: The terms by their index; a tuple in a frozen arena.
    """

    def __init__(self, base: Terms | None = None) -> None:
        """Start an empty arena, or one that extends a frozen arena."""
        self.all: Sequence[Term] = [] if base is None else list(base.all)
        self._equal: dict[Any, Term] = {} if base is None else dict(base._equal)

    def freeze(self) -> Terms:
        """Refuse further terms from now on; return the arena."""
        self.all = tuple(self.all)
        return self

    def extended(self) -> Terms:
        """Start an arena that begins with all terms of this frozen one."""
        assert isinstance(self.all, tuple), "only a frozen arena can be extended"
        return Terms(self)

    def new(self, op: str, *operands: Term, size: Size, **attributes: Any) -> Term:
        """Add a term that is never merged with another."""
        assert isinstance(self.all, list), "the arena is frozen; add to one that extends it"
        term = Term(op, operands, attributes, size, index=len(self.all))
        self.all.append(term)
        return term

    def make(
        self, op: str, *operands: Term | float, size: Size | None = None, **attributes: Any
    ) -> Term:
        """Return a derived term: simplified, and merged with an equal one."""
        terms = tuple(o if isinstance(o, Term) else self.constant(o) for o in operands)
        simple = _simplified(op, terms)
        if simple is not None:
            return simple
        places = tuple(term.index for term in terms)
        if op in COMMUTATIVE:
            places = tuple(sorted(places))
        key = (op, places, size, tuple(sorted(attributes.items())))
        if key not in self._equal:
            size = size if size is not None else result_size(op, terms, attributes)
            self._equal[key] = self.new(op, *terms, size=size, **attributes)
        return self._equal[key]

    def constant(self, value: float) -> Term:
        """Return the term of a number; equal numbers are one term."""
        key = ("constant", repr(float(value)))
        if key not in self._equal:
            self._equal[key] = self.new("constant", size=1, value=float(value))
        return self._equal[key]


class Expression:
    """A term with the arena that its operators add to, so that formulas read as such.

    >>> terms = Terms()
    >>> h = Expression(terms, terms.new("state", size="hidden", name="h"))
    >>> (h * (1.0 - h)).term
    %3 = multiply(%0, %2) : hidden
    """

    __slots__ = ("term", "terms")

    def __init__(self, terms: Terms, term: Term) -> None:
        self.terms, self.term = terms, term

    @property
    def op(self) -> str:
        return self.term.op

    @property
    def size(self) -> Size:
        return self.term.size

    @property
    def attributes(self) -> dict[str, Any]:
        return self.term.attributes

    def apply(
        self,
        op: str,
        *others: Expression | float,
        size: Size | None = None,
        **attributes: Any,
    ) -> Expression:
        """Apply an operation to this term, the first operand, and others."""
        operands = (other.term if isinstance(other, Expression) else other for other in others)
        term = self.terms.make(op, self.term, *operands, size=size, **attributes)
        return Expression(self.terms, term)

    def _after(self, op: str, number: float) -> Expression:
        """Apply an operation whose first operand is a number."""
        return Expression(self.terms, self.terms.make(op, number, self.term))

    def __add__(self, other: Expression | float) -> Expression:
        return self.apply("add", other)

    def __radd__(self, other: float) -> Expression:
        return self.apply("add", other)

    def __sub__(self, other: Expression | float) -> Expression:
        return self.apply("subtract", other)

    def __rsub__(self, other: float) -> Expression:
        return self._after("subtract", other)

    def __mul__(self, other: Expression | float) -> Expression:
        return self.apply("multiply", other)

    def __rmul__(self, other: float) -> Expression:
        return self.apply("multiply", other)

    def __truediv__(self, other: Expression | float) -> Expression:
        return self.apply("divide", other)

    def __rtruediv__(self, other: float) -> Expression:
        return self._after("divide", other)

    def __neg__(self) -> Expression:
        return self.apply("negative")


def _simplified(op: str, operands: tuple[Term, ...]) -> Term | None:
    """Return the operand that an operation leaves as it is, or None.

    0 * a is not simplified: it is NaN where a is infinite.
    """
    if op in ("add", "multiply"):
        neutral = 0.0 if op == "add" else 1.0
        for operand, other in (operands, operands[::-1]):
            if is_constant(operand, neutral):
                return other
    if op == "subtract" and is_constant(operands[1], 0.0):
        return operands[0]
    if op == "divide" and is_constant(operands[1], 1.0):
        return operands[0]
    if op == "negative" and operands[0].op == "negative":
        return operands[0].operands[0]
    return None


def is_constant(term: Term, value: float) -> bool:
    """Tell if a term is this number."""
    return term.op == "constant" and term.attributes["value"] == value


def result_size(op: str, operands: tuple[Term, ...], attributes: dict[str, Any]) -> Size:
    """Infer the size of an operation's result from its operands."""
    if op in REDUCTIONS:
        return int(attributes.get("heads", 1))
    return next((operand.size for operand in operands if operand.size != 1), 1)
