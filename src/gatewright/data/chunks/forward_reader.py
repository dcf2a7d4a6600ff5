"""Read a file at several places in turn, each of them forwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.errors import DataError

#: Open places of a file beyond which the one that was used longest ago is closed: a process may
#: open about a thousand files. The targets of a text are read at places of their own, so that
#: batches of up to 200 rows decode nothing twice.
MAX_PLACES = 400


@dataclass(slots=True)
class OpenPlace:
    """A place in a file: the blocks that follow, and what is left of the present one."""

    blocks: Iterator[NDArray[Any]]
    rest: NDArray[Any]

    def take(self, count: int) -> list[NDArray[Any]]:
        """Return the next `count` steps in pieces; fewer where the file ends."""
        pieces = []
        while count:
            if not len(self.rest):
                block = next(self.blocks, None)
                if block is None:
                    break
                self.rest = block
            piece, self.rest = self.rest[:count], self.rest[count:]
            pieces.append(piece)
            count -= len(piece)
        return pieces


@dataclass(slots=True)
class ForwardReader:
    """Reads steps of a file that can be read forwards from any place, but opens slowly there.

    Each row of a batch reads on from where it stopped, so that nothing is decoded twice.

    Args:
        name: Of the file, for messages.
        begin: Called with a position; returns the blocks of steps from there on.
    """

    name: str
    begin: Callable[[int], Iterator[NDArray[Any]]]
    places: dict[int, OpenPlace] = field(default_factory=dict)  # by the next position

    def read(self, first: int, stop: int) -> NDArray[Any]:
        """Return the steps from `first` up to `stop`.

        Raises:
            DataError: if the file ends before.
        """
        place = self.places.pop(first, None)
        if place is None:
            place = OpenPlace(self.begin(first), np.empty(0))
        pieces = place.take(stop - first)
        if sum(map(len, pieces)) < stop - first:
            raise DataError(
                f"{self.name} ends before step {stop:,}, which it had when it was opened; open it "
                "again when no other program writes to it"
            )
        self.places[stop] = place
        if len(self.places) > MAX_PLACES:
            self.places.pop(next(iter(self.places)))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
