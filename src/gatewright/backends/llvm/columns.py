"""Columns of rows whose gradients are formed together, and the memory for these gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gatewright.backends.llvm.verify import Span
from gatewright.graph import Term


@dataclass(frozen=True)
class GradientColumn:
    """Units of rows: their product or sum over all rows is the gradient of a term."""

    span: Span
    units: int
    term: Term


@dataclass(frozen=True)
class GradientBlock:
    """The shape of the memory for the gradients of adjacent columns.

    Attributes:
        rows, length: A row for each column of a matrix's gradient, or one row of all columns.
        units: The numbers of a row that belong to the gradient; a gap follows them.
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


def merged(
    columns: list[GradientColumn], lanes: int
) -> Iterator[tuple[Span, int, list[tuple[int, GradientColumn]]]]:
    """Merge adjacent columns: yield the span, its width, and the columns with their offsets."""
    columns = sorted(columns, key=lambda column: column.span)
    while columns:
        first, members = columns[0].span, [(0, columns[0])]
        width = columns[0].units
        for column in columns[1:]:
            offset = column.span.offset - first.offset
            same_rows = column.span.base == first.base and column.span.length == first.length
            # Only the padding to whole vectors may lie between two columns; a column beyond
            # the end of a row belongs to the next one.
            adjacent = width <= offset < width + lanes and offset + column.units <= first.length
            if not same_rows or not adjacent:
                break
            members.append((offset, column))
            width = offset + column.units
        yield first, width, members
        columns = columns[len(members) :]
