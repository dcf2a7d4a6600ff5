"""Join sources that several boxes read together, as the lesson writes it: [h, x]."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gatewright.draw.diagram.figures import TERMINALS, Figure, Input


def join(figures: list[Figure]) -> list[Figure]:
    """The figures, with joins of the sources that two or more boxes share, largest gain first."""
    # Each turn adds the join that saves the most wires.
    while True:
        reads = {
            box: [wire.source for wire in box.inputs if wire.key and wire.source.kind != "join"]
            for box in figures
            if box.kind == "learned"
        }
        gains: Counter[tuple[Figure, ...]] = Counter()
        for sources in _common(list(reads.values())):
            readers = [box for box, read in reads.items() if set(sources) <= set(read)]
            if len(readers) > 1:
                gains[sources] = len(readers) * (len(sources) - 1)  # wires saved
        if not gains:
            return figures
        best = gains.most_common(1)[0][0]
        joined = Figure("join", "")
        keys: dict[Figure, str] = {}
        for box, read in reads.items():
            if set(best) <= set(read):
                rest = [wire for wire in box.inputs if not wire.key or wire.source not in best]
                keys = {wire.source: wire.key for wire in box.inputs if wire.key} | keys
                box.inputs = [Input(joined), *rest]
        names = (_name(source, keys[source]) for source in best)
        joined.sign = f"[{', '.join(names)}]"
        joined.inputs = [Input(source) for source in best]
        last = max(figures.index(source) for source in best)
        figures.insert(last + 1, joined)


def _name(source: Figure, key: str) -> str:
    """The name of a source, else its key: x_hat in GRU-D, which products read as x."""
    if source.kind in TERMINALS:
        return source.sign
    return source.names[0].rpartition(".")[2] if source.names else key


def _common(reads: list[list[Figure]]) -> Iterator[tuple[Figure, ...]]:
    """The sets of sources that two boxes share."""
    for index, first in enumerate(reads):
        for second in reads[index + 1 :]:
            shared = tuple(source for source in first if source in second)
            if len(shared) > 1:
                yield shared
