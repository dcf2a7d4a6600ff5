"""Symbolic values: what `step` sees in place of tensors while it is being read."""

from __future__ import annotations

import math
import numbers
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

from gatewright.errors import CellError
from gatewright.language.hints import instead
from gatewright.language.node import Node
from gatewright.language.operations import OPERATIONS, takes_boolean

if TYPE_CHECKING:
    from gatewright.language.reading import Reader

#: The reader of the step that is being read, if one is.
READING: ContextVar[Reader | None] = ContextVar("READING", default=None)

WHERE = "use where(condition, a, b), which chooses element by element"
CONSTANTS = (
    "a constant is a number, also one that is a field of the cell; a matrix is that of a product, "
    "linear(m, name='A'), and a vector a parameter(); values that are not learned are given in "
    "`fixed` of the cell: fixed = {'A': {'m': matrix}}"
)


class Value:
    """One value of a step, not known yet: it can be combined, but not looked into."""

    __slots__ = ("node", "reader")
    node: Node
    reader: Reader
    __hash__ = object.__hash__

    def __init__(self, reader: Reader, node: Node) -> None:
        object.__setattr__(self, "reader", reader)
        object.__setattr__(self, "node", node)

    # Arithmetic and comparison: each makes a node.
    def __add__(self, other: Any) -> Value:
        return apply("add", self, other)

    def __radd__(self, other: Any) -> Value:
        return apply("add", other, self)

    def __sub__(self, other: Any) -> Value:
        return apply("subtract", self, other)

    def __rsub__(self, other: Any) -> Value:
        return apply("subtract", other, self)

    def __mul__(self, other: Any) -> Value:
        return apply("multiply", self, other)

    def __rmul__(self, other: Any) -> Value:
        return apply("multiply", other, self)

    def __truediv__(self, other: Any) -> Value:
        return apply("divide", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return apply("divide", other, self)

    def __pow__(self, other: Any) -> Value:
        return apply("power", self, other)

    def __rpow__(self, other: Any) -> Value:
        return apply("power", other, self)

    def __neg__(self) -> Value:
        return apply("negative", self)

    def __pos__(self) -> Value:
        return self

    def __abs__(self) -> Value:
        return apply("abs", self)

    def __lt__(self, other: Any) -> Value:
        return apply("less", self, other)

    def __le__(self, other: Any) -> Value:
        return apply("less_equal", self, other)

    def __gt__(self, other: Any) -> Value:
        return apply("greater", self, other)

    def __ge__(self, other: Any) -> Value:
        return apply("greater_equal", self, other)

    def __eq__(self, other: Any) -> Value:  # type: ignore[override]  # builds a comparison
        return apply("equal", self, other)

    def __ne__(self, other: Any) -> Value:  # type: ignore[override]  # builds a comparison
        return apply("not_equal", self, other)

    def __and__(self, other: Any) -> Value:
        return apply("logical_and", self, other)

    def __or__(self, other: Any) -> Value:
        return apply("logical_or", self, other)

    def __invert__(self) -> Value:
        return apply("logical_not", self)

    # What people try, and why it cannot be read.
    def refuse(self, fact: str, hint: str) -> NoReturn:
        """Stop the reading at the line of the user's that is being run."""
        raise (READING.get() or self.reader).error(fact, hint)

    def __bool__(self) -> NoReturn:
        self.refuse(
            "`if`, `while`, `and`, `or`, `not`, `max` or `min` on a value of the step, "
            "which has no truth before the network runs",
            WHERE + "; `&`, `|` and `~` combine comparisons, and gatewright.maximum and "
            "minimum take the place of max and min",
        )

    def __float__(self) -> NoReturn:
        self.refuse(
            "a value of the step was turned into a number (float, int, round or a function "
            "of `math`), which it becomes only when the network runs",
            "use gatewright's own functions, such as gatewright.exp in place of math.exp",
        )

    __int__ = __index__ = __round__ = __floor__ = __ceil__ = __complex__ = __trunc__ = __float__

    def __getitem__(self, key: Any) -> NoReturn:
        self.refuse(
            "a value of the step was indexed or sliced; a value is one whole row of units",
            "make the parts separate products or states, each with a size= of its own",
        )

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        self.refuse("a part of a value was assigned to", WHERE)

    def __delitem__(self, key: Any) -> NoReturn:
        self.refuse("a part of a value was deleted", WHERE)

    def __iter__(self) -> NoReturn:
        self.refuse(
            "a value of the step was iterated over or unpacked; a value is one whole row of units",
            "make the parts separate products or states, each with a size= of its own",
        )

    def __len__(self) -> NoReturn:
        self.refuse(
            "the length of a value was asked for; sizes are known only when a layer is built",
            "say sizes with size=, or use mean(...) where the sum is to be divided by the size",
        )

    def __contains__(self, item: Any) -> NoReturn:
        self.refuse("`in` on a value of the step", "compare with ==, then " + WHERE)

    def __matmul__(self, other: Any) -> NoReturn:
        self.refuse(
            "`@` on a value of the step; a cell owns its matrices",
            "write linear(x, h), which makes the matrices and one bias",
        )

    __rmatmul__ = __matmul__

    def __floordiv__(self, other: Any) -> NoReturn:
        self.refuse("`//` and `%` on a value of the step", "use / and where(...)")

    __rfloordiv__ = __mod__ = __rmod__ = __divmod__ = __rdivmod__ = __floordiv__

    def __xor__(self, other: Any) -> NoReturn:
        self.refuse(
            "`^`, `<<` or `>>` on a value of the step",
            "a power is **; `&`, `|` and `~` combine comparisons",
        )

    __rxor__ = __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = __xor__

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self.refuse(
            "a value of the step was called like a function",
            "to multiply, write *; to apply a cell, make it a field of this cell",
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # protocols that ask (copy, numpy, notebooks) get a plain no
            raise AttributeError(name)
        self.refuse(f"a value of the step has no attribute or method `{name}`", instead(name))

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        self.refuse(f"`{name}` was set on a value of the step", "use a local name instead")

    def __repr__(self) -> str:
        return f"<value of {self.reader.cell_name}: {self.node.op}>"

    def __format__(self, specification: str) -> str:
        return repr(self)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> NoReturn:
        foreign(f"torch.{getattr(function, '__name__', function)}", args)

    def __array_ufunc__(self, function: Any, method: str, *operands: Any, **kwargs: Any) -> Value:
        # A numpy scalar on the left of + - * / arrives here; it is a number like any other.
        name = {"true_divide": "divide"}.get(function.__name__, function.__name__)
        numeric = all(isinstance(one, Value | numbers.Real) for one in operands)
        if method == "__call__" and numeric and name in ("add", "subtract", "multiply", "divide"):
            return apply(name, *operands)
        foreign(f"numpy.{function.__name__}", operands)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> NoReturn:
        foreign(f"numpy.{function.__name__}", args)

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self.refuse("a value of the step was turned into a numpy array", instead("array"))


def foreign(called: str, operands: Any) -> NoReturn:
    """Refuse another library's function, naming ours where there is one."""
    fact = f"{called} cannot be read: it computes on tensors, and a step has none yet"
    name = called.rsplit(".", 1)[1].strip("_")
    hint = instead(name)
    given = [one for one in operands if not isinstance(one, Value) and hasattr(one, "shape")]
    if given and name not in ("linear", "matmul", "mm"):
        fact = f"{called} was given {describe(given[0])}; a step combines values and numbers"
        hint = CONSTANTS
    reader = READING.get()
    raise CellError(fact, hint=hint) if reader is None else reader.error(fact, hint)


def apply(op: str, *operands: Any, **attributes: Any) -> Value:
    """The operation `op` on values and numbers, as a new value."""
    reader = READING.get()
    if reader is None:
        given = ", ".join(describe(one) for one in operands)
        raise CellError(
            f"{op} was given {given} outside a step",
            hint=f"{op} belongs in the step of a cell; for tensors use torch",
        )
    nodes = tuple(lift(reader, one, op).node for one in operands)
    check_booleans(reader, op, nodes)
    return reader.add(op, nodes, attributes)


def check_booleans(reader: Reader, op: str, nodes: tuple[Node, ...]) -> None:
    """Comparisons may be combined and chosen by, not calculated with."""
    for position, node in enumerate(nodes):
        wanted = takes_boolean(op, position)
        given = OPERATIONS[node.op].boolean
        if wanted and not given:
            raise reader.error(
                f"{op} needs a comparison and was given a number",
                "compare first, as in where(mask > 0, a, b)",
            )
        if given and not wanted:
            raise reader.error(
                f"{op} was given a comparison, which is true or false and no number",
                "turn it into numbers with where(condition, 1.0, 0.0)",
            )


def lift(reader: Reader, given: Any, op: str) -> Value:
    """A value for what stands in an expression: a value, or a number as a constant."""
    if isinstance(given, Value):
        if given.reader is not reader:
            raise reader.error(
                f"{op} was given a value of another cell's step ({given.reader.cell_name})",
                "pass values through arguments and states; do not keep them on the cell",
            )
        return given
    if isinstance(given, numbers.Real):
        number = float(given)
        if math.isnan(number):
            raise reader.error("a constant is NaN", "use a number")
        return reader.add("constant", (), {"value": number})
    raise reader.error(
        f"{op} was given {describe(given)}; a step combines values and numbers",
        CONSTANTS,
    )


def describe(given: Any) -> str:
    """What a foreign object is, in words for a message."""
    if given is None:
        return "None"
    if isinstance(given, Value):
        return "a value of the step"
    kind = f"{type(given).__module__}.{type(given).__qualname__}".removeprefix("builtins.")
    shape = getattr(given, "shape", None)
    return f"a {kind}" + (
        f" of shape {tuple(shape)}" if shape is not None else f" ({given!r})"[:60]
    )
