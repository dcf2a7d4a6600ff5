"""Symbolic values: the objects that `step` computes with, in place of tensors, when it is read."""

from __future__ import annotations

import math
import numbers
from typing import Any, NoReturn

from gatewright.errors import CellError
from gatewright.language.hints import instead
from gatewright.language.node import Node
from gatewright.language.operations import OPERATIONS, takes_boolean
from gatewright.language.recorder import RECORDER, Recorder

USE_WHERE = "use where(condition, a, b), which chooses element by element"
CONSTANTS = (
    "a constant is a number or a field of the cell with a number; for a matrix use a product, "
    "linear(m, name='A'), and for a vector parameter(); give values that are not learned in "
    "`fixed` of the cell: fixed = {'A': {'m': matrix}}"
)


class Value:
    """A value of a step whose numbers are not known yet: an operation can use it, `if` cannot."""

    __slots__ = ("node", "recorder")
    node: Node
    recorder: Recorder
    __hash__ = object.__hash__

    def __init__(self, recorder: Recorder, node: Node) -> None:
        object.__setattr__(self, "recorder", recorder)
        object.__setattr__(self, "node", node)

    # Arithmetic and comparisons: each records an operation.
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

    # Attempts that cannot be recorded, each with the reason and a hint.
    def refuse(self, fact: str, hint: str) -> NoReturn:
        """Refuse the line of the step that is running."""
        raise (RECORDER.get() or self.recorder).error(fact, hint)

    def __bool__(self) -> NoReturn:
        self.refuse(
            "`if`, `while`, `and`, `or`, `not`, `max` or `min` on a value of the step, "
            "which is unknown until the network runs",
            USE_WHERE + "; combine comparisons with `&`, `|` and `~`, and replace max and min by "
            "gatewright.maximum and minimum",
        )

    def __float__(self) -> NoReturn:
        self.refuse(
            "a value of the step was turned into a number (by float, int, round or a function "
            "of `math`), but has its numbers only when the network runs",
            "use gatewright's own functions, such as gatewright.exp in place of math.exp",
        )

    __int__ = __index__ = __round__ = __floor__ = __ceil__ = __complex__ = __trunc__ = __float__

    def __getitem__(self, key: Any) -> NoReturn:
        self.refuse(
            "a value of the step was indexed or sliced; a value is one whole row of units",
            "make the parts separate products or states, each with its own size=",
        )

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        self.refuse("a part of a value was assigned to", USE_WHERE)

    def __delitem__(self, key: Any) -> NoReturn:
        self.refuse("a part of a value was deleted", USE_WHERE)

    def __iter__(self) -> NoReturn:
        self.refuse(
            "a value of the step was iterated over or unpacked; a value is one whole row of units",
            "make the parts separate products or states, each with its own size=",
        )

    def __len__(self) -> NoReturn:
        self.refuse(
            "the length of a value was asked for; sizes are known only when a layer is built",
            "set sizes with size=; for a sum divided by the size use mean(...)",
        )

    def __contains__(self, item: Any) -> NoReturn:
        self.refuse("`in` on a value of the step", "compare with ==, then " + USE_WHERE)

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
        if name.startswith("__"):  # copy, numpy and notebooks probe for protocols
            raise AttributeError(name)
        self.refuse(f"a value of the step has no attribute or method `{name}`", instead(name))

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        self.refuse(f"`{name}` was set on a value of the step", "use a local name instead")

    def __repr__(self) -> str:
        return f"<value of {self.recorder.cell_name}: {self.node.op}>"

    def __format__(self, specification: str) -> str:
        return repr(self)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> NoReturn:
        foreign(f"torch.{getattr(function, '__name__', function)}", args)

    def __array_ufunc__(self, function: Any, method: str, *operands: Any, **kwargs: Any) -> Value:
        # `np.float64(2) * h` arrives here; a numpy scalar is a number like any other.
        name = {"true_divide": "divide"}.get(function.__name__, function.__name__)
        numeric = all(isinstance(operand, Value | numbers.Real) for operand in operands)
        if method == "__call__" and numeric and name in ("add", "subtract", "multiply", "divide"):
            return apply(name, *operands)
        foreign(f"numpy.{function.__name__}", operands)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> NoReturn:
        foreign(f"numpy.{function.__name__}", args)

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self.refuse("a value of the step was turned into a numpy array", instead("array"))


def foreign(called: str, operands: Any) -> NoReturn:
    """Refuse a function of another library, and name the one to use instead."""
    fact = f"{called} cannot be read: it computes on tensors, and a step has none yet"
    name = called.rsplit(".", 1)[1].strip("_")
    hint = instead(name)
    arrays = [a for a in operands if not isinstance(a, Value) and hasattr(a, "shape")]
    # For a product with an array, the hint about matrices helps more than that about constants.
    if arrays and name not in ("linear", "matmul", "mm"):
        fact = f"{called} was given {describe(arrays[0])}; a step combines values and numbers"
        hint = CONSTANTS
    recorder = RECORDER.get()
    raise CellError(fact, hint=hint) if recorder is None else recorder.error(fact, hint)


def apply(op: str, *operands: Any, **attributes: Any) -> Value:
    """Record the operation `op` on values and numbers."""
    recorder = RECORDER.get()
    if recorder is None:
        descriptions = ", ".join(describe(operand) for operand in operands)
        raise CellError(
            f"{op} was given {descriptions} outside a step",
            hint=f"{op} belongs in the step of a cell; for tensors use torch",
        )
    values = [lift(recorder, operand, op) for operand in operands]
    check_booleans(recorder, op, values)
    return record(recorder, op, *values, **attributes)


def record(recorder: Recorder, op: str, *operands: Value, **attributes: Any) -> Value:
    """Record an operation on values that are already checked."""
    nodes = tuple(value.node for value in operands)
    return Value(recorder, recorder.add(op, nodes, attributes))


def check_booleans(recorder: Recorder, op: str, operands: list[Value]) -> None:
    """Refuse arithmetic with comparisons, and numbers where a comparison belongs."""
    for position, value in enumerate(operands):
        expected = takes_boolean(op, position)
        boolean = OPERATIONS[value.node.op].boolean
        if expected and not boolean:
            raise recorder.error(
                f"{op} needs a comparison and was given a number",
                "compare first, as in where(mask > 0, a, b)",
            )
        if boolean and not expected:
            raise recorder.error(
                f"{op} was given a comparison, which is true or false and not a number",
                "turn it into numbers with where(condition, 1.0, 0.0)",
            )


def lift(recorder: Recorder, operand: Any, op: str) -> Value:
    """The operand of an expression as a value: itself, or a number as a constant."""
    if isinstance(operand, Value):
        if operand.recorder is not recorder:
            raise recorder.error(
                f"{op} was given a value of another cell's step ({operand.recorder.cell_name})",
                "pass values through arguments and states; do not keep them on the cell",
            )
        return operand
    if isinstance(operand, numbers.Real):
        number = float(operand)
        if math.isnan(number):
            raise recorder.error("a constant is NaN", "use a number")
        return record(recorder, "constant", value=number)
    raise recorder.error(
        f"{op} was given {describe(operand)}; a step combines values and numbers",
        CONSTANTS,
    )


def describe(thing: Any) -> str:
    """An object in words, for a message."""
    if thing is None:
        return "None"
    if isinstance(thing, Value):
        return "a value of the step"
    kind = f"{type(thing).__module__}.{type(thing).__qualname__}".removeprefix("builtins.")
    shape = getattr(thing, "shape", None)
    return f"a {kind}" + (
        f" of shape {tuple(shape)}" if shape is not None else f" ({thing!r})"[:60]
    )
