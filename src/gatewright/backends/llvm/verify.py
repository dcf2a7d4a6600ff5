"""Verification of a call list before it runs: the memory that each call reads and writes.

Kernels work on raw addresses, so a wrong call list would damage memory. Memory consists of
*frames*: rows of equal length in a block, which hold one buffer, or several next to each other.
It is verified that

    - each access lies inside its frame, and each frame inside its block;
    - frames do not overlap, unless they are the same one;
    - nothing is written to memory that the caller has lent for reading;
    - memory that is read was written before, and still holds the value that the reader expects.

The last point also covers memory that serves two values one after the other. Such an alias is
two contents of one frame, and reading the first after the second was written is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from gatewright.errors import KernelError


class Span(NamedTuple):
    """Rows in memory.

    Attributes:
        base: The number of the block of memory.
        offset: The position of the first number in the block.
        length: The numbers from row to row.
        start, end: The frame that the rows belong to, as positions in the block.
    """

    base: int
    offset: int
    length: int
    start: int
    end: int

    def from_unit(self, unit: int) -> Span:
        """The same rows from unit `unit` on."""
        return self._replace(offset=self.offset + unit)

    def from_row(self, row: int) -> Span:
        """The rows from row `row` on."""
        return self._replace(offset=self.offset + row * self.length)


class Access(NamedTuple):
    """An access of a call to some rows.

    Attributes:
        kind: "read"; "write" if all of it gets new values; "update" if it changes values,
            which must have been written before.
        rows, units: The number of rows, and the numbers of each that have a value.
        reach: The numbers of each row that may be touched: whole vectors.
        content: The name of the value that the rows hold; None for any.
        first: The first row, counted from the span's.
    """

    kind: str
    span: Span
    rows: int
    units: int
    reach: int
    content: str | None = None
    first: int = 0


#: Rows and columns of a frame, as half-open ranges: first row, end row, first column, end column.
Rectangle = tuple[int, int, int, int]
#: A block, the length of the rows, and the first and the end position in the block.
Frame = tuple[int, int, int, int]


class Contents:
    """The values that the frames of some blocks hold after the calls up to now."""

    def __init__(
        self, earlier: Mapping[Frame, Sequence[tuple[Rectangle, str | None]]] = {}
    ) -> None:
        self.frames = {frame: list(values) for frame, values in earlier.items()}

    def enter(self, frame: Frame) -> None:
        """Add a frame.

        Raises:
            KernelError: if some of its memory belongs to another frame.
        """
        if frame in self.frames:
            return
        base, _, start, end = frame
        for other in self.frames:
            if other[0] == base and start < other[3] and other[2] < end:
                raise KernelError(f"numbers {start} to {end} overlap {other[2]} to {other[3]}")
        self.frames[frame] = []

    def write(self, frame: Frame, area: Rectangle, content: str | None) -> None:
        """Replace the content of an area."""
        rest = [
            (part, value) for place, value in self.frames[frame] for part in without(place, area)
        ]
        self.frames[frame] = [*rest, (area, content)]

    def hold(self, frame: Frame, area: Rectangle, content: str | None) -> bool:
        """Tell if all of an area holds a value, or any value if `content` is None."""
        missing = [area]
        for place, value in self.frames[frame]:
            if content is None or value is None or value == content:
                missing = [part for gap in missing for part in without(gap, place)]
        return not missing


def without(area: Rectangle, hole: Rectangle) -> Iterator[Rectangle]:
    """The parts of a rectangle that lie outside of another one: at most four rectangles."""
    top, bottom, left, right = area
    up, down, begin, end = (
        max(hole[0], top),
        min(hole[1], bottom),
        max(hole[2], left),
        min(hole[3], right),
    )
    if up >= down or begin >= end:
        yield area
        return
    parts = (top, up, left, right), (down, bottom, left, right)
    sides = (up, down, left, begin), (up, down, end, right)
    yield from (part for part in (*parts, *sides) if part[0] < part[1] and part[2] < part[3])


def verify(
    calls: Sequence[tuple[str, Sequence[Access]]],
    lengths: Mapping[int, int],
    writable: Set[int],
    contents: Contents,
) -> None:
    """Verify a call list.

    Args:
        calls: The kernel of each call, and its accesses, reading ones first.
        lengths: The numbers in each block.
        writable: The blocks that may be written; only their contents are tracked.
        contents: The contents before the calls; updated to those after them.

    Raises:
        KernelError: naming the call and the access.
    """
    for kernel, accesses in calls:
        for access in accesses:
            problem = _problem(access, lengths, writable, contents)
            if problem is not None:
                raise KernelError(
                    f"a call of {kernel} was refused before it ran: to {access.kind} "
                    f"{access.rows} x {access.units} numbers of {access.content or 'a value'} "
                    f"at {access.span}: {problem}. This is a fault of Gatewright: please report "
                    "it with the cell, the sizes and the options"
                )


def _problem(
    access: Access, lengths: Mapping[int, int], writable: Set[int], contents: Contents
) -> str | None:
    """Apply an access to the contents; return a description of the problem if there is one."""
    kind, span, rows, units, reach, content, first = access
    if not rows or not units:
        return None
    begin = span.offset + first * span.length
    last = begin + (rows - 1) * span.length + reach
    if not (span.start <= begin and last <= span.end):
        return f"it ends at {last}, and the frame goes from {span.start} to {span.end}"
    if not (span.start >= 0 and span.end <= lengths[span.base]):
        return f"the frame ends at {span.end}, and the block has {lengths[span.base]} numbers"
    if span.base not in writable:
        return None if kind == "read" else "the block is lent for reading"
    row, column = divmod(begin - span.start, span.length)
    if column + reach > span.length:
        return f"a row has {span.length} numbers, and it ends at {column + reach}"
    frame, area = span[:1] + span[2:], (row, row + rows, column, column + units)
    try:
        contents.enter(frame)
    except KernelError as error:
        return str(error)
    if kind == "write":
        contents.write(frame, area, content)
    elif not contents.hold(frame, area, content):
        return "not all of it holds that value"
    return None
