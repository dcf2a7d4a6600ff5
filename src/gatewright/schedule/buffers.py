"""Buffers: the rows in memory that kernels load from and store to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatewright.graph.terms import Term

Kind = Literal["state", "gradient", "leaf", "vector", "value", "scratch", "seed", "result"]


@dataclass(frozen=True)
class Buffer:
    """Rows of units that belong to a term; equal buffers are the same memory.

    With B rows in the batch and N packed rows, the kinds and their rows are

        state      2 B + N   a state: fresh, before the first step, after each packed row
        gradient   2 B + N   the gradient of a state, likewise
        leaf       N         a value that is known for each step before the loop
        vector     1         a value that is the same at each step
        value      N         a value of the step, stored for each packed row
        scratch    B         a value that one nest leaves for a later nest of the same step
        seed       N         the upstream gradient of a value
        result     N         a term of the adjoint, stored for each packed row
    """

    kind: Kind
    term: Term

    def __str__(self) -> str:
        named = self.kind in ("state", "gradient")
        return f"{self.kind} {self.term.attributes['name'] if named else self.term.index}"

    def rows(self, batch: int, total: int) -> int:
        """Count the rows, given those of the batch and all packed ones."""
        if self.kind == "vector":
            return 1
        if self.kind == "scratch":
            return batch
        if self.kind in ("state", "gradient"):
            return 2 * batch + total
        return total

    @property
    def content(self) -> str | None:
        """The value that the rows hold, by a name that all buffers of the value share.

        None for a seed, which lies wherever the pass that computed it has left it.
        """
        if self.kind == "seed":
            return None
        if self.kind in ("state", "gradient"):
            return str(self)
        return f"value {self.term.index}"
