"""Streams: one step after another on buffers that stay, whoever computes them.

Whoever has a stream writes into its `inputs`, calls `advance`, and reads `output`. The arrays
are views of its buffers and stay where they are; so a step makes none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.backends import llvm, reference
from gatewright.backends.reference import Run
from gatewright.backends.step import expectations, starts
from gatewright.errors import BackendError
from gatewright.graph import Graph
from gatewright.graph.sizes import number

Array = NDArray[Any]


class Stream(Protocol):
    """Several layers of a graph, one step at a time, for B rows.

    Attributes:
        backend: Who computes.
        inputs: The event and the further inputs of the next step, `(B, size)`.
        output: What the last step gave, `(B, size)`.
    """

    backend: str
    inputs: Mapping[str, Array]
    output: Array

    @property
    def advance(self) -> Callable[[], None]:
        """Run one step."""

    def load(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        """Take the weights of each layer, by path; they are copied."""

    def states(self) -> list[dict[str, Array]]:
        """The states of each layer, `(B, size)`: to read and to write, until the next step."""


def open_stream(
    backend: str,
    graph: Graph,
    sizes: Sequence[Mapping[str, int]],
    rows: int,
    dtype: torch.dtype,
) -> tuple[Stream, str | None]:
    """A stream on the backend of a name, and why it is not a faster one.

    Args:
        sizes: Numbers for "input" and "hidden" at each layer.

    Raises:
        BackendError: if the backend was asked for by name and cannot run the graph.
    """
    if backend == "reference":
        return ReferenceStream(graph, sizes, rows, dtype), None
    reason = llvm.why_no_stream(graph)
    if reason is None:
        return llvm.open_stream(graph, sizes, rows, dtype), None
    if backend == "llvm":
        raise BackendError(f'backend="llvm" cannot stream this: {reason}; backend="auto" can')
    return ReferenceStream(graph, sizes, rows, dtype), reason


class ReferenceStream:
    """A stream in plain torch operations."""

    backend: str = "reference"

    def __init__(
        self, graph: Graph, sizes: Sequence[Mapping[str, int]], rows: int, dtype: torch.dtype
    ) -> None:
        self.graph, self.sizes, self.rows = graph, sizes, rows
        self.weights: list[dict[str, Tensor]] = []

        def buffer(size: Any, numbers: Mapping[str, int]) -> Tensor:
            return torch.zeros(rows, number(size, numbers), dtype=dtype)

        given = {name: buffer(term.size, sizes[0]) for name, term in graph.inputs.items()}
        self.given = given
        self.result = buffer(graph.output.size, sizes[-1])
        self.kept = [
            {name: buffer(term.size, one) for name, term in graph.states.items()} for one in sizes
        ]
        self.inputs: Mapping[str, Array] = {name: one.numpy() for name, one in given.items()}
        self.output = self.result.numpy()

    def load(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        self.weights = [{path: t.detach().clone() for path, t in one.items()} for one in weights]

    def states(self) -> list[dict[str, Array]]:
        return [{name: one.numpy() for name, one in layer.items()} for layer in self.kept]

    @torch.no_grad()
    def advance(self) -> None:
        event = self.given[self.graph.equations.event]
        for sizes, weights, states in zip(self.sizes, self.weights, self.kept, strict=True):
            inputs = {**self.given, self.graph.equations.event: event}
            found = reference.run(step_task(self.graph, sizes, weights, inputs, states))
            event = found.output
            # A state after the step may be another one before it: none changes too early.
            after = {name: one.clone() for name, one in found.states.items()}
            for name, one in after.items():
                states[name].copy_(one)
        self.result.copy_(event)


def step_task(
    graph: Graph,
    sizes: Mapping[str, int],
    weights: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor],
    states: Mapping[str, Tensor] | None = None,
) -> Run:
    """One step of one layer, as in eval mode; without states, from the start."""
    like = next(iter(inputs.values()))
    rows = len(like)
    fresh = starts(graph, sizes, weights, rows, like)
    return Run(
        graph=graph,
        sizes=sizes,
        weights=weights,
        inputs=inputs,
        rows=[rows],
        states=states or fresh,
        fresh=fresh,
        noises=expectations(graph, sizes, rows, like),
    )
