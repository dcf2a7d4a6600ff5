"""The statements of a step's program, as C and JavaScript write them, in almost the same words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from gatewright.errors import ArgumentError
from gatewright.exports.program import (
    Array,
    Element,
    Operand,
    Reduction,
    UnitLoop,
    UnitOperation,
)

#: Operations that both languages write in the same way; `{0}` is the first operand.
INFIX: Mapping[str, str] = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "negative": "-({0})",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "logical_and": "{0} && {1}",
    "logical_or": "{0} || {1}",
    "logical_not": "!({0})",
    "where": "{0} ? {1} : {2}",
    "stop_gradient": "{0}",
    "expand": "{0}",
}


@dataclass(frozen=True)
class Dialect:
    """The words of a language.

    Attributes:
        number: From a number to its text.
        index: The type of an index in a loop's head, such as `int`.
        temporary: The type of a temporary number.
        truth: The type of a temporary that is true or false.
        operations: The texts of operations beyond `INFIX`.
        share: The index of a number that is spread over `{}` units, at unit k.
    """

    number: Callable[[float], str]
    index: str
    temporary: str
    truth: str
    operations: Mapping[str, str]
    share: str

    def element(self, element: Element) -> str:
        """The number that a loop reads at unit k."""
        if element.share == 0:
            return number_at(element.array, "0")
        if element.share == 1:
            return number_at(element.array, "k")
        return number_at(element.array, self.share.format(element.share))

    def operand(self, operand: Operand, is_boolean: bool = False) -> str:
        """The text of an operand; a truth that is stored in an array is a number there."""
        if isinstance(operand, Element):
            return f"{self.element(operand)} != 0" if is_boolean else self.element(operand)
        return operand if isinstance(operand, str) else self.number(operand)

    def formula(self, operation: UnitOperation) -> str:
        """The right-hand side of an operation.

        Raises:
            ArgumentError: if the language has no such operation.
        """
        text = {**INFIX, **self.operations}.get(operation.op)
        if text is None:
            raise ArgumentError(
                f"a cell with {operation.op} cannot be exported: it has no such operation there"
            )
        logical = operation.op.startswith("logical_")
        operands = [
            self.operand(operand, logical or (operation.op == "where" and position == 0))
            for position, operand in enumerate(operation.operands)
        ]
        return text.format(*operands)

    def lines(self, statement: UnitLoop | Reduction) -> Iterator[str]:
        """The lines of a statement; products are calls, which each language writes itself."""
        if isinstance(statement, Reduction):
            yield from self.reduction(statement)
        else:
            yield from self.loop(statement)

    def loop(self, loop: UnitLoop) -> Iterator[str]:
        """One unit after another, with the temporaries of each."""
        yield f"for ({self.index} k = 0; k < {loop.size}; k++) {{"
        for operation in loop.operations:
            kind = self.truth if operation.boolean else self.temporary
            yield f"    const {kind}{operation.temporary} = {self.formula(operation)};"
            if operation.target is not None:
                value = operation.temporary
                if operation.boolean:
                    value += f" ? {self.number(1.0)} : {self.number(0.0)}"
                yield f"    {number_at(operation.target, 'k')} = {value};"
        yield "}"

    def reduction(self, reduction: Reduction) -> Iterator[str]:
        """The sum or the largest number of each part of a row."""
        target, source = reduction.target, reduction.source
        share = source.size // target.size
        declared = f"{self.temporary or 'let '}total"
        yield f"for ({self.index} k = 0; k < {target.size}; k++) {{"
        first = number_at(source, f"k * {share}")
        yield f"    {declared} = {first};"
        yield f"    for ({self.index} j = 1; j < {share}; j++) {{"
        value = number_at(source, f"k * {share} + j")
        if reduction.op == "sum":
            yield f"        total += {value};"
        else:
            yield f"        total = {value} > total ? {value} : total;"
        yield "    }"
        yield f"    {number_at(target, 'k')} = total;"
        yield "}"


def number_at(array: Array, index: str) -> str:
    """The number at an index of an array."""
    if array.start == 0:
        return f"{array.name}[{index}]"
    return (
        f"{array.name}[{array.start}]" if index == "0" else f"{array.name}[{array.start} + {index}]"
    )
