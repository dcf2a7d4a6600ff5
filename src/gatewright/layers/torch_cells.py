"""One step at a time: `RNNCell`, `LSTMCell` and `GRUCell` as in `torch.nn`, and any cell."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gatewright.backends.step import one_step
from gatewright.backends.weights import Pairs
from gatewright.cells.gru import GRU
from gatewright.cells.lstm import LSTM, PeepholeLSTM
from gatewright.cells.rnn import ElmanRNN
from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.layers.arguments import check_arguments
from gatewright.layers.call_inputs import as_weights
from gatewright.layers.cell_module import CellModule
from gatewright.layers.weights.named import NamedWeights
from gatewright.layers.weights.product import ProductWeights, Store, product_weights
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
        check_arguments(input_size, hidden_size, 1, 0.0)
        self.cell = cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bool(bias)  # torch's step cells take any value
        self.store().make({"input": input_size, "hidden": hidden_size}, device, dtype)
        self.reset_parameters()
        self.prepare()

    def store(self) -> Store:
        """Where the weights are kept: at their paths, such as `f.x.weight`."""
        return NamedWeights(self, self.graph.weights.values())

    def pairs(self) -> Pairs:
        """All weights, live, by product and source."""
        return self.store().pairs()

    def reset_parameters(self) -> None:
        """Start the weights as torch does: uniform within 1 / sqrt(hidden size)."""
        self.store().reset(1.0 / math.sqrt(self.hidden_size))

    def weights(self, name: str) -> ProductWeights:
        """The weights of one product, as `Recurrent.weights`."""
        return product_weights(self.store(), name, self.products)

    def forward(self, input: Tensor, hx: Any = None, *, values: bool = False) -> Any:
        """One step.

        Args:
            input: `(B, I)` or `(I,)`.
            hx: The states before it, `(B, H)` or `(H,)`: one bare, several as a tuple.
                Without it, the cell's starts.
            values: Whether every named value is returned too.

        Returns:
            The states after it, in the form of `hx`; with `values`, `(states, values)`.

        Raises:
            ArgumentError, SizeError: naming what was given and what was expected.
        """
        pairs = self.pairs()
        like = next((weight for one in pairs.values() for weight, _ in one.values()), input)
        event = as_weights(input, like, "input")
        states = {} if hx is None else self._states(hx)
        before = tuple(as_weights(one, like, f"state {name}") for name, one in states.items())
        return one_step(self.graph, event, before, pairs, values=values)

    def _states(self, hx: Any) -> dict[str, Any]:
        names = tuple(self.graph.states)
        states = (hx,) if len(names) == 1 else hx
        if not isinstance(states, tuple | list) or len(states) != len(names):
            what = f"{len(hx)} of them" if isinstance(hx, tuple | list) else type(hx).__name__
            raise ArgumentError(f"the states are a tuple ({', '.join(names)}); given was {what}")
        return dict(zip(names, states, strict=True))

    def printed(self) -> list[str]:
        given = [] if self.bias else ["bias=False"]
        return [str(self.input_size), str(self.hidden_size), *given]


class TorchStepCell(StepCell):
    """A step cell that keeps its weights under torch's names."""

    def store(self) -> TorchWeights:
        return TorchWeights(self, self.graph, "")


class RNNCell(TorchStepCell):
    """`torch.nn.RNNCell`, with every named value on request.

    >>> import torch, gatewright as gw
    >>> gw.RNNCell(3, 4)(torch.zeros(2, 3)).shape
    torch.Size([2, 4])
    """

    options: ClassVar = {"nonlinearity": "tanh"}

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

    options: ClassVar = {}

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

    options: ClassVar = {"reset": "after"}

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

    options: ClassVar = {
        "peephole": "diagonal",
        "gates": ("i", "f", "o"),
        "output_reads": "new",
    }

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
        self.gates = gates if isinstance(gates, str) else tuple(gates)
        self.output_reads = output_reads
        cell = PeepholeLSTM(peephole, self.gates, output_reads)
        super().__init__(cell, input_size, hidden_size, bias, device, dtype)
