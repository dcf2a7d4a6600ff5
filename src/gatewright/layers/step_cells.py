"""One step at a time: `RNNCell`, `LSTMCell` and `GRUCell` as in `torch.nn`, and any cell."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gatewright.backends.step import one_step
from gatewright.backends.weights import Pairs
from gatewright.cells.gru import GRU
from gatewright.cells.lstm import LSTM, PeepholeLSTM
from gatewright.cells.rnn import ElmanRNN
from gatewright.graph import Graph, build_graph
from gatewright.language.cell import Cell
from gatewright.layers.arguments import check_arguments
from gatewright.layers.branch import Branch
from gatewright.layers.pairs import ProductWeights
from gatewright.layers.torch_names import TorchWeights


class StepCell(nn.Module):
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
        check_arguments(input_size, hidden_size, 1, 0.0)
        self.cell = cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bool(bias)
        self.make_weights(device, dtype)
        self.reset_parameters()

    @property
    def graph(self) -> Graph:
        """The cell's graph, without biases if the cell has none."""
        graph: Graph = (
            self.cell.graph if self.bias else build_graph(self.cell.equations, bias=False)
        )
        return graph

    def make_weights(self, device: Any, dtype: torch.dtype | None) -> None:
        """Create the parameters."""
        sizes = {"input": self.input_size, "hidden": self.hidden_size}
        self.weights_by_name = Branch(self.graph.weights.values(), sizes, device, dtype)

    def pairs(self) -> Pairs:
        """All weights, live, by product and source."""
        return self.weights_by_name.pairs()

    def reset_parameters(self) -> None:
        """Start the weights as torch does: uniform within 1 / sqrt(hidden size)."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def weights(self, name: str) -> ProductWeights:
        """The weights of one product, as `Recurrent.weights`."""
        return ProductWeights(name, self.pairs()[name])

    def forward(self, input: Tensor, hx: Any = None, *, values: bool = False) -> Any:
        """One step.

        Args:
            input: `(B, I)` or `(I,)`.
            hx: The states before it, `(B, H)` or `(H,)`: one bare, several as a tuple.
            values: Whether every named value is returned too.

        Returns:
            The states after it, in the form of `hx`; with `values`, `(states, values)`.
        """
        states = hx if isinstance(hx, tuple | list) else (hx,)
        return one_step(self.graph, input, tuple(states), self.pairs(), values=values)

    def extra_repr(self) -> str:
        bias = "" if self.bias else ", bias=False"
        return f"{self.input_size}, {self.hidden_size}{bias}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


class TorchStepCell(StepCell):
    """A step cell that keeps its weights under torch's names."""

    def make_weights(self, device: Any, dtype: torch.dtype | None) -> None:
        self._torch().make(self.input_size, self.hidden_size, self.hidden_size, device, dtype)

    def _torch(self) -> TorchWeights:
        return TorchWeights(self, self.graph, "")

    def pairs(self) -> Pairs:
        return self._torch().pairs()


class RNNCell(TorchStepCell):
    """`torch.nn.RNNCell`, with every named value on request.

    >>> import torch, gatewright as gw
    >>> gw.RNNCell(3, 4)(torch.zeros(2, 3)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(ElmanRNN(nonlinearity), input_size, hidden_size, bias, device, dtype)


class LSTMCell(TorchStepCell):
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
        super().__init__(LSTM(), input_size, hidden_size, bias, device, dtype)


class GRUCell(TorchStepCell):
    """`torch.nn.GRUCell`, with every named value on request; `reset` as in `GRU`.

    >>> import torch, gatewright as gw
    >>> gw.GRUCell(3, 4)(torch.zeros(2, 3)).shape
    torch.Size([2, 4])
    """

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
        self.reset = reset
        super().__init__(GRU(reset), input_size, hidden_size, bias, device, dtype)


class PeepholeLSTMCell(StepCell):
    """One step of `PeepholeLSTM`, with every named value on request.

    >>> import torch, gatewright as gw
    >>> h, c = gw.PeepholeLSTMCell(3, 4, gates=("f",))(torch.zeros(2, 3))
    >>> c.shape
    torch.Size([2, 4])
    """

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
        self.peephole = peephole
        self.gates = tuple(gates)
        self.output_reads = output_reads
        cell = PeepholeLSTM(peephole, self.gates, output_reads)
        super().__init__(cell, input_size, hidden_size, bias, device, dtype)
