"""Integers of the emitted code, with Python's arithmetic.

`(units + (lanes - 1)) // lanes` emits an addition and a division. So the address arithmetic of
a kernel reads as the formula that it computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from llvmlite import ir

#: The types of integers and of addresses.
INDEX, POINTER = ir.IntType(64), ir.PointerType()


@lru_cache(maxsize=4096, typed=True)
def _constant(value: int) -> ir.Constant:
    """An integer constant, and its text, made once."""
    return ir.Constant(INDEX, value)


class Index(ir.Value):  # type: ignore[misc]  # llvmlite has no annotations
    """A 64-bit integer that the emitted code computes: a size, a position, a slot.

    The operators `+ - * //` emit one instruction each and return an Index; comparisons emit one
    and return a value of one bit. The other operand may be a plain `int`, which becomes a
    constant. Sums with 0, products with 1 and quotients by 1 emit nothing: they were a quarter of
    the integer instructions of a kernel. llvmlite takes an Index wherever it takes a value.
    """

    type = INDEX
    # `==` emits a comparison, so an Index cannot be looked up in a set or a dictionary.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, b: ir.IRBuilder, value: ir.Value | int) -> None:
        self.b = b
        self.value = _constant(value) if isinstance(value, int) else value

    def get_reference(self) -> str:
        """The value's name in the emitted text."""
        return str(self.value.get_reference())

    @classmethod
    def of(cls, b: ir.IRBuilder, value: Index | ir.Value | int) -> Index:
        """An Index of itself, of a constant, or of an integer from llvmlite."""
        return value if isinstance(value, Index) else Index(b, value)

    def equals(self, number: int) -> bool:
        """Tell if it is known to be this number while the code is emitted."""
        return isinstance(self.value, ir.Constant) and self.value.constant == number

    def operand(self, value: Index | int) -> Index:
        """The other operand of an operator, as an Index."""
        return self.of(self.b, value)

    def __add__(self, other: Index | int) -> Index:
        other = self.operand(other)
        if other.equals(0):
            return self
        return other if self.equals(0) else Index(self.b, self.b.add(self, other))

    def __radd__(self, other: int) -> Index:
        return self.operand(other) + self

    def __sub__(self, other: Index | int) -> Index:
        other = self.operand(other)
        return self if other.equals(0) else Index(self.b, self.b.sub(self, other))

    def __rsub__(self, other: int) -> Index:
        return self.operand(other) - self

    def __mul__(self, other: Index | int) -> Index:
        other = self.operand(other)
        if other.equals(1) or self.equals(0):
            return self
        return (
            other if self.equals(1) or other.equals(0) else Index(self.b, self.b.mul(self, other))
        )

    def __rmul__(self, other: int) -> Index:
        return self.operand(other) * self

    def __floordiv__(self, other: Index | int) -> Index:
        # Truncates towards zero, where Python's operator rounds down. They agree for the sizes
        # and positions here, none of which is negative where it is divided.
        other = self.operand(other)
        return self if other.equals(1) else Index(self.b, self.b.sdiv(self, other))

    def __lt__(self, other: Index | int) -> ir.Value:
        return self.compared("<", other)

    def __le__(self, other: Index | int) -> ir.Value:
        return self.compared("<=", other)

    def __gt__(self, other: Index | int) -> ir.Value:
        return self.compared(">", other)

    def __ge__(self, other: Index | int) -> ir.Value:
        return self.compared(">=", other)

    def __eq__(self, other: Index | int) -> ir.Value:  # type: ignore[override]
        return self.compared("==", other)

    def __ne__(self, other: Index | int) -> ir.Value:  # type: ignore[override]
        return self.compared("!=", other)

    def compared(self, relation: str, other: Index | int) -> ir.Value:
        """Compare as signed integers."""
        return self.b.icmp_signed(relation, self, self.operand(other))


class LoopIndex(Index):
    """The index of a loop, with the values that the loop carries.

    Attributes:
        values: The loop-carried values, as they are in this iteration.

    The loop's body calls `update` once with the values for the next iteration; without that
    they stay as they are. After the loop, `results` are the last values, and `end` is the first
    index that the loop left out, where a loop with a smaller step may go on.
    """

    def __init__(self, b: ir.IRBuilder, phi: ir.Value, values: Sequence[Any]) -> None:
        super().__init__(b, phi)
        self.values = list(values)
        self.new = self.values

    def update(self, new: Sequence[Any]) -> None:
        """Set the values for the next iteration."""
        self.new = list(new)

    # A loop tests its condition at its head, so the phi nodes there hold both the values of an
    # iteration and, when the condition fails, those after the last one.
    @property
    def results(self) -> list[Any]:
        """The loop-carried values after the last iteration."""
        return self.values

    @property
    def end(self) -> Index:
        """The index at which the loop stopped."""
        return Index(self.b, self.value)
