"""Memories: the states that are drawn as straight lines."""

from __future__ import annotations

from collections.abc import Mapping

from gatewright.draw.diagram.figures import Figure


def memories(
    figures: list[Figure], states: Mapping[str, Figure], updates: Mapping[str, Figure]
) -> dict[str, tuple[Figure, ...]]:
    """Each state that reaches itself through pointwise operations alone, and those on its way."""
    found: dict[str, tuple[Figure, ...]] = {}
    for name, state in states.items():
        best: dict[Figure, tuple[int, tuple[Figure, ...]]] = {state: (0, ())}
        for figure in figures:
            if not figure.carries or figure.line is not None:
                continue
            ways = [best[one.source] for one in figure.inputs if one.source in best]
            if ways:
                length, way = min(ways, key=lambda one: one[0])
                best[figure] = (length + figure.carries, (*way, figure))
        if updates[name] in best:
            way = best[updates[name]][1]
            for figure in (state, *way):
                figure.line = len(found)
            found[name] = way
    return found
