"""Joins: sources that several boxes read together, joined once as the lesson writes it, [h, x]."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gatewright.draw.diagram.figures import TERMINALS, Figure, Input


def join(figures: list[Figure]) -> list[Figure]:
    """The figures with a join for what two boxes or more read together, largest gain first."""
    while True:
        reads = {
            box: [one.source for one in box.inputs if one.key and one.source.kind != "join"]
            for box in figures
            if box.kind == "learned"
        }
        gains: Counter[tuple[Figure, ...]] = Counter()
        for sources in _common(list(reads.values())):
            readers = [box for box, read in reads.items() if set(sources) <= set(read)]
            if len(readers) > 1:
                gains[sources] = len(readers) * (len(sources) - 1)
        if not gains:
            return figures
        best = gains.most_common(1)[0][0]
        joined = Figure("join", "")
        called: dict[Figure, str] = {}
        for box, read in reads.items():
            if set(best) <= set(read):
                rest = [one for one in box.inputs if not one.key or one.source not in best]
                called = {one.source: one.key for one in box.inputs if one.key} | called
                box.inputs = [Input(joined), *rest]
        written = (_called(one, called[one]) for one in best)
        joined.sign = f"[{', '.join(written)}]"
        joined.inputs = [Input(one) for one in best]
        after = max(figures.index(one) for one in best)
        figures.insert(after + 1, joined)


def _called(source: Figure, key: str) -> str:
    """What is read, by its own name where it has one: GRU-D's x_hat, which products call x."""
    if source.kind in TERMINALS:
        return source.sign
    return source.names[0].rpartition(".")[2] if source.names else key


def _common(reads: list[list[Figure]]) -> Iterator[tuple[Figure, ...]]:
    for index, one in enumerate(reads):
        for other in reads[index + 1 :]:
            shared = tuple(source for source in one if source in other)
            if len(shared) > 1:
                yield shared
