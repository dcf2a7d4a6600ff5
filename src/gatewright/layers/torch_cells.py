"""One step at a time: `RNNCell`, `LSTMCell` and `GRUCell` as in `torch.nn`, and any cell."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from gatewright.backends.step import one_step
from gatewright.backends.weights import Pairs
from gatewright.language.cell import Cell
from gatewright.layers.arguments import check_size
from gatewright.layers.built_in import BUILT_IN, as_gates
from gatewright.layers.cell_module import CellModule
from gatewright.layers.readable import as_weights
from gatewright.layers.states import name_states
from gatewright.layers.weights.named import NamedWeights
from gatewright.layers.weights.product import ProductWeights, product_weights
from gatewright.layers.weights.store import Store
from gatewright.layers.weights.torch import TorchWeights


class StepCell(CellModule):
    """A cell with its weights, applied to one step."""

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_size("input_size", input_size, least=0)  # torch's step cells may have no units
        check_size("hidden_size", hidden_size, least=0)
        self.cell = cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bool(bias)  # torch's step cells take any value
        self.store().make({"input": input_size, "hidden": hidden_size}, device, dtype)
        self.reset_parameters()
        self.prepare()

    def store(self) -> Store:
        """The weights, at their paths, such as `f.x.weight`."""
        return NamedWeights(self, self.graph.weights.values())

    def pairs(self) -> Pairs:
        """All weights, live, by product and source."""
        return self.store().pairs()

    def reset_parameters(self) -> None:
        """Draw the weights as torch does: uniformly within 1 / sqrt(hidden size)."""
        self.store().reset(1.0 / math.sqrt(max(1, self.hidden_size)))

    def weights(self, name: str) -> ProductWeights:
        """The weights of one product, as `Recurrent.weights`."""
        return product_weights(self.store(), name, self.products)

    def forward(self, input: Tensor, hx: Any = None, *, values: bool = False) -> Any:
        """Compute one step.

        Args:
            input: `(B, I)` or `(I,)`.
            hx: The states before it, `(B, H)` or `(H,)`: a single one bare, several as a
                tuple. Without it, the cell's starts.
            values: Whether every named value is returned too.

        Returns:
            The states after it, in the form of `hx`; with `values`, `(states, values)`.

        Raises:
            ArgumentError, SizeError: naming what was given and what was expected.
        """
        pairs = self.pairs()
        weights = (weight for sources in pairs.values() for weight, _ in sources.values())
        like = next(weights, input)
        event = as_weights(input, like, "input")
        states = {} if hx is None else name_states(self.graph.states, hx)
        before = tuple(as_weights(state, like, f"state {name}") for name, state in states.items())
        return one_step(self.graph, event, before, pairs, values=values)

    def printed(self) -> list[str]:
        changed = [] if self.bias else ["bias=False"]
        return [str(self.input_size), str(self.hidden_size), *changed]


class TorchStepCell(StepCell):
    """A step cell whose weights have torch's names."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        if not self.bias:  # in torch, only step cells without biases have their names
            self.register_parameter("bias_ih", None)
            self.register_parameter("bias_hh", None)

    def store(self) -> TorchWeights:
        assert self.built_in is not None
        return TorchWeights(self, self.graph, self.built_in.torch_gates)


class RNNCell(TorchStepCell, built_in=BUILT_IN["RNN"]):
    """`torch.nn.RNNCell`, with every named value on request.

    >>> import torch, gatewright as gw
    >>> gw.RNNCell(3, 4)(torch.zeros(2, 3)).shape
    torch.Size([2, 4])
    """

    nonlinearity: Literal["tanh", "relu"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        cell = self.choose_cell(nonlinearity=nonlinearity)
        super().__init__(cell, input_size, hidden_size, bias, device, dtype)


class LSTMCell(TorchStepCell, built_in=BUILT_IN["LSTM"]):
    """`torch.nn.LSTMCell`, with every named value on request.

    >>> import torch, gatewright as gw
    >>> (h, c), values = gw.LSTMCell(3, 4)(torch.zeros(2, 3), values=True)
    >>> values["learn"].shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(self.choose_cell(), input_size, hidden_size, bias, device, dtype)


class GRUCell(TorchStepCell, built_in=BUILT_IN["GRU"]):
    """`torch.nn.GRUCell`, with every named value on request; `reset` as in `GRU`.

    >>> import torch, gatewright as gw
    >>> gw.GRUCell(3, 4)(torch.zeros(2, 3)).shape
    torch.Size([2, 4])
    """

    reset: Literal["after", "before"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        reset: Literal["after", "before"] = "after",
    ) -> None:
        super().__init__(
            self.choose_cell(reset=reset), input_size, hidden_size, bias, device, dtype
        )


class PeepholeLSTMCell(StepCell, built_in=BUILT_IN["PeepholeLSTM"]):
    """One step of `PeepholeLSTM`, with every named value on request.

    >>> import torch, gatewright as gw
    >>> h, c = gw.PeepholeLSTMCell(3, 4, gates=("f",))(torch.zeros(2, 3))
    >>> c.shape
    torch.Size([2, 4])
    """

    peephole: Literal["diagonal", "full"]
    gates: tuple[str, ...]
    output_reads: Literal["new", "old"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        peephole: Literal["diagonal", "full"] = "diagonal",
        gates: tuple[str, ...] = ("i", "f", "o"),
        output_reads: Literal["new", "old"] = "new",
    ) -> None:
        cell = self.choose_cell(peephole=peephole, gates=as_gates(gates), output_reads=output_reads)
        super().__init__(cell, input_size, hidden_size, bias, device, dtype)
