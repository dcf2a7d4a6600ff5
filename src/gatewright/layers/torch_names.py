"""torch's names and gate orders: how a drop-in keeps its weights.

torch stacks a network's gates into one matrix for the input and one for the hidden state,
`weight_ih_l0` and `weight_hh_l0`, with a bias for each. The order is data, here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gatewright.backends.weights import Pair
from gatewright.graph import Graph

#: The products in the order in which torch stacks them, by cell.
GATES = {"ElmanRNN": ("h",), "LSTM": ("i", "f", "g", "o"), "GRU": ("r", "z", "n")}


class TorchWeights:
    """The weights of one branch of a drop-in, kept on `module` under torch's names.

    `suffix` is "_l0" or "_l0_reverse"; a step cell has none. A frozen gate is part of a
    larger tensor, which an optimizer may still move (weight decay, momentum); so its values
    are held in buffers, and those are what runs and what is saved.
    """

    def __init__(self, module: nn.Module, graph: Graph, suffix: str) -> None:
        self.module = module
        self.suffix = suffix
        self.gates = GATES[graph.equations.name]
        self.bias = any(one.role == "bias" for one in graph.weights.values())
        self.projected = "h.use.weight" in graph.weights

    def names(self) -> dict[str, tuple[str, ...]]:
        """Each parameter's name, and the gates that it stacks."""
        found = {f"weight_ih{self.suffix}": self.gates, f"weight_hh{self.suffix}": self.gates}
        if self.bias:
            found |= {f"bias_ih{self.suffix}": self.gates, f"bias_hh{self.suffix}": self.gates}
        if self.projected:
            found[f"weight_hr{self.suffix}"] = ("h",)
        return found

    def make(
        self, input_size: int, hidden_size: int, state_size: int, device: Any, dtype: Any
    ) -> None:
        """Create the parameters, in torch's order."""
        rows = len(self.gates) * hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, state_size),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
            "weight_hr": (state_size, hidden_size),
        }
        for name in self.names():
            shape = shapes[name.removesuffix(self.suffix)]
            tensor = torch.empty(shape, device=device, dtype=dtype)
            self.module.register_parameter(name, nn.Parameter(tensor))

    def pairs(self) -> dict[str, dict[str, Pair]]:
        """Every weight by product and source, as parts of torch's tensors."""
        parts = {
            name: dict(zip(gates, self._split(name, gates), strict=True))
            for name, gates in self.names().items()
        }
        found: dict[str, dict[str, Pair]] = {}
        for gate in self.gates:
            found[gate] = {
                key: (
                    parts[f"weight_{half}{self.suffix}"][gate],
                    parts[f"bias_{half}{self.suffix}"][gate] if self.bias else None,
                )
                for key, half in (("x", "ih"), ("h", "hh"))
            }
        if self.projected:
            found["h"] = {"use": (parts[f"weight_hr{self.suffix}"]["h"], None)}
        return found

    def _split(self, name: str, gates: tuple[str, ...]) -> list[Tensor]:
        whole = getattr(self.module, name)
        held = self.module._buffers
        return [
            part if (one := held.get(held_name(name, gate))) is None else one
            for gate, part in zip(gates, whole.chunk(len(gates)), strict=True)
        ]

    def freeze(self, product: str, frozen: bool) -> None:
        """Hold one gate's values, or let them go."""
        for name, gates in self.names().items():
            if product in gates:
                part = getattr(self.module, name).chunk(len(gates))[gates.index(product)]
                buffer = part.detach().clone() if frozen else None
                self.module.register_buffer(held_name(name, product), buffer, persistent=False)

    def settle(self) -> None:
        """Write held values into the parameters, as before the parameters are saved."""
        self._copy(lambda part, buffer: part.copy_(buffer))

    def hold_again(self) -> None:
        """Take held values from the parameters, as after new ones are loaded."""
        self._copy(lambda part, buffer: buffer.copy_(part))

    def _copy(self, copy: Any) -> None:
        with torch.no_grad():
            for name, gates in self.names().items():
                for gate in gates:
                    buffer = self.module._buffers.get(held_name(name, gate))
                    if buffer is not None:
                        part = getattr(self.module, name).chunk(len(gates))[gates.index(gate)]
                        copy(part, buffer)


def held_name(parameter: str, gate: str) -> str:
    """The buffer that holds a frozen gate's part of a parameter."""
    return f"held_{gate}_{parameter}"
