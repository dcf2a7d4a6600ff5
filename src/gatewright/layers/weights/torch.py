"""torch's names and gate orders: how a drop-in keeps its weights.

torch stacks a network's gates into one matrix for the input and one for the hidden state,
`weight_ih_l0` and `weight_hh_l0`, with a bias for each. The order is data, here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.backends.weights import Pair, Share, collect
from gatewright.errors import ArgumentError
from gatewright.graph import Graph
from gatewright.graph.sizes import number
from gatewright.layers.weights.named import learned

#: The products in the order in which torch stacks them, by cell.
GATES = {"ElmanRNN": ("h",), "LSTM": ("i", "f", "g", "o"), "GRU": ("r", "z", "n")}

#: How the names of the buffers begin that hold frozen gates.
HELD = "held_"

#: The source that each of torch's tensors belongs to.
SOURCES = {"weight_ih": "x", "bias_ih": "x", "weight_hh": "h", "bias_hh": "h", "weight_hr": "use"}


class TorchWeights:
    """The weights of one branch of a drop-in, kept on `module` under torch's names.

    `suffix` is "_l0" or "_l0_reverse"; a step cell has none. A frozen gate is part of a
    larger tensor, which an optimizer may still move (weight decay, momentum); so its values
    are held in buffers, and those are what runs and what is saved.
    """

    def __init__(self, module: nn.Module, graph: Graph, suffix: str) -> None:
        self.module = module
        self.graph = graph
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

    def make(self, sizes: Mapping[str, int], device: Any, dtype: torch.dtype | None) -> None:
        """Create the parameters, in torch's order."""
        for name, shape in self.shapes(sizes).items():
            tensor = torch.empty(shape, device=device, dtype=dtype)
            self.module.register_parameter(name, nn.Parameter(tensor))

    def shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter."""
        rows = len(self.gates) * sizes["hidden"]
        state = number(self.graph.states["h"].size, sizes)
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, sizes["input"]),
            "weight_hh": (rows, state),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
            "weight_hr": (state, sizes["hidden"]),
        }
        return {name: shapes[name.removesuffix(self.suffix)] for name in self.names()}

    def reset(self, bound: float) -> None:
        """Uniform within `bound`, in torch's order: one seed gives the same weights.

        What is frozen stays, a gate that is held too.
        """
        for name in self.names():
            for one in learned(self.module, name):
                if one.requires_grad:
                    nn.init.uniform_(one, -bound, bound)
        self.settle()

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

    def tensors(self) -> dict[str, Tensor]:
        """Each of the graph's weights, by path; torch's two biases are added up."""
        shares = self.shares()
        if shares is None:
            return collect(self.graph, self.pairs())
        parts: dict[tuple[tuple[str, ...], int], Sequence[Tensor]] = {}
        found = {}
        for path, (names, position, count) in shares.items():
            if (names, count) not in parts:
                first, *rest = [getattr(self.module, name) for name in names]
                whole = sum(rest, first)
                parts[names, count] = whole.chunk(count) if count > 1 else (whole,)
            found[path] = parts[names, count][position]
        return found

    def shares(self) -> dict[str, Share] | None:
        """What each of the graph's weights is of torch's tensors; None while gates are held."""
        if any(name.startswith(HELD) for name in self.module._buffers):
            return None
        ih, hh = f"bias_ih{self.suffix}", f"bias_hh{self.suffix}"
        count, found = len(self.gates), {}
        for position, gate in enumerate(self.gates):
            for half, key in (("ih", "x"), ("hh", "h")):
                name = f"weight_{half}{self.suffix}"
                found[f"{gate}.{key}.weight"] = Share((name,), position, count)
            apart = f"{gate}.h.bias" in self.graph.weights  # as in the GRU's n
            if self.bias:
                found[f"{gate}.x.bias"] = Share((ih,) if apart else (ih, hh), position, count)
            if apart:
                found[f"{gate}.h.bias"] = Share((hh,), position, count)
        if self.projected:
            found["h.use.weight"] = Share((f"weight_hr{self.suffix}",))
        return found

    def sources(self) -> dict[str, tuple[dict[str, Any], str]]:
        """Where each tensor of the shares is found, in a module's parameters."""
        return {name: (self.module._parameters, name) for name in self.names()}

    def _split(self, name: str, gates: tuple[str, ...]) -> list[Tensor]:
        parts = list(getattr(self.module, name).chunk(len(gates)))
        for position, gate in enumerate(gates):
            held = self.module._buffers.get(held_name(name, gate))
            if held is not None:
                parts[position] = held
        return parts

    def computed(self, product: str) -> set[str]:
        """The sources of a product whose weights a parametrization computes."""
        computed = {
            name.removesuffix(self.suffix)
            for name, gates in self.names().items()
            if product in gates and name not in self.module._parameters
        }
        return {SOURCES[name] for name in computed}

    def freeze(self, product: str, frozen: bool) -> None:
        """Hold one gate's values, or let them go from where they were held.

        Raises:
            ArgumentError: if they are computed by a parametrization.
        """
        if self.computed(product):
            raise ArgumentError(
                f"{product} is part of a parametrized tensor and cannot be held alone; hold "
                "what the tensor is computed from, with requires_grad_(False)"
            )
        for name, gates in self.names().items():
            buffer = held_name(name, product)
            if product not in gates or frozen == (buffer in self.module._buffers):
                continue
            if frozen:
                part = self._part(name, product).detach().clone()
                self.module.register_buffer(buffer, part, persistent=False)
            else:
                self.settle()
                del self.module._buffers[buffer]

    def frozen(self, product: str) -> bool:
        """Tell if all weights of a gate are held, alone or with the tensors they are part of."""
        names = [name for name, gates in self.names().items() if product in gates]
        return all(
            held_name(name, product) in self.module._buffers
            or not any(one.requires_grad for one in learned(self.module, name))
            for name in names
        )

    def frozen_sources(self, product: str) -> set[str]:
        """The sources of a gate whose matrix is frozen, or the whole tensor that it is part of."""
        return {
            SOURCES[name.removesuffix(self.suffix)]
            for name, gates in self.names().items()
            if product in gates
            and name.startswith("weight")
            and (
                held_name(name, product) in self.module._buffers
                or not any(one.requires_grad for one in learned(self.module, name))
            )
        }

    def held_in(self, buffers: Collection[str]) -> list[str]:
        """The gates of which one of the named buffers holds a part."""
        return [
            gate
            for gate in self.gates
            if any(held_name(name, gate) in buffers for name in self.names())
        ]

    def settle(self) -> None:
        """Write held values into the parameters, as before the parameters are saved."""
        for part, buffer in self._held():
            # A write that changes nothing would still make a pending backward pass fail.
            if not torch.equal(part, buffer):
                part.copy_(buffer)

    def hold_again(self) -> None:
        """Take held values from the parameters, as after new ones are loaded."""
        for part, buffer in self._held():
            buffer.copy_(part)

    def _part(self, name: str, gate: str) -> Tensor:
        gates = self.names()[name]
        whole: Tensor = getattr(self.module, name)
        return whole.chunk(len(gates))[gates.index(gate)]

    def _held(self) -> list[tuple[Tensor, Tensor]]:
        """Each held gate's part of its parameter, detached, and what it is held at."""
        return [
            (self._part(name, gate).detach(), buffer)
            for name, gates in self.names().items()
            for gate in gates
            if (buffer := self.module._buffers.get(held_name(name, gate))) is not None
        ]


def held_name(parameter: str, gate: str) -> str:
    """The buffer that holds a frozen gate's part of a parameter."""
    return f"{HELD}{gate}_{parameter}"
