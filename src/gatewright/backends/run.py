"""The run of one layer in one direction, as every backend takes it, and its result.

Sequences are packed as in torch's `PackedSequence`: rows are sorted, the longest first, and
the rows that run at step t follow those of step t - 1 in one tensor `(N, size)`. Where all
rows have the same length, that is `(T * B, size)`. So there is no padding to be masked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from gatewright.graph import Graph, Term
from gatewright.graph.sizes import number


@dataclass(frozen=True)
class Run:
    """The work of one layer in one direction; the same for every backend.

    Attributes:
        graph: The cell's graph.
        sizes: Numbers for "input" and "hidden".
        weights: A tensor for each of `graph.weights`, by path.
        inputs: The event and the further inputs, each `(N, size)`.
        rows: The number of rows that run at each of the T steps; it never grows.
        states: The states before the first step, each `(B, size)`.
        fresh: The states that a restart begins with, each `(B, size)`.
        noises: The noises in the graph's order, each `(N, size)`: drawn zeros and ones, or the
            expectation as a number that is repeated without memory.
        restart: `(N,)`, true where the states are `fresh` before the step.
        reverse: Whether the steps run from the last to the first.
        hold: Named values that are fixed, each `(N, size)`.
        names: Named values to return.
    """

    graph: Graph
    sizes: Mapping[str, int]
    weights: Mapping[str, Tensor]
    inputs: Mapping[str, Tensor]
    rows: Sequence[int]
    states: Mapping[str, Tensor]
    fresh: Mapping[str, Tensor]
    noises: Sequence[Tensor] = ()
    restart: Tensor | None = None
    reverse: bool = False
    hold: Mapping[str, Tensor] = field(default_factory=dict)
    names: Sequence[str] = ()

    def tensors(self) -> Iterator[Tensor]:
        """All tensors whose numbers a backend reads."""
        yield from self.noises
        for group in (self.weights, self.inputs, self.states, self.fresh, self.hold):
            yield from group.values()

    def needs_input_gradients(self) -> bool:
        """Tell if gradients of inputs or held values, which have a row a step, are needed."""
        steps = (*self.inputs.values(), *self.hold.values())
        return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in steps)

    def known_terms(self) -> dict[Term, Tensor]:
        """The terms whose values the run brings with it: inputs, noises, weights, held values."""
        graph = self.graph
        known = {term: self.inputs[name] for name, term in graph.inputs.items()}
        known |= dict(zip(graph.noises, self.noises, strict=True))
        known |= {
            term: self.weights[term.attributes["weight"].path]
            for term in graph.forward
            if term.op == "weight"
        }
        # A held value replaces the input or weight of the same term.
        return known | {graph.values[name]: tensor for name, tensor in self.hold.items()}


@dataclass(frozen=True)
class Result:
    """The output `(N, size)`, the states after each row's last step, the named values."""

    output: Tensor
    states: dict[str, Tensor]
    values: dict[str, Tensor]

    @classmethod
    def of(cls, run: Run, values: Mapping[Term, Tensor], last: Sequence[Tensor]) -> Result:
        """Collect the result of a run from the values of terms and the last states."""
        graph, total = run.graph, sum(run.rows)

        def over_time(term: Term) -> Tensor:
            return values[term].expand(total, number(term.size, run.sizes))

        named = {name: over_time(graph.values[name]) for name in run.names}
        return cls(over_time(graph.output), dict(zip(graph.states, last, strict=True)), named)


class PreparedRun(Protocol):
    """Runs of one form, prepared: only the numbers in the tensors are new from call to call.

    Attributes:
        dtype: The number type of all tensors.
        starts: The states before the first step, for calls that bring none.
    """

    dtype: torch.dtype
    starts: list[Tensor]

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run on the event, the states and the weights: the output and the last states."""
