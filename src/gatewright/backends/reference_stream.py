"""A stream in plain torch operations: the reference, one step at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gatewright.backends import reference
from gatewright.backends.step import step_run
from gatewright.backends.stream import Array, Products
from gatewright.graph import Graph
from gatewright.graph.sizes import number
from gatewright.language.node import Size


class ReferenceStream:
    """A `Stream` that runs the reference for each layer and step."""

    backend: str = "reference"

    def __init__(
        self,
        graph: Graph,
        sizes: Sequence[Mapping[str, int]],
        rows: int,
        dtype: torch.dtype,
        products: Products = "plain",
    ) -> None:
        self.graph, self.sizes, self.products = graph, sizes, products
        self.weights: list[dict[str, Tensor]] = []

        def buffer(size: Size, numbers: Mapping[str, int]) -> Tensor:
            return torch.zeros(rows, number(size, numbers), dtype=dtype)

        self.input_buffers = {
            name: buffer(term.size, sizes[0]) for name, term in graph.inputs.items()
        }
        self.output_buffer = buffer(graph.output.size, sizes[-1])
        self.state_buffers = [
            {name: buffer(term.size, numbers) for name, term in graph.states.items()}
            for numbers in sizes
        ]
        self.inputs: Mapping[str, Array] = {
            name: tensor.numpy() for name, tensor in self.input_buffers.items()
        }
        self.output = self.output_buffer.numpy()

    def load(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        self.weights = [
            {path: tensor.detach().clone() for path, tensor in layer.items()} for layer in weights
        ]

    def states(self) -> list[dict[str, Array]]:
        return [
            {name: tensor.numpy() for name, tensor in layer.items()} for layer in self.state_buffers
        ]

    @torch.no_grad()
    def advance(self) -> None:
        event_name = self.graph.equations.event
        event = self.input_buffers[event_name]
        for sizes, weights, states in zip(
            self.sizes, self.weights, self.state_buffers, strict=True
        ):
            inputs = {**self.input_buffers, event_name: event}
            step = step_run(self.graph, sizes, weights, inputs, states)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.products == "bfloat16"):
                result = reference.run(step, int8=self.products == "int8")
            event = result.output
            # A state after the step may be the tensor of another one before it, so all are
            # copied before any buffer changes.
            after = {name: tensor.clone() for name, tensor in result.states.items()}
            for name, tensor in after.items():
                states[name].copy_(tensor)
        self.output_buffer.copy_(event)
