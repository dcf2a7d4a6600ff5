"""Arrange figures in columns and levels.

From left to right: the sources of a line's first figure, that figure, the sources of the
second figure, and so on. The wire of a gate rises from its box to the operation above.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.draw.diagram.figures import TERMINALS, Figure, Picture

#: Operations are stacked up to this level, then placed next to each other.
MAX_LEVEL = 3


@dataclass(frozen=True)
class Grid:
    """The places of figures relative to each other.

    Attributes:
        columns: Each figure's column, from the left.
        levels: The level of each operation that is not on a line: 1 directly above the boxes.
        bands: The first and last column of each inner cell whose columns have no other
            figures.
    """

    columns: dict[Figure, int]
    levels: dict[Figure, int]
    bands: dict[str, tuple[int, int]]


def arrange(picture: Picture) -> Grid:
    """Give every figure with a body its column and level."""
    columns: dict[Figure, int] = {}
    levels: dict[Figure, int] = {}
    grid: dict[tuple[int, int], Figure] = {}
    tops: list[Figure] = []  # the highest figure of each column
    ends: dict[int, int] = {}  # the last column of each line so far
    for figure in _visits(picture):
        sources = [
            wire.source
            for wire in figure.inputs
            if wire.source.kind not in (*TERMINALS, "join") and wire.source.line is None
        ]
        # Only the top of a column can have another operation above it.
        open_below = [
            source
            for source in sources
            if tops[columns[source]] is source and source.group == figure.group
        ]
        latest = max(open_below, key=lambda source: columns[source], default=None)
        column = len(tops)
        if figure.line is not None:
            # A line runs from left to right, so its figures need rising columns.
            if latest is not None and columns[latest] > ends.get(figure.line, -1):
                column = columns[latest]
            ends[figure.line] = column
        elif figure.kind in ("pointwise", "row", "source"):
            if latest is not None and (latest.kind == "learned" or levels[latest] < MAX_LEVEL):
                column = columns[latest]
            level = max([1, *(levels.get(source, 0) for source in sources)])
            # A level is free if neither a figure nor a wire between two figures is on it.
            while (column, level) in grid or any(
                (between, level) in grid
                for source in sources
                if levels.get(source) == level
                for between in range(columns[source] + 1, column)
            ):
                level += 1
            if column < len(tops) and tops[column].kind != "learned":
                level = max(level, levels[tops[column]] + 1)
            levels[figure], grid[column, level] = level, figure
        if column == len(tops):
            tops.append(figure)
        tops[column] = figure
        columns[figure] = column
    _lift(picture, columns, levels, grid, tops)
    return Grid(columns, levels, _bands(columns))


def _lift(
    picture: Picture,
    columns: dict[Figure, int],
    levels: dict[Figure, int],
    grid: dict[tuple[int, int], Figure],
    tops: list[Figure],
) -> None:
    """Raise an operation to the level of its only reader, so that their wire is straight."""
    readers: dict[Figure, list[Figure]] = {}
    for figure in picture.figures:
        for wire in figure.inputs:
            readers.setdefault(wire.source, []).append(figure)
    ends = {*picture.updates.values(), picture.output}
    for figure in reversed(list(levels)):
        column, level = columns[figure], levels[figure]
        [reader, *further] = readers.get(figure, [figure])
        if further or figure in ends or reader not in levels or tops[column] is not figure:
            continue
        target = levels[reader]
        between = range(min(column, columns[reader]), max(column, columns[reader]) + 1)
        free = all(grid.get((k, target), reader) is reader for k in between)
        if target > level and columns[reader] > column and free:
            del grid[column, level]
            levels[figure], grid[column, target] = target, figure


def _visits(picture: Picture) -> list[Figure]:
    """All figures with a body in the order of their columns, each after its sources."""
    position = {figure: index for index, figure in enumerate(picture.figures)}
    on_lines = sorted(
        (f for line in picture.lines.values() for f in line), key=position.__getitem__
    )
    seen: set[Figure] = set()
    order: list[Figure] = []
    for root in (*on_lines, *picture.updates.values(), picture.output, *picture.figures):
        pending = [(root, False)]
        while pending:
            figure, sources_done = pending.pop()
            if sources_done:
                order.append(figure)
            elif figure not in seen and figure.kind not in TERMINALS:
                seen.add(figure)
                pending.append((figure, True))
                # Boxes last, so that the operation is placed above one.
                sources = [wire.source for wire in figure.inputs]
                sources.sort(key=lambda source: source.kind == "learned")
                pending.extend((source, False) for source in reversed(sources))
    return order


def _bands(columns: dict[Figure, int]) -> dict[str, tuple[int, int]]:
    bands: dict[str, tuple[int, int]] = {}
    for group in dict.fromkeys(figure.group for figure in columns if figure.group):
        own = [column for figure, column in columns.items() if figure.group == group]
        first, last = min(own), max(own)
        if all(
            figure.group == group for figure, column in columns.items() if first <= column <= last
        ):
            bands[group] = first, last
    return bands
