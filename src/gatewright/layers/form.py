"""`Form`: the cell and the sizes of a layer, and what follows from them without its weights."""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.graph import Graph
from gatewright.graph.sizes import number
from gatewright.layers.weights.stored_names import Place, direction


@dataclass(frozen=True)
class Form:
    """The cell and the sizes of a layer, without its weights.

    Attributes:
        graph: The cell's graph.
        input_size: Values of each event, I.
        hidden_size: Units, H.
        num_layers: Layers, L.
        directions: D: 2 where the layer reads the sequence both ways, else 1.
        batch_first: Whether padded sequences are `(B, T, I)` rather than `(T, B, I)`.
    """

    graph: Graph
    input_size: int
    hidden_size: int
    num_layers: int
    directions: int
    batch_first: bool

    @property
    def reverses(self) -> tuple[bool, ...]:
        """The directions of each layer: False reads forwards, True from the last step."""
        return (False, True)[: self.directions]

    @property
    def places(self) -> list[Place]:
        """(layer, reverse) of each of the L * D networks, in the order of the states."""
        return [(layer, reverse) for layer in range(self.num_layers) for reverse in self.reverses]

    def sizes(self, layer: int) -> dict[str, int]:
        """The numbers for "input" and "hidden" at a layer."""
        sizes = {"input": self.input_size, "hidden": self.hidden_size}
        for _ in range(layer):
            below = self.directions * number(self.graph.output.size, sizes)
            if below == sizes["input"]:  # then all further layers have this size too
                break
            sizes["input"] = below
        return sizes

    def state_sizes(self, name: str) -> list[int]:
        """The size of a state at each layer."""
        size = self.graph.states[name].size
        return [number(size, self.sizes(layer)) for layer in range(self.num_layers)]

    def differs_by_layer(self, name: str) -> bool:
        """Tell if the size of a state differs by layer, so that it is one tensor a layer."""
        return self.num_layers > 1 and len(set(self.state_sizes(name))) > 1

    @property
    def output_size(self) -> int:
        """Values of each output step: directions times the cell's output size."""
        return self.directions * number(self.graph.output.size, self.sizes(self.num_layers - 1))

    def trace_name(self, name: str, layer: int, reverse: bool) -> str:
        """The name of a value in a trace, with layer and direction where there are several."""
        if self.num_layers * self.directions == 1:
            return name
        return f"l{layer}.{direction(reverse)}.{name}"
