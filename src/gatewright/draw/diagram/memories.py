"""Find the memories: the states that are drawn as straight lines."""

from __future__ import annotations

from collections.abc import Mapping

from gatewright.draw.diagram.figures import Figure


def memories(
    figures: list[Figure], states: Mapping[str, Figure], updates: Mapping[str, Figure]
) -> dict[str, tuple[Figure, ...]]:
    """The states that reach their next value through pointwise operations, with those figures.

    Of several ways the one that changes the memory least is the line.
    """
    lines: dict[str, tuple[Figure, ...]] = {}
    for name, state in states.items():
        best: dict[Figure, tuple[int, tuple[Figure, ...]]] = {state: (0, ())}
        for figure in figures:
            if not figure.carries or figure.line is not None:
                continue
            ways = [best[wire.source] for wire in figure.inputs if wire.source in best]
            if ways:
                cost, way = min(ways, key=lambda entry: entry[0])
                best[figure] = (cost + figure.carries, (*way, figure))
        if updates[name] in best:
            way = best[updates[name]][1]
            for figure in (state, *way):
                figure.line = len(lines)
            lines[name] = way
    return lines
