"""torch's names and gate orders: the weights of a drop-in, stacked as torch stacks them.

torch stacks a network's gates into one matrix for the input and one for the hidden state,
`weight_ih_l0` and `weight_hh_l0`, with a bias for each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.backends.weights import Pair, Share, StackedWeights, collect, from_shares
from gatewright.errors import ArgumentError
from gatewright.graph import Graph
from gatewright.graph.sizes import number
from gatewright.layers.weights.sharded import check_whole, gathered, write_rows
from gatewright.layers.weights.store import learned

#: The beginning of the names of the buffers with frozen gates. `config.json` has these names.
HELD = "held_"

#: The source that each of torch's tensors belongs to.
SOURCES = {"weight_ih": "x", "bias_ih": "x", "weight_hh": "h", "bias_hh": "h", "weight_hr": "use"}


class TorchWeights:
    """The weights of one layer and direction of a drop-in, on `module` under torch's names.

    A frozen gate is part of a larger tensor, which an optimizer may still change (weight decay,
    momentum). So its values are copied into buffers, and those are what runs and what is saved.

    Args:
        gates: The products in the order in which torch stacks them.
        suffix: "_l0" or "_l0_reverse"; empty for a step cell.
    """

    def __init__(
        self, module: nn.Module, graph: Graph, gates: tuple[str, ...], suffix: str = ""
    ) -> None:
        self.module = module
        self.graph = graph
        self.gates = gates
        self.suffix = suffix
        self.bias = any(weight.role == "bias" for weight in graph.weights.values())
        self.projected = "h.use.weight" in graph.weights

    def names(self) -> dict[str, tuple[str, ...]]:
        """Each parameter's name, and the gates that it stacks."""
        names = {f"weight_ih{self.suffix}": self.gates, f"weight_hh{self.suffix}": self.gates}
        if self.bias:
            names |= {f"bias_ih{self.suffix}": self.gates, f"bias_hh{self.suffix}": self.gates}
        if self.projected:
            names[f"weight_hr{self.suffix}"] = ("h",)
        return names

    def make(self, sizes: Mapping[str, int], device: Any, dtype: torch.dtype | None) -> None:
        """Create the parameters in torch's order, without values."""
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
        """Draw uniformly within `bound`, in torch's order: one seed gives the same weights.

        Frozen values stay, also those of a single gate.
        """
        for name in self.names():
            for parameter in learned(self.module, name):
                if parameter.requires_grad:
                    nn.init.uniform_(parameter, -bound, bound)
        self.write_frozen()

    def pairs(self) -> dict[str, dict[str, Pair]]:
        """Every weight by product and source, as parts of torch's tensors."""
        parts = {
            name: dict(zip(gates, self._split(name, gates), strict=True))
            for name, gates in self.names().items()
        }
        pairs: dict[str, dict[str, Pair]] = {}
        for gate in self.gates:
            pairs[gate] = {
                key: (
                    parts[f"weight_{half}{self.suffix}"][gate],
                    parts[f"bias_{half}{self.suffix}"][gate] if self.bias else None,
                )
                for key, half in (("x", "ih"), ("h", "hh"))
            }
        if self.projected:
            pairs["h"] = {"use": (parts[f"weight_hr{self.suffix}"]["h"], None)}
        return pairs

    def tensors(self) -> dict[str, Tensor]:
        """Each of the graph's weights, by path; torch's two biases are added up."""
        shares = self.shares()
        if shares is None:
            return collect(self.graph, self.pairs())
        own = {name: self._stacked(name) for name in self.names()}
        weights = from_shares(shares, own)
        # torch's compiler follows no class of dictionaries.
        if torch.compiler.is_compiling():
            return weights
        return StackedWeights(weights, list(own.values()))

    def shares(self) -> dict[str, Share] | None:
        """The part of torch's tensors that each of the graph's weights is.

        None while gates are frozen, since their values are then read from buffers.
        """
        if any(name.startswith(HELD) for name in self.module._buffers):
            return None
        ih, hh = f"bias_ih{self.suffix}", f"bias_hh{self.suffix}"
        count, shares = len(self.gates), {}
        for position, gate in enumerate(self.gates):
            for half, key in (("ih", "x"), ("hh", "h")):
                name = f"weight_{half}{self.suffix}"
                shares[f"{gate}.{key}.weight"] = Share((name,), position, count)
            separate = f"{gate}.h.bias" in self.graph.weights  # as in the GRU's n
            if self.bias:
                shares[f"{gate}.x.bias"] = Share((ih,) if separate else (ih, hh), position, count)
            if separate:
                shares[f"{gate}.h.bias"] = Share((hh,), position, count)
        if self.projected:
            shares["h.use.weight"] = Share((f"weight_hr{self.suffix}",))
        return shares

    def sources(self) -> dict[str, tuple[dict[str, Any], str]]:
        """The parameters of a module and the name in them, for each tensor of the shares."""
        return {name: (self.module._parameters, name) for name in self.names()}

    def _split(self, name: str, gates: tuple[str, ...]) -> list[Tensor]:
        """A parameter by gate; frozen gates come from their buffers."""
        parts = list(self._stacked(name).chunk(len(gates)))
        for position, gate in enumerate(gates):
            buffer = self.module._buffers.get(held_name(name, gate))
            if buffer is not None:  # FSDP's mixed precision converts parameters, but no buffers
                parts[position] = buffer.to(parts[position].dtype)
        return parts

    def _stacked(self, name: str) -> Tensor:
        """The present value of one of torch's tensors: that of its parametrization if it has one.

        Raises:
            ArgumentError: if it is sharded.
        """
        stacked: Tensor = getattr(self.module, name)
        check_whole(stacked, name)
        return stacked

    def computed(self, product: str) -> set[str]:
        """The sources of a product whose weights a parametrization computes."""
        computed = {
            name.removesuffix(self.suffix)
            for name, gates in self.names().items()
            if product in gates and name not in self.module._parameters
        }
        return {SOURCES[name] for name in computed}

    def freeze(self, product: str, frozen: bool) -> None:
        """Freeze the values of one gate, or train them on from where they were frozen.

        Raises:
            ArgumentError: if they are computed by a parametrization.
        """
        if self.computed(product):
            raise ArgumentError(
                f"{product} is part of a parametrized tensor and cannot be frozen by itself; "
                "freeze what the tensor is computed from, with requires_grad_(False)"
            )
        for name, gates in self.names().items():
            buffer = held_name(name, product)
            if product not in gates or frozen == (buffer in self.module._buffers):
                continue
            if frozen:
                part = self._part(name, product).detach().clone()
                self.module.register_buffer(buffer, part, persistent=False)
            else:
                self.write_frozen()
                del self.module._buffers[buffer]

    def frozen(self, product: str) -> bool:
        """Tell if all weights of a gate are frozen, by themselves or with their whole tensors."""
        names = [name for name, gates in self.names().items() if product in gates]
        return all(
            held_name(name, product) in self.module._buffers
            or not any(parameter.requires_grad for parameter in learned(self.module, name))
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
                or not any(parameter.requires_grad for parameter in learned(self.module, name))
            )
        }

    def frozen_in(self, buffers: Collection[str]) -> list[str]:
        """The gates with a part in one of the named buffers."""
        return [
            gate
            for gate in self.gates
            if any(held_name(name, gate) in buffers for name in self.names())
        ]

    def write_frozen(self) -> None:
        """Write frozen values into the parameters, as before the parameters are saved."""
        for parameter, first, buffer in self._frozen_parts():
            write_rows(parameter, first, buffer)

    def read_frozen(self) -> None:
        """Take frozen values from the parameters, as after new ones are loaded.

        Where they are sharded, all processes have to call this.
        """
        for parameter, first, buffer in self._frozen_parts():
            buffer.copy_(gathered(parameter)[first : first + len(buffer)])

    def _part(self, name: str, gate: str) -> Tensor:
        gates = self.names()[name]
        return self._stacked(name).chunk(len(gates))[gates.index(gate)]

    def _frozen_parts(self) -> Iterator[tuple[Tensor, int, Tensor]]:
        """For each part of a frozen gate: its parameter, detached, its first row, its buffer."""
        for name, gates in self.names().items():
            for position, gate in enumerate(gates):
                buffer = self.module._buffers.get(held_name(name, gate))
                if buffer is not None:
                    parameter: Tensor = getattr(self.module, name)
                    yield parameter.detach(), position * len(buffer), buffer


def held_name(parameter: str, gate: str) -> str:
    """The name of the buffer with a frozen gate's part of a parameter."""
    return f"{HELD}{gate}_{parameter}"
