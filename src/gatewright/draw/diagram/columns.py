"""Columns: which figures stand above each other, and on what level.

From left to right: what feeds a line's first figure, that figure, what feeds the second,
and so on. A gate rises from its box into the operation above it.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.draw.diagram.figures import TERMINALS, Figure, Picture

#: Operations stand upon each other up to this level, then beside each other.
HIGHEST = 3


@dataclass(frozen=True)
class Grid:
    """Where figures stand to each other.

    Attributes:
        columns: Each figure's column, from the left.
        levels: The level of each operation that is on no line: 1 just above the boxes.
        bands: The first and last column of each cell within the cell that has its columns
            to itself.
    """

    columns: dict[Figure, int]
    levels: dict[Figure, int]
    bands: dict[str, tuple[int, int]]


def arrange(picture: Picture) -> Grid:
    """Give every figure with a body its column and level."""
    columns: dict[Figure, int] = {}
    levels: dict[Figure, int] = {}
    grid: dict[tuple[int, int], Figure] = {}
    tops: list[Figure] = []
    ends: dict[int, int] = {}
    for figure in _visits(picture):
        sources = [
            one.source
            for one in figure.inputs
            if one.source.kind not in (*TERMINALS, "join") and one.source.line is None
        ]
        open_below = [
            one for one in sources if tops[columns[one]] is one and one.group == figure.group
        ]
        latest = max(open_below, key=lambda one: columns[one], default=None)
        column = len(tops)
        if figure.line is not None:
            if latest is not None and columns[latest] > ends.get(figure.line, -1):
                column = columns[latest]
            ends[figure.line] = column
        elif figure.kind in ("pointwise", "row", "source"):
            if latest is not None and (latest.kind == "learned" or levels[latest] < HIGHEST):
                column = columns[latest]
            level = max([1, *(levels.get(one, 0) for one in sources)])
            while (column, level) in grid or any(
                (between, level) in grid
                for one in sources
                if levels.get(one) == level
                for between in range(columns[one] + 1, column)
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
    """Raise an operation to the level of its one reader, so that the wire between is straight."""
    readers: dict[Figure, list[Figure]] = {}
    for figure in picture.figures:
        for one in figure.inputs:
            readers.setdefault(one.source, []).append(figure)
    ends = {*picture.updates.values(), picture.output}
    for figure in reversed(list(levels)):
        column, level = columns[figure], levels[figure]
        [reader, *others] = readers.get(figure, [figure])
        if others or figure in ends or reader not in levels or tops[column] is not figure:
            continue
        target = levels[reader]
        beside = range(min(column, columns[reader]), max(column, columns[reader]) + 1)
        free = all(grid.get((one, target), reader) is reader for one in beside)
        if target > level and columns[reader] > column and free:
            del grid[column, level]
            levels[figure], grid[column, target] = target, figure


def _visits(picture: Picture) -> list[Figure]:
    """All figures with a body, each after those it reads, in order of their columns."""
    position = {figure: index for index, figure in enumerate(picture.figures)}
    on_lines = sorted(
        (f for line in picture.lines.values() for f in line), key=position.__getitem__
    )
    seen: set[Figure] = set()
    order: list[Figure] = []
    for root in (*on_lines, *picture.updates.values(), picture.output, *picture.figures):
        waiting = [(root, False)]
        while waiting:
            figure, ready = waiting.pop()
            if ready:
                order.append(figure)
            elif figure not in seen and figure.kind not in TERMINALS:
                seen.add(figure)
                waiting.append((figure, True))
                # Boxes last, so that the operation stands upon one.
                sources = [one.source for one in figure.inputs]
                sources.sort(key=lambda one: one.kind == "learned")
                waiting.extend((one, False) for one in reversed(sources))
    return order


def _bands(columns: dict[Figure, int]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for group in dict.fromkeys(figure.group for figure in columns if figure.group):
        own = [column for figure, column in columns.items() if figure.group == group]
        first, last = min(own), max(own)
        if all(
            figure.group == group for figure, column in columns.items() if first <= column <= last
        ):
            found[group] = first, last
    return found
