"""Streams: one step after another on buffers that stay in place.

The caller writes into a stream's `inputs`, calls `advance`, and reads `output`. The arrays are
views of the stream's buffers and are never replaced, so a step allocates none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
#: The factors of a stream's products: as they are, or rounded.
Products = Literal["plain", "bfloat16", "int8"]


class Stream(Protocol):
    """Several layers of a graph, one step at a time, for B rows.

    Attributes:
        backend: The name of the backend that computes.
        inputs: The event and the further inputs of the next step, `(B, size)`.
        output: The output of the last step, `(B, size)`.
    """

    backend: str
    inputs: Mapping[str, Array]
    output: Array

    @property
    def advance(self) -> Callable[[], None]:
        """Run one step."""

    def load(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        """Copy the weights of each layer, by path."""

    def states(self) -> list[dict[str, Array]]:
        """Views of each layer's states, `(B, size)`, to read and write until the next step."""
